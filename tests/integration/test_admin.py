"""The admin port: metrics and health."""

import gzip
import socket
import threading
from collections.abc import AsyncIterator, Iterable

import aiohttp
import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.admin import AdminServer
from app.core.clock import SystemClock
from app.health import Health
from app.settings import MetricsSettings
from app.telemetry.metrics import Metrics, gauge


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


@pytest.fixture
def health() -> Health:
    return Health("1.2.3", SystemClock())


@pytest.fixture
async def client(metrics: Metrics, health: Health) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        AdminServer(MetricsSettings(port=0, path="/metrics"), "127.0.0.1", metrics, health) as admin,
        aiohttp.ClientSession(
            f"http://127.0.0.1:{admin.port}", headers={"accept-encoding": "identity"}, auto_decompress=False
        ) as client,
    ):
        yield client


@pytest.mark.parametrize("accept", [None, "text/plain", "*/*", "application/openmetrics-text; version=nonsense"])
async def test_metrics_come_as_prometheus_text(client: aiohttp.ClientSession, accept: str | None) -> None:
    async with client.get("/metrics", headers={"accept": accept} if accept else {}) as reply:
        assert (reply.status, reply.content_type) == (200, "text/plain")
        families = {family.name: family for family in parse_text(await reply.text())}
    assert families["otlp_service_info"].samples[0].labels == {"version": "1.2.3"}


async def test_metrics_come_as_openmetrics_to_those_who_ask(client: aiohttp.ClientSession) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    async with client.get("/metrics", headers={"accept": accept}) as reply:
        assert (reply.status, reply.content_type) == (200, "application/openmetrics-text")
        text = await reply.text()
    assert text.endswith("# EOF\n")
    assert "otlp_receiver_accepted_items" in {family.name for family in parse_openmetrics(text)}


async def test_metrics_are_compressed_for_those_who_ask(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics", headers={"accept-encoding": "gzip"}) as reply:
        assert reply.headers["content-encoding"] == "gzip"
        assert b"otlp_service_info" in gzip.decompress(await reply.read())
    async with client.get("/metrics", headers={"accept-encoding": "gzip;q=0, identity"}) as reply:
        assert "content-encoding" not in reply.headers
        assert b"otlp_service_info" in await reply.read()


async def test_a_scrape_is_made_on_the_event_loop(client: aiohttp.ClientSession, metrics: Metrics) -> None:
    threads = []

    def figures() -> Iterable[Metric]:
        threads.append(threading.current_thread())
        yield gauge("figure", "A figure.", 1)

    metrics.at_scrape(figures)
    async with client.get("/metrics") as reply:
        assert b"\nfigure 1.0\n" in await reply.read()
    assert threads == [threading.current_thread()]


async def test_without_metrics_there_is_health(metrics: Metrics, health: Health) -> None:
    async with (
        AdminServer(MetricsSettings(enabled=False, port=0), "127.0.0.1", metrics, health) as admin,
        aiohttp.ClientSession(f"http://127.0.0.1:{admin.port}") as client,
    ):
        async with client.get("/metrics") as reply:
            assert reply.status == 404
        async with client.get("/health/live") as reply:
            assert reply.status == 200


async def test_metrics_have_the_path_that_they_are_given(metrics: Metrics, health: Health) -> None:
    async with (
        AdminServer(MetricsSettings(port=0, path="/some/where"), "127.0.0.1", metrics, health) as admin,
        aiohttp.ClientSession(f"http://127.0.0.1:{admin.port}") as client,
    ):
        async with client.get("/some/where") as reply:
            assert reply.status == 200
        async with client.get("/metrics") as reply:
            assert reply.status == 404


async def test_the_probes_answer_by_status_and_say_why(client: aiohttp.ClientSession, health: Health) -> None:
    async def probe() -> dict[str, int]:
        statuses = {}
        for name in ("startup", "ready", "live"):
            async with client.get(f"/health/{name}") as reply:
                statuses[name] = reply.status
                assert reply.headers["cache-control"] == "no-store"
                assert (await reply.json())["version"] == "1.2.3"
        return statuses

    assert await probe() == {"startup": 503, "ready": 503, "live": 200}
    health.ready_now()
    assert await probe() == {"startup": 200, "ready": 200, "live": 200}
    health.draining()
    assert await probe() == {"startup": 200, "ready": 503, "live": 200}


async def test_a_port_that_is_in_use_is_a_clear_error(metrics: Metrics, health: Health) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        admin = AdminServer(MetricsSettings(port=port), "127.0.0.1", metrics, health)
        with pytest.raises(OSError, match=rf"^metrics\.port: {port} is in use"):
            await admin.__aenter__()


async def test_starting_and_stopping_twice_is_safe(metrics: Metrics, health: Health) -> None:
    admin = AdminServer(MetricsSettings(port=0), "127.0.0.1", metrics, health)
    for _ in range(2):
        async with admin, admin:
            tasks = admin.tasks
            assert [task.done() for task in tasks] == [False]
        assert [task.done() for task in tasks] == [True]
        await admin.__aexit__()
