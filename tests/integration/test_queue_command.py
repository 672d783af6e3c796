"""The queue's commands towards whatever listens on an admin port, or does not."""

import socket
from collections.abc import AsyncIterator

import pytest

from app import probe
from app.admin import AdminServer, queue_routes
from app.core.clock import SystemClock
from app.core.errors import InvalidData
from app.core.request import ExportRequest, Signal
from app.health import Health
from app.queue import Desk, MemoryQueue
from app.queue.letters import EVERYTHING, Selection
from app.queue_command.desk import NoAnswerError
from app.queue_command.remote import Remote, UnreachableError
from app.receivers.auth import Doorkeeper
from app.settings import AuthSettings, MetricsSettings
from app.telemetry.metrics import Metrics
from tests.support.backend import Backend
from tests.support.letters import letters
from tests.support.ports import free_port

TRACES, METRICS, LOGS = Signal


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue(max_bytes=64 << 20, patience=0, clock=SystemClock())


@pytest.fixture
async def remote(queue: MemoryQueue) -> AsyncIterator[Remote]:
    desk = Desk(queue, SystemClock(), "memory", lambda *_: None)
    metrics, health = Metrics(""), Health("", SystemClock())
    routes = queue_routes(desk, Doorkeeper(AuthSettings(), metrics))
    async with AdminServer(MetricsSettings(port=0), "127.0.0.1", metrics, health, [routes]) as admin:
        yield Remote("127.0.0.1", admin.port)


async def bury(queue: MemoryQueue, number: int, signal: Signal = TRACES) -> None:
    for _ in range(number):
        await queue.append(ExportRequest(signal, b"body", 2), lambda _: None)
        lease = await queue.lease(signal, 1 << 20)
        assert lease is not None
        queue.bury(lease, InvalidData("a reason"))


async def test_all_pages_are_read(remote: Remote, queue: MemoryQueue) -> None:
    await bury(queue, 2500)
    assert len(await remote.find(EVERYTHING, 1 << 31)) == 2500
    found = await remote.find(EVERYTHING, 1234)
    assert [letter["sequence"] for letter in found] == list(range(1, 1235))


async def test_what_is_selected_is_asked_for(remote: Remote, queue: MemoryQueue) -> None:
    await bury(queue, 3)
    await bury(queue, 2, LOGS)
    assert len(await remote.find(Selection(signal=LOGS, reason="invalid"), 10)) == 2
    assert await remote.find(Selection(reason="a & b=c"), 10) == []
    assert [letter["sequence"] for letter in await remote.find(Selection(frozenset({5, 1})), 10)] == [1, 5]
    assert await remote.body(5) == ExportRequest(LOGS, b"body", 2)
    assert await remote.purge(Selection(frozenset({1, 4}), LOGS, "invalid")) == {"letters": 1, "items": 2, "left": 0}
    assert await remote.replay(EVERYTHING) == {"letters": 4, "items": 8, "left": 0}
    await letters(queue, 0)
    assert (await remote.status())["signals"]["traces"]["queued_items"] == 6


async def test_a_letter_that_is_not_there_is_told(remote: Remote) -> None:
    with pytest.raises(NoAnswerError, match=r"^127\.0\.0\.1:\d+ answered 404: there is no dead letter 7$"):
        await remote.body(7)


async def test_nobody_there_is_told(remote: Remote) -> None:
    with pytest.raises(UnreachableError, match=r"nothing listens on .*is `otlp-service serve` running\?$"):
        await Remote("127.0.0.1", free_port()).status()


async def test_a_server_that_says_nothing_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = Remote("127.0.0.1", silent.getsockname()[1], patience=0.05)
        with pytest.raises(NoAnswerError, match="cannot be asked: timed out"):
            await remote.status()


async def test_another_port_than_the_admin_port_is_told() -> None:
    async with Backend() as backend:
        with pytest.raises(NoAnswerError, match=r"answered 404: no signal at /queue"):
            await Remote("127.0.0.1", backend.http_port).status()
    health = Health("", SystemClock())
    async with AdminServer(MetricsSettings(port=0), "127.0.0.1", Metrics(""), health) as other:
        with pytest.raises(NoAnswerError, match="is no admin port of an otlp-service that has /queue"):
            await Remote("127.0.0.1", other.port).status()


async def test_what_is_no_json_is_told(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_exchange", lambda *_: (200, b"<html>"))
    with pytest.raises(NoAnswerError, match="is no admin port of otlp-service: it answered b'<html>'"):
        await remote.status()


@pytest.mark.parametrize(
    ("url", "place"), [("http://h:1", "h:1"), ("http://[::1]:9/", "[::1]:9"), ("http://h", "h:80")]
)
def test_a_service_is_named_by_its_url(url: str, place: str) -> None:
    assert Remote.at(url).place == place


@pytest.mark.parametrize("url", ["h:1", "https://h:1", "http://h:1/queue", "http://:1", "http://h:x", "http://h:1?a=b"])
def test_what_is_no_url_of_an_admin_port_is_told(url: str) -> None:
    with pytest.raises(ValueError, match=r"is no address of an admin port; write http://"):
        Remote.at(url)


def test_a_server_on_every_address_is_reached_on_loopback() -> None:
    assert [probe.reachable(host) for host in ("0.0.0.0", "::", "10.0.0.5")] == ["127.0.0.1", "::1", "10.0.0.5"]
