"""The console on the admin port of a running service."""

import asyncio
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from app.admin import AdminServer
from app.console.html import Markup
from app.console.routes import console_routes
from app.console.views.health import HealthView
from app.console.views.view import Look
from app.console.watchers import Watcher
from app.core.clock import SystemClock
from app.core.request import Signal
from app.health import Health
from app.queue import Desk, MemoryQueue
from app.receivers.auth import Doorkeeper
from app.settings import AuthSettings, MetricsSettings
from app.telemetry.metrics import Metrics
from tests.support.exchange import Http
from tests.support.gateway import Gateway
from tests.support.otlp import span, spans
from tests.support.patience import PATIENCE
from tests.support.process import until

ON = {"console": {"enabled": True}}
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path, ON) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(gateway.service.admin_url) as client:
        yield client


class OneWatcher:
    """What pages are of, with one who looks, whom a test tells things."""

    version = "1"

    def __init__(self) -> None:
        self.watcher = Watcher(Look("/"))
        self.left = asyncio.Event()

    def refresh(self) -> None: ...

    def attend(self) -> None: ...

    def status(self) -> Markup:
        return Markup("")

    def watch(self, look: Look) -> Watcher:
        assert look.path == "/"
        return self.watcher

    def unwatch(self, watcher: Watcher) -> None:
        assert watcher is self.watcher
        self.left.set()


async def news(reply: aiohttp.ClientResponse) -> dict[str, str]:
    """The parts in the next event of a stream."""
    async with asyncio.timeout(PATIENCE):
        async for line in reply.content:
            if line.startswith(b'data: {"'):
                parts: dict[str, str] = json.loads(line.removeprefix(b"data: "))
                return parts
    raise AssertionError("the stream ended")


async def test_a_page_is_served_beside_metrics_and_health(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as reply:
        assert (reply.status, reply.content_type) == (200, "text/html")
        assert "<h1>Flow</h1>" in await reply.text()
    for path in ("/metrics", "/health/ready", "/queue"):
        async with client.get(path) as reply:
            assert reply.status == 200


async def test_what_passes_is_on_the_page_soon_after(gateway: Gateway, client: aiohttp.ClientSession) -> None:
    async with client.get("/console/events?path=/console/traces") as stream:
        assert (await news(stream)).keys() == {"services", "traces", "status"}
        await gateway.post(spans("web", span("GET /cart")))
        async with asyncio.timeout(PATIENCE):
            while "GET /cart" not in (await news(stream)).get("traces", ""):
                pass
    async with client.get("/") as reply:
        assert "items delivered" in await reply.text()


async def test_who_leaves_gives_the_place_to_another(client: aiohttp.ClientSession) -> None:
    streams = [await client.get("/console/events?path=/") for _ in range(16)]
    assert {stream.status for stream in streams} == {200}
    async with client.get("/console/events?path=/") as reply:
        assert await reply.read() == b"event: end\ndata: busy\n\n"
    streams.pop().close()

    async def there_is_room() -> bool:
        async with client.get("/console/events?path=/") as reply:
            return await reply.content.readline() == b"data: {}\n"

    await until(there_is_room, "a place that was left is given again")
    for stream in streams:
        stream.close()


async def test_a_reader_that_is_slow_is_let_go_of() -> None:
    stage = OneWatcher()
    desk = Desk(MemoryQueue(max_bytes=1, patience=0, clock=SystemClock()), SystemClock(), "memory", lambda *_: None)
    metrics = Metrics("test")
    health = Health("1", SystemClock())
    routes = console_routes(stage, {"/": HealthView(health)}, desk, Doorkeeper(AuthSettings(), metrics))
    async with AdminServer(MetricsSettings(port=0), "127.0.0.1", metrics, health, [routes]) as admin:
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
        writer.write(b"GET /console/events?path=/ HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b"data: {}")
        writer.transport.pause_reading()  # type: ignore[attr-defined]

        numbers = itertools.count()

        async def it_is_let_go_of() -> bool:
            stage.watcher.tell({"part": f"{next(numbers)}{'x' * (4 << 20)}"})
            return stage.watcher.ended

        await until(it_is_let_go_of, "a reader that does not read is let go of")
        writer.close()
        async with asyncio.timeout(PATIENCE):
            await stage.left.wait()


async def test_a_drain_ends_the_streams_in_good_order(tmp_path: Path) -> None:
    async with (
        Gateway(tmp_path, ON) as gateway,
        aiohttp.ClientSession(gateway.service.admin_url) as client,
        client.get("/console/events?path=/") as stream,
    ):
        await news(stream)
        assert await gateway.service.terminate() == 0
        assert (await stream.content.read()).endswith(b"event: end\ndata: bye\n\n")
    assert "Traceback" not in gateway.service.log


async def test_a_drain_is_told_on_the_page(tmp_path: Path) -> None:
    settings = ON | {"shutdown": {"delay": "2500ms"}}
    async with (
        Gateway(tmp_path, settings) as gateway,
        aiohttp.ClientSession(gateway.service.admin_url) as client,
        client.get("/console/events?path=/") as stream,
    ):
        assert "ready" in (await news(stream))["status"]
        gateway.service.signal(signal.SIGTERM)
        while "draining" not in (await news(stream)).get("status", ""):
            pass
        assert await gateway.service.wait() == 0


async def test_without_the_setting_there_is_no_page(tmp_path: Path) -> None:
    async with Gateway(tmp_path) as gateway, aiohttp.ClientSession(gateway.service.admin_url) as client:
        for path in ("/", "/console/traces", "/console/events?path=/"):
            async with client.get(path) as reply:
                assert reply.status == 404


def test_until_it_is_asked_for_nothing_of_it_is_loaded() -> None:
    program = "import app.service, sys; print([name for name in sys.modules if name.startswith('app.console')])"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert loaded.stdout == "[]\n"


async def test_what_a_collector_refuses_is_replayed_by_the_form(
    gateway: Gateway, client: aiohttp.ClientSession
) -> None:
    gateway.backend.script(Http(400))
    await gateway.post(spans("web", span("refused")))
    await gateway.service.settled(lambda scrape: scrape.books(Signal.TRACES).dead == 1, "a dead letter")
    form = {"do": "replay", "all": "yes"}
    async with client.post("/console/dead", data=form, headers={"origin": "http://evil.example"}) as reply:
        assert reply.status == 403
    async with client.post("/console/dead", data=form, headers={"origin": gateway.service.admin_url}) as reply:
        assert "1 letter with 1 item went back to the queue." in await reply.text()
    await gateway.service.settled(lambda scrape: scrape.books(Signal.TRACES).sent == 1, "it is delivered")
