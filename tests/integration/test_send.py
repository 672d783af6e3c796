"""The client of ``otlp-service send`` against a scripted destination: it says what is true."""

import asyncio
import gzip
import logging
import socket
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from app.core.request import Signal
from app.receivers.otlp_json import read_json
from app.send.answers import Outcome
from app.send.batch import Batches
from app.send.client import Client
from app.send.options import Options, Protocol
from app.send.shop import SPANS, Shop
from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.collector import Otelcol
from tests.support.exchange import Answer, Close, Delay, Grpc, Hang, Http, Partial, Raw, Received, Reset, status
from tests.support.items import items_of
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf", "http/json")
HTTP: tuple[Protocol, ...] = ("http/protobuf", "http/json")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
ITEMS = 10


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


@pytest.fixture(autouse=True)
def quiet_sdk() -> Iterator[None]:
    """The SDK logs what fails, which is what is tried here."""
    handler = logging.NullHandler()
    logging.getLogger("opentelemetry").addHandler(handler)
    yield
    logging.getLogger("opentelemetry").removeHandler(handler)


def towards(backend: Backend, protocol: Protocol, signal: Signal = Signal.TRACES) -> Options:
    endpoint = backend.grpc_endpoint if protocol == "grpc" else backend.http_endpoint
    return Options(signal=signal, protocol=protocol, endpoint=endpoint, timeout=PATIENCE)


@contextmanager
def client(options: Options) -> Iterator[Client]:
    client = Client(options)
    try:
        yield client
    finally:
        client.close()


async def sent(options: Options) -> Outcome:
    """What becomes of ten items."""
    with client(options) as sender:
        return await asyncio.to_thread(sender.send, Batches(options.signal, Shop()).take(ITEMS), ITEMS)


async def items_in(request: Received) -> int:
    body = request.body
    if request.headers.get("content-type") == "application/json":
        body = (await read_json(request.signal, body)).body
    return len(list(items_of(request.signal, body)))


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", Signal)
async def test_what_is_accepted_has_arrived(
    backend: Backend, signal: Signal, protocol: Protocol, compression: str
) -> None:
    options = replace(
        towards(backend, protocol, signal), headers={"authorization": "Bearer k"}, compression=compression
    )
    assert await sent(options) == Outcome(ITEMS, 0)
    [request] = backend.taken
    assert (request.signal, await items_in(request)) == (signal, ITEMS)
    assert request.headers["authorization"] == "Bearer k"
    if protocol != "grpc":  # which keeps its encoding to itself
        assert request.headers.get("content-encoding", "none") == compression
        assert (gzip.decompress(request.wire) if compression == "gzip" else request.wire) == request.body
        assert (
            request.headers["content-type"]
            == {
                "http/protobuf": "application/x-protobuf",
                "http/json": "application/json",
            }[protocol]
        )


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_one_client_sends_many_requests_over_one_connection(backend: Backend, protocol: Protocol) -> None:
    options = towards(backend, protocol, Signal.LOGS)
    batches = Batches(Signal.LOGS, Shop())
    with client(options) as sender:
        for _ in range(5):
            assert await asyncio.to_thread(sender.send, batches.take(3), 3) == Outcome(3, 0)
    assert len({request.peer for request in backend.taken}) == 1
    assert [await items_in(request) for request in backend.taken] == [3] * 5


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_items_that_are_rejected_are_not_accepted(backend: Backend, protocol: Protocol) -> None:
    backend.script(Partial(4, "too old", json=protocol == "http/json"))
    assert await sent(towards(backend, protocol)) == Outcome(6, 4, "rejected: too old")


@pytest.mark.parametrize(
    ("protocol", "refusal"),
    [
        ("grpc", Grpc(UNAVAILABLE, "full", retry=0.05)),
        ("grpc", Grpc(UNAVAILABLE, "full")),
        ("http/protobuf", Http(503, headers={"Retry-After": "0"})),
        ("http/json", Http(429, headers={"Retry-After": "0"})),
        ("http/protobuf", Close()),
        ("http/json", Reset()),
    ],
)
async def test_what_passes_is_tried_again_and_accepted(backend: Backend, protocol: Protocol, refusal: Answer) -> None:
    backend.script(refusal, Partial(1, "one", json=protocol == "http/json"))
    assert await sent(towards(backend, protocol)) == Outcome(9, 1, "rejected: one")
    assert len(backend.requests) == 2


