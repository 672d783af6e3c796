"""A collector that is away costs nothing but disk."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.load import Load, identities
from tests.support.memory import own_memory
from tests.support.outage import outage
from tests.support.service import SOON, Service

pytestmark = pytest.mark.alone

MIB = 1 << 20


async def test_an_outage_longer_than_memory_loses_nothing_and_keeps_memory_flat(tmp_path: Path) -> None:
    backend = Backend()
    async with backend, AsyncExitStack() as stack:
        settings = {
            "exporter": {"endpoint": backend.http_endpoint, "retry": SOON},
            "queue": {"directory": str(tmp_path / "queue"), "memory_bytes": "6MiB", "max_bytes": "256MiB"},
        }
        service = await stack.enter_async_context(Service(tmp_path, settings))
        load = await stack.enter_async_context(Load(service.http_url, service.grpc_target, spans=100))
        await load.until_acknowledged(20_000)
        running = stack.pop_all()
    async with running:
        await load.until_acknowledged(100_000)
        early = own_memory(service.pid)
        await load.until_acknowledged(400_000)
        late = own_memory(service.pid)
        await load.stop()
        assert late - early < 24 * MIB, f"{early / MIB:.0f} MiB grew to {late / MIB:.0f}"
        books = (await service.law()).books(Signal.TRACES)
        assert books.dropped == 0
        assert books.queued * 200 > 4 * 6 * MIB, "the backlog must not fit in memory for this to mean anything"
        status, body = await service.ask("/health/ready")
        assert status == 200
        assert "export of traces" in body
        async with backend:
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
    assert load.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_a_full_queue_is_an_honest_later_and_drains_when_the_collector_is_back(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    settings = {
        "exporter": {"endpoint": endpoint, "retry": SOON},
        "queue": {"directory": str(tmp_path / "queue"), "max_bytes": "36MiB", "wait": "50ms"},
    }
    async with Service(tmp_path, settings) as service:
        async with Load(service.http_url, service.grpc_target, spans=500) as load:
            await load.until_answers("503", 5)
            await load.until_answers("UNAVAILABLE", 5)
            scrape = await service.law()

            async def noted() -> bool:
                status, body = await service.ask("/health/ready")
                assert status == 200, "full is not unready"
                return "clients are told to come back" in body

            await service.until(noted, "the note about the full queue")
            async with backend:
                await load.until_acknowledged(len(load.acknowledged) + 20_000)
                await load.stop()
                await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        assert (tmp_path / "queue" / "data.mdb").stat().st_size <= 36 * MIB
    assert scrape.total("otlp_receiver_refused_items_total", reason="queue_full") > 0
    assert set(load.answers) == {"200", "OK", "503", "UNAVAILABLE"}
    assert load.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_an_outage_in_which_clients_send_several_times_what_the_queue_holds(tmp_path: Path) -> None:
    """scripts/outage does it with 2 GiB and a bound of 512 MiB."""
    report = await outage(tmp_path, 32 * MIB, 64 * MIB, batch_bytes=256 << 10)
    assert report.clients.answers.keys() == {"200", "OK", "503", "UNAVAILABLE"}
    assert report.clients.without_hint == 0
    assert report.health[0] == 200, "full is not unready"
    assert report.kept_bytes > 15 * MIB, "all of the 16 MiB that are left for records is used"
    assert max(size for _, size in report.file) <= 32 * MIB
    assert max(size for _, size in report.memory) < 160 * MIB

    assert (report.lost, report.repeated) == (0, 0)
    assert report.displaced <= 2 * 10, "oldest first, but for those that are under way together"
    assert report.in_flight[0][1:] == (1, 0), "one goes first"
    assert all(under_way <= 2**taken for _, under_way, taken in report.in_flight), "and each success lets two go"
    assert max(under_way for _, under_way, _ in report.in_flight) == 10, "until it goes at full speed"
