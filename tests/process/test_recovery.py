"""The recovery of a queue by hand, as docs/operations.md has it."""

from collections import Counter
from pathlib import Path

from app.core.request import Signal
from app.queue.pages import PAGE
from tests.support.backend import Backend
from tests.support.command import command
from tests.support.damage import overwrite, set_aside
from tests.support.load import Load, identities
from tests.support.service import SOON, Service

TRACES = Signal.TRACES


def queue_of(service: Service) -> Path:
    return Path(service.settings["queue"]["directory"])


async def filled(service: Service, spans: int = 500) -> set[int]:
    """Have a service keep some spans, and end it; returns which they are."""
    async with service, Load(service.http_url, None, clients=2) as load:
        await load.until_acknowledged(spans)
        await load.finish()
        service.kill()
    return load.acknowledged


async def arrived(service: Service, backend: Backend) -> Counter[int]:
    """What a service delivers of the queue that it finds."""
    await backend.start()
    async with service:
        await service.settled(lambda scrape: scrape.books(TRACES).queued == 0, "all of it is delivered")
    assert "0 left on disk" in service.log
    return Counter(identities(request.body for request in backend.taken))


async def test_the_file_alone_is_a_queue_that_any_service_delivers_while_the_first_goes_on_without(
    tmp_path: Path,
) -> None:
    old, recovered = tmp_path / "old", tmp_path / "recovered"
    for folder in (old, recovered, recovered / "queue"):
        folder.mkdir()
    async with Backend() as backend:
        await backend.stop()
        settings = {"exporter": {"endpoint": backend.http_endpoint, "retry": SOON}}
        service = Service(old, settings)
        kept = await filled(service)
        looked_at = await command(old, "queue", "status", "--directory", str(queue_of(service)), "--json")
        assert looked_at.json()["signals"]["traces"]["queued_items"] == len(kept)

        (queue_of(service) / "data.mdb").rename(recovered / "queue/data.mdb")
        async with service:
            scrape = await service.law()
            assert scrape.total("otlp_queue_recovered_items_total") == 0
            assert await arrived(Service(recovered, settings), backend) == Counter(kept)


async def test_a_set_aside_file_is_salvaged_once_more_and_delivered_a_second_time(tmp_path: Path) -> None:
    once, again = tmp_path / "once", tmp_path / "again"
    for folder in (once, again, again / "queue"):
        folder.mkdir()
    async with Backend() as backend:
        await backend.stop()
        settings = {"exporter": {"endpoint": backend.http_endpoint, "retry": SOON}}
        service = Service(once, settings)
        kept = await filled(service)
        overwrite(queue_of(service), 0, bytes(2 * PAGE))  # its heads are gone
        assert await arrived(service, backend) == Counter(kept)
        (aside,) = set_aside(queue_of(service))
        aside.rename(again / "queue/data.mdb")
        assert await arrived(Service(again, settings), backend) == Counter(dict.fromkeys(kept, 2))