@pytest.mark.parametrize(
    ("protocol", "refusal", "reason"),
    [
        ("grpc", Grpc(grpc.StatusCode.UNAUTHENTICATED, "no key"), "UNAUTHENTICATED: no key"),
        ("grpc", Grpc(grpc.StatusCode.INVALID_ARGUMENT), "INVALID_ARGUMENT"),
        ("grpc", Grpc(UNAVAILABLE, "full", retry=60), "UNAVAILABLE: full"),
        ("http/protobuf", Http(401, status("no key")), "401 Unauthorized: no key"),
        ("http/json", Http(400, b'{"message": "bad"}', {"Content-Type": "application/json"}), "400 Bad Request: bad"),
        ("http/protobuf", Http(503, status("full"), {"Retry-After": "60"}), "503 Service Unavailable: full"),
        ("http/protobuf", Http(302, headers={"Location": "http://127.0.0.1:1/"}), "302 Found"),
        ("http/protobuf", Http(200, b"<html>", {"Content-Type": "text/html"}), "200 OK with text/html, which is no"),
        ("http/json", Raw(b"SSH-2.0-OpenSSH_9.9\r\n"), "ConnectionError: "),
    ],
)
async def test_what_is_refused_is_not_accepted_and_told(
    backend: Backend, protocol: Protocol, refusal: Answer, reason: str
) -> None:
    backend.otherwise = refusal
    outcome = await sent(replace(towards(backend, protocol), timeout=2))
    assert (outcome.accepted, outcome.refused) == (0, ITEMS)
    assert outcome.reason.startswith(reason)


@pytest.mark.parametrize("answer", [Hang(), Delay(5)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_destination_that_does_not_answer_is_given_up(
    backend: Backend, protocol: Protocol, answer: Answer
) -> None:
    backend.otherwise = answer
    outcome = await sent(replace(towards(backend, protocol), timeout=0.5))
    assert (outcome.accepted, outcome.refused) == (0, ITEMS)
    assert outcome.reason.startswith("DEADLINE_EXCEEDED: " if protocol == "grpc" else "ReadTimeout: ")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_port_on_which_nothing_listens_is_told(protocol: Protocol) -> None:
    options = Options(protocol=protocol, endpoint=f"http://127.0.0.1:{free_port()}", timeout=2)
    outcome = await sent(options)
    assert outcome.accepted == 0
    assert "Connection refused" in outcome.reason


async def test_a_host_that_does_not_exist_is_told() -> None:
    outcome = await sent(Options(endpoint="http://nowhere.invalid:1", timeout=2))
    assert outcome.accepted == 0
    assert "ConnectionError: " in outcome.reason


class TestTls:
    @pytest.fixture
    def certificates(self, tmp_path: Path) -> Certificates:
        return Certificates(tmp_path)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_a_server_of_a_trusted_authority_is_sent_to(
        self, certificates: Certificates, protocol: Protocol
    ) -> None:
        async with Backend(tls=certificates) as backend:
            options = replace(towards(backend, protocol), ca_file=certificates.ca_file)
            assert await sent(options) == Outcome(ITEMS, 0)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_a_client_shows_its_certificate(self, certificates: Certificates, protocol: Protocol) -> None:
        async with Backend(tls=certificates, mutual=True) as backend:
            options = replace(towards(backend, protocol), ca_file=certificates.ca_file, timeout=2)
            assert (await sent(options)).accepted == 0
            with_certificate = replace(
                options,
                cert_file=certificates.client_cert_file,
                key_file=certificates.client_key_file,
                timeout=PATIENCE,
            )
            assert await sent(with_certificate) == Outcome(ITEMS, 0)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_a_server_that_nobody_vouches_for_is_not_sent_to(
        self, certificates: Certificates, protocol: Protocol
    ) -> None:
        async with Backend(tls=certificates) as backend:
            for ca_file in (None, certificates.other_ca_file):
                outcome = await sent(replace(towards(backend, protocol), ca_file=ca_file, timeout=2))
                assert (outcome.accepted, backend.requests) == (0, [])
                assert "certificate verify failed" in outcome.reason.lower().replace("_", " ")

    @pytest.mark.parametrize("protocol", HTTP)
    async def test_any_server_is_trusted_where_that_was_asked_for(
        self, certificates: Certificates, protocol: Protocol
    ) -> None:
        async with Backend(tls=certificates) as backend:
            with warnings.catch_warnings():
                assert await sent(replace(towards(backend, protocol), insecure=True)) == Outcome(ITEMS, 0)


@pytest.mark.needs("otelcol")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_real_collector_takes_and_passes_on_what_was_accepted(
    tmp_path: Path, backend: Backend, protocol: Protocol
) -> None:
    async with Otelcol(tmp_path, backend.http_endpoint) as collector:
        endpoint = collector.grpc_url if protocol == "grpc" else collector.http_url
        for signal in Signal:
            assert await sent(Options(signal=signal, protocol=protocol, endpoint=endpoint)) == Outcome(ITEMS, 0)
            await backend.received(lambda backend, signal=signal: len(backend.items(signal)) == ITEMS)  # type: ignore[misc]
    names = Counter(str(span.name) for span in backend.spans())
    assert names == Counter(SPANS)
    assert {item.service for item in backend.log_records()} == {"web", "checkout", "payment", "mailer"}


async def test_no_proxy_is_used(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as proxy:  # it takes connections, and never answers
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        for protocol in PROTOCOLS:
            assert await sent(towards(backend, protocol)) == Outcome(ITEMS, 0)
