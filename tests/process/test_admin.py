"""What whoever reaches the admin port may do to it: its bounds, which no setting moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.raw_http import RawClient, post
from tests.support.service import Service
from tests.support.watch import Watch

MIB = 1 << 20
GET = b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n"
REPLAY = "/queue/dead/replay"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path, {"exporter": {"endpoint": "http://127.0.0.1:1"}}) as service:
        yield service


async def test_of_connections_a_hundred_are_kept_some_more_answered_once_and_far_more_closed_unheard(
    service: Service,
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(service.admin_port)) for _ in range(130)]
        for client in clients[126:]:
            assert await client.rest() == b""
        for number, client in enumerate(clients[:126]):
            answer = await client.ask(GET)
            assert (answer.status, answer.last) == (200, number >= 100)
        for client in clients[100:126]:
            assert await client.rest() == b""
        for client in clients[:100]:
            assert (await client.ask(GET)).status == 200


async def test_who_is_silent_or_slow_is_hung_up_on_and_holds_up_nobody(service: Service) -> None:
    async def silent() -> None:
        async with RawClient(service.admin_port) as client:
            assert await client.rest() == b""

    async def slow(begun: bytes, status: int) -> None:
        async with RawClient(service.admin_port) as client:
            answer = await client.ask(begun)
            assert (answer.status, answer.last) == (status, True)
            assert await client.rest() == b""

    with Watch(service) as watch:
        await asyncio.gather(
            *[silent() for _ in range(20)],
            *[slow(GET[:-2], 408) for _ in range(20)],
            *[slow(post(b"{", "content-length: 10", path=REPLAY), 400) for _ in range(20)],
        )
    assert watch.statuses == {200}
    assert watch.longest < 0.1


async def test_a_body_that_could_name_no_letters_is_413_and_is_not_held(service: Service) -> None:
    with Watch(service) as watch:
        async with RawClient(service.admin_port) as client:
            await client.send(post(b"", f"content-length: {256 * MIB}", path=REPLAY, content_type="application/json"))
            for _ in range(128):
                await client.send(bytes(MIB))
            answer = await client.answer()
            assert (answer.status, answer.last) == (413, True)
    assert watch.growth < 32 * MIB
    assert watch.statuses == {200}
    async with RawClient(service.admin_port) as client:
        numbers = b",".join([b"1"] * 100_000)
        request = post(b'{"sequences":[' + numbers + b"]}", path=REPLAY, content_type="application/json")
        assert (await client.ask(request.replace(b"host: test", b"host: localhost"))).status == 200
