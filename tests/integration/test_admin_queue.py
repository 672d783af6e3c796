"""The queue on the admin port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from fastapi import FastAPI

from app.admin import AdminServer, queue_routes
from app.core.clock import SystemClock
from app.core.errors import InvalidData, NotAllowed, Refused
from app.core.request import ExportRequest, Signal
from app.health import Health
from app.queue import Desk, DiskQueue, LmdbStore, MemoryQueue, Queue
from app.queue.store import RESERVE_BYTES
from app.receivers.auth import Doorkeeper
from app.settings import AuthSettings, MetricsSettings
from app.telemetry.metrics import Metrics
from tests.support.asgi import ask
from tests.support.clock import FakeClock
from tests.support.letters import letters

TRACES, METRICS, LOGS = Signal
OPEN = Doorkeeper(AuthSettings(), Metrics("test"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["disk", "memory"])
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Queue:
    if request.param == "memory":
        return MemoryQueue(max_bytes=1 << 20, patience=0.01, clock=clock)
    size = RESERVE_BYTES + (16 << 20)
    return DiskQueue(
        LmdbStore(tmp_path, size),
        max_bytes=size,
        memory_bytes=3 << 20,
        patience=0.01,
        clock=clock,
        metrics=Metrics("test"),
    )


@pytest.fixture
def purged() -> list[tuple[Signal, int]]:
    return []


@pytest.fixture
def desk(queue: Queue, clock: FakeClock, purged: list[tuple[Signal, int]]) -> Desk:
    return Desk(queue, clock, "disk", lambda signal, items: purged.append((signal, items)))


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[aiohttp.ClientSession]:
    health = Health("1.2.3", SystemClock())
    metrics = Metrics("1.2.3")
    async with (
        AdminServer(MetricsSettings(port=0), "127.0.0.1", metrics, health, [queue_routes(desk, OPEN)]) as admin,
        aiohttp.ClientSession(f"http://127.0.0.1:{admin.port}") as client,
    ):
        yield client


@pytest.fixture
async def client(queue: Queue, desk: Desk) -> AsyncIterator[aiohttp.ClientSession]:
    async with queue, serving(desk) as client:
        yield client


async def bury(queue: Queue, signal: Signal, body: bytes, items: int, refusal: Refused) -> int:
    number = await queue.append(ExportRequest(signal, body, items), lambda _: None)
    lease = await queue.lease(signal, 1 << 20)
    assert lease is not None
    queue.bury(lease, refusal)
    return number


async def three(queue: Queue, clock: FakeClock) -> list[int]:
    """Bury two requests of traces and one of logs, a minute after each other."""
    numbers = []
    for signal, body, items, refusal in (
        (TRACES, b"first", 3, InvalidData("400")),
        (LOGS, b"second", 20, InvalidData("400")),
        (TRACES, b"third", 100, NotAllowed("401")),
    ):
        numbers.append(await bury(queue, signal, body, items, refusal))
        await clock.advance(60)
    await letters(queue, 3)
    return numbers


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, object]:
    async with client.get(path) as answer:
        return answer.status, await answer.json()


async def post(client: aiohttp.ClientSession, path: str, choice: object) -> tuple[int, object]:
    async with client.post(path, json=choice) as answer:
        return answer.status, await answer.json()


async def listed(client: aiohttp.ClientSession, query: str = "") -> list[int]:
    async with client.get(f"/queue/dead{query}") as answer:
        assert answer.status == 200, await answer.text()
        return [letter["sequence"] for letter in (await answer.json())["letters"]]


async def test_the_status_tells_how_much_there_is_of_everything(
    client: aiohttp.ClientSession, queue: Queue, clock: FakeClock
) -> None:
    await three(queue, clock)
    await queue.append(ExportRequest(TRACES, b"waits", 7), lambda _: None)
    await clock.advance(2)
    status, answer = await get(client, "/queue")
    assert (status, answer) == (
        200,
        {
            "storage": "disk",
            "used_bytes": queue.used_bytes,
            "capacity_bytes": queue.capacity_bytes,
            "oldest_seconds": 2.0,
            "signals": {
                "traces": {"queued_items": 7, "dead_items": 103, "dead_letters": 2},
                "metrics": {"queued_items": 0, "dead_items": 0, "dead_letters": 0},
                "logs": {"queued_items": 0, "dead_items": 20, "dead_letters": 1},
            },
        },
    )


async def test_letters_are_listed_a_page_at_a_time_and_by_what_they_are(
    client: aiohttp.ClientSession, queue: Queue, clock: FakeClock
) -> None:
    first, second, third = await three(queue, clock)
    assert await listed(client) == [first, second, third]
    assert await listed(client, "?limit=2") == [first, second]
    assert await listed(client, f"?limit=2&after={second}") == [third]
    assert await listed(client, "?signal=logs") == [second]
    assert await listed(client, "?reason=not_allowed") == [third]
    for query in ("?signal=profiles", "?limit=0", "?limit=1001", "?after=-1"):
        assert (await get(client, f"/queue/dead{query}"))[0] == 422


async def test_one_letter_tells_why_and_when(client: aiohttp.ClientSession, queue: Queue, clock: FakeClock) -> None:
    first, _, _ = await three(queue, clock)
    status, letter = await get(client, f"/queue/dead/{first}")
    assert (status, letter) == (
        200,
        {
            "sequence": first,
            "signal": "traces",
            "items": 3,
            "bytes": 5,
            "received": "2023-11-14T22:13:20.000+00:00",
            "refused": "2023-11-14T22:13:20.000+00:00",
            "age_seconds": 180.0,
            "reason": "invalid",
            "message": "400",
        },
    )
    async with client.get(f"/queue/dead/{first}/body") as answer:
        assert (answer.status, answer.content_type) == (200, "application/x-protobuf")
        assert await answer.read() == b"first"


async def test_a_letter_that_is_not_there_is_not_found(client: aiohttp.ClientSession) -> None:
    for path in ("/queue/dead/7", "/queue/dead/7/body"):
        assert await get(client, path) == (404, {"detail": "there is no dead letter 7"})


async def test_letters_are_replayed(client: aiohttp.ClientSession, queue: Queue, clock: FakeClock) -> None:
    first, second, third = await three(queue, clock)
    choice = {"sequences": [first, third], "reason": "invalid"}
    assert await post(client, "/queue/dead/replay", choice) == (200, {"letters": 1, "items": 3, "left": 0})
    assert await listed(client) == [second, third]
    assert queue.items(TRACES) == 3
    assert await post(client, "/queue/dead/replay", {"all": True}) == (200, {"letters": 2, "items": 120, "left": 0})
    assert queue.items(TRACES) == 103


async def test_letters_are_purged_and_counted(
    client: aiohttp.ClientSession, queue: Queue, clock: FakeClock, purged: list[tuple[Signal, int]]
) -> None:
    first, _, third = await three(queue, clock)
    assert await post(client, "/queue/dead/purge", {"signal": "logs"}) == (200, {"letters": 1, "items": 20, "left": 0})
    assert purged == [(LOGS, 20)]
    assert await listed(client) == [first, third]


@pytest.mark.parametrize(
    "choice", [{}, {"all": False}, {"all": True, "signal": "traces"}, {"signals": "traces"}, [1], {"sequences": ["x"]}]
)
async def test_what_is_meant_has_to_be_said(client: aiohttp.ClientSession, choice: object) -> None:
    for path in ("/queue/dead/replay", "/queue/dead/purge"):
        status, _ = await post(client, path, choice)
        assert status == 422


async def test_what_is_no_json_is_refused_whoever_sends_it(client: aiohttp.ClientSession) -> None:
    """A page in a browser on this machine can send a plain form, and nothing else without being allowed to."""
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        async with client.post("/queue/dead/purge", data=b'{"all": true}', headers={"content-type": kind}) as answer:
            assert answer.status == 422


async def test_before_it_is_open_and_after_it_is_closed_the_queue_says_so(tmp_path: Path, clock: FakeClock) -> None:
    size = RESERVE_BYTES + (16 << 20)
    queue = DiskQueue(
        LmdbStore(tmp_path, size), max_bytes=size, memory_bytes=0, patience=0, clock=clock, metrics=Metrics("test")
    )
    async with serving(Desk(queue, clock, "disk", lambda *_: None)) as client:
        assert (await get(client, "/queue"))[0] == 200
        status, answer = await get(client, "/queue/dead")
        assert status == 503
        assert "is not open" in str(answer)
        async with queue:
            assert await listed(client) == []
        assert await get(client, "/queue/dead") == (503, {"detail": "the queue is closed"})
        assert (await post(client, "/queue/dead/replay", {"all": True}))[0] == 503


async def test_a_damaged_letter_is_gone_and_says_so(tmp_path: Path, clock: FakeClock) -> None:
    class Damaged(LmdbStore):
        def dead_record(self, signal: Signal, sequence: int) -> bytes | None:
            record = super().dead_record(signal, sequence)
            return None if record is None else record[:-1] + b"?"

    size = RESERVE_BYTES + (16 << 20)
    queue = DiskQueue(
        Damaged(tmp_path, size), max_bytes=size, memory_bytes=0, patience=0, clock=clock, metrics=Metrics("test")
    )
    async with queue, serving(Desk(queue, clock, "disk", lambda *_: None)) as client:
        number = await bury(queue, TRACES, b"body", 1, InvalidData("400"))
        await letters(queue, 1)
        status, answer = await get(client, f"/queue/dead/{number}/body")
        assert status == 410
        assert "is damaged: the CRC" in str(answer)


# Who may do what cannot be undone.

HERE = [("127.0.0.1", "127.0.0.1:9090"), ("127.8.9.1", "localhost:9090"), ("::1", "[::1]:9090")]
HERE += [("::ffff:127.0.0.1", "localhost"), ("10.0.0.5", "10.0.0.5:9090")]
ELSEWHERE = [("10.0.0.6", "10.0.0.5:9090"), ("10.0.0.6", "127.0.0.1:9090"), ("127.0.0.1", "evil.example:9090")]
ELSEWHERE += [("127.0.0.6", "otlp-service:9090"), ("::ffff:10.0.0.6", "localhost"), ("", "localhost"), ("::1", "")]


def pages(desk: Desk, doorkeeper: Doorkeeper = OPEN) -> FastAPI:
    pages = FastAPI()
    pages.include_router(queue_routes(desk, doorkeeper))
    return pages


async def asked(desk: Desk, peer: str, host: str, path: str, method: str = "POST") -> int:
    headers = [("content-type", "application/json"), ("x-forwarded-for", "127.0.0.1")]
    headers += [("host", host)] if host else []
    client = (peer, 40_000) if peer else None
    reply = await ask(
        pages(desk), path, b'{"all": true}', method=method, headers=headers, client=client, server=("10.0.0.5", 9090)
    )
    return reply.status


@pytest.mark.parametrize(("peer", "host"), HERE)
async def test_from_here_letters_may_be_replayed_and_purged(queue: Queue, desk: Desk, peer: str, host: str) -> None:
    async with queue:
        for path in ("/queue/dead/replay", "/queue/dead/purge"):
            assert await asked(desk, peer, host, path) == 200
        assert await asked(desk, peer, host, "/queue/dead/1/body", "GET") == 404


@pytest.mark.parametrize(("peer", "host"), ELSEWHERE)
async def test_from_elsewhere_they_may_be_counted_and_nothing_else(
    queue: Queue, desk: Desk, peer: str, host: str
) -> None:
    async with queue:
        for path in ("/queue/dead/replay", "/queue/dead/purge"):
            assert await asked(desk, peer, host, path) == 403
        assert await asked(desk, peer, host, "/queue/dead/1/body", "GET") == 403
        for path in ("/queue", "/queue/dead"):
            assert await asked(desk, peer, host, path, "GET") == 200


async def test_from_elsewhere_a_key_opens_what_cannot_be_undone(queue: Queue, desk: Desk) -> None:
    keeper = Doorkeeper(AuthSettings(api_keys=["web:sesame"]), Metrics("test"))
    elsewhere, here = ("10.0.0.6", "10.0.0.5:9090"), ("127.0.0.1", "localhost:9090")

    async def purged(place: tuple[str, str], **shown: str) -> int:
        headers = [("content-type", "application/json"), ("host", place[1])]
        headers += [(name.replace("_", "-"), value) for name, value in shown.items()]
        reply = await ask(
            pages(desk, keeper),
            "/queue/dead/purge",
            b'{"all": true}',
            method="POST",
            headers=headers,
            client=(place[0], 40_000),
            server=("10.0.0.5", 9090),
        )
        return reply.status

    async with queue:
        assert await purged(elsewhere, authorization="Bearer sesame") == 200
        assert await purged(elsewhere, x_api_key="sesame") == 200
        assert await purged(elsewhere, x_api_key="wrong") == 401
        assert await purged(here, x_api_key="wrong") == 401
        assert await purged(elsewhere) == 403
        assert await purged(here) == 200
