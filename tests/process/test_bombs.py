"""Requests made to be dear, sent to the real service: memory stays bounded, and a probe is answered meanwhile.

`tests/integration/test_bombs.py` has more of them, for the check at the door alone.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.bombs import GZIP, ZLIB, deflated_zeros, many, nested_maps, zstd_zeros
from tests.support.payload import spans
from tests.support.raw_http import RawClient, post
from tests.support.raw_http2 import END_STREAM, HEADERS, RawHttp2Client, message
from tests.support.service import Service
from tests.support.watch import Watch
from tests.support.wire import field

pytestmark = pytest.mark.alone

MIB = 1 << 20
LARGEST = 16 * MIB - 64  # with what is around it, the default of server.max_request_size
TEN_MB = 10_000_000  # of zeros, deflated: 10 GB
METHOD = Signal.TRACES.method
OK = b"grpc-status\x010"
RESOURCE_EXHAUSTED = b"grpc-status\x018"

PROTOBUF: dict[str, Callable[[], bytes]] = {
    "spans": lambda: field(1, field(2, many(field(2, b""), LARGEST))),
    "attributes": lambda: field(1, field(2, field(2, many(field(9, b""), LARGEST)))),
    "resources": lambda: many(field(1, b""), LARGEST),
    "nested maps": lambda: field(1, field(1, many(field(1, field(2, nested_maps(30))), LARGEST))),
}
JSON: dict[str, tuple[bytes, int]] = {
    "spans": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}' + many(b",{}", 4 * MIB - 64) + b"]}]}]}", 200),
    "arrays without an end": (many(b"[", 4 * MIB), 400),
}
INFLATING: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: deflated_zeros(TEN_MB, GZIP),
    "deflate": lambda: deflated_zeros(TEN_MB, ZLIB),
    "zstd": lambda: zstd_zeros(TEN_MB),
}


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


@pytest.fixture
async def service(backend: Backend, tmp_path: Path) -> AsyncIterator[Service]:
    """A service with its defaults, but that it sends a request on whole: to cut millions of spans takes a thread long.

    Without what measures coverage, which would be most of what is measured here.
    """
    service = Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint, "max_batch_bytes": "16MiB"}})
    for name in [name for name in service.environment if name.startswith("COV")]:
        del service.environment[name]
    async with service:
        yield service


async def post_it(service: Service, body: bytes, *headers: str, content_type: str = "application/x-protobuf") -> int:
    async with RawClient(service.port) as client:
        return (await client.ask(post(body, *headers, content_type=content_type))).status


async def call_with(service: Service, body: bytes, coding: str = "identity") -> bytes:
    """The trailers of a call."""
    async with RawHttp2Client(service.grpc_port) as client:
        client.call(1, METHOD, grpc_encoding=coding)
        await client.data(1, message(body, compressed=coding != "identity"), end=True)
        while not (last := (await client.until(HEADERS))[-1]).flags & END_STREAM:
            await client.until(HEADERS, 2)
        return last.payload


def check(watch: Watch) -> None:
    assert watch.growth < 128 * MIB
    assert watch.statuses == {200}
    assert watch.longest < 0.1


async def delivered(service: Service) -> None:
    await service.settled(lambda scrape: scrape.books(Signal.TRACES).queued == 0, "what was taken is delivered")


@pytest.mark.parametrize("body", PROTOBUF.values(), ids=PROTOBUF)
async def test_what_is_dear_to_parse_is_taken_over_http_while_probes_are_answered(
    service: Service, body: Callable[[], bytes]
) -> None:
    with Watch(service) as watch:
        assert await post_it(service, body()) == 200
        await delivered(service)
    check(watch)


@pytest.mark.parametrize("body", PROTOBUF.values(), ids=PROTOBUF)
async def test_what_is_dear_to_parse_is_taken_over_grpc_while_probes_are_answered(
    service: Service, body: Callable[[], bytes]
) -> None:
    with Watch(service) as watch:
        assert OK in await call_with(service, body())
        await delivered(service)
    check(watch)


@pytest.mark.parametrize(("body", "status"), JSON.values(), ids=JSON)
async def test_what_is_dear_to_parse_in_json_is_answered_while_probes_are(
    service: Service, body: bytes, status: int
) -> None:
    with Watch(service) as watch:
        assert await post_it(service, body, content_type="application/json") == status
        await delivered(service)
    check(watch)


@pytest.mark.parametrize(("coding", "body"), INFLATING.items(), ids=INFLATING)
async def test_a_body_of_megabytes_that_inflates_to_gigabytes_is_413_while_probes_are_answered(
    service: Service, coding: str, body: Callable[[], bytes]
) -> None:
    with Watch(service) as watch:
        assert await post_it(service, body(), f"content-encoding: {coding}") == 413
    check(watch)
    assert await post_it(service, spans()) == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_message_of_megabytes_that_inflates_to_gigabytes_is_refused_for_good_while_probes_are_answered(
    service: Service, coding: str
) -> None:
    with Watch(service) as watch:
        trailers = await call_with(service, INFLATING[coding](), coding)
    check(watch)
    assert RESOURCE_EXHAUSTED in trailers
    assert b"retryinfo" not in trailers
    assert b"grpc-status-details-bin" not in trailers
    assert OK in await call_with(service, spans())
