"""A disk that is full or broken: what clients see, what is kept, and how the service comes back."""

import errno
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.damage import places, set_aside
from tests.support.faults import Faults
from tests.support.load import Load, identities
from tests.support.service import SOON, Service

TRACES = Signal.TRACES
LATER = 1 << 40
MIB = 1 << 20


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A destination that is away until it is started."""
    backend = Backend()
    async with backend:
        await backend.stop()
        yield backend


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path)


@pytest.fixture
async def service(tmp_path: Path, backend: Backend, faults: Faults) -> AsyncIterator[Service]:
    settings = {"exporter": {"endpoint": backend.http_endpoint, "retry": SOON}, "queue": {"wait": "50ms"}}
    service = Service(tmp_path, settings, faults.environment)
    async with service:
        yield service


def load(service: Service, *, first: int = 1) -> Load:
    return Load(service.http_url, service.grpc_target, clients=2, first=first)


def arrived(backend: Backend) -> Counter[int]:
    return Counter(identities(request.body for request in backend.taken))


async def keep(service: Service) -> set[int]:
    """Have some spans kept; all that were sent were acknowledged."""
    async with load(service) as clients:
        await clients.until_acknowledged(1000)
        await clients.finish()
    return clients.acknowledged


async def until_ended(service: Service, clients: Load) -> None:
    while service.returncode is None:
        await clients.until_more_answers()


async def all_delivered(service: Service, backend: Backend) -> Counter[int]:
    await backend.start()
    await service.settled(lambda s: s.books(TRACES).queued == 0, "all is delivered")
    return arrived(backend)


@pytest.mark.needs("gcc")
async def test_a_full_disk_refuses_requests_and_takes_them_again_when_there_is_room(
    service: Service, backend: Backend, faults: Faults
) -> None:
    kept = await keep(service)
    faults.on("write", errno.ENOSPC)
    async with load(service, first=LATER) as clients:
        await clients.until_answers("503", 5)
        await clients.until_answers("UNAVAILABLE", 5)
        assert not clients.acknowledged
        assert clients.answers.keys() == {"503", "UNAVAILABLE"}
        await service.law()
        faults.off()
        await clients.until_acknowledged(1000)
        await clients.finish()
    assert service.returncode is None
    assert service.log.count("the disk under the queue has no room for") == 1, "told once, not with each request"
    delivered = await all_delivered(service, backend)
    assert kept | clients.acknowledged == delivered.keys(), "what was refused does not arrive"
    assert max(delivered.values()) == 1


@pytest.mark.needs("gcc")
async def test_a_full_disk_delivers_and_forgets_what_was_delivered_when_there_is_room(
    service: Service, backend: Backend, faults: Faults
) -> None:
    kept = await keep(service)
    faults.on("write", errno.ENOSPC)
    delivered = await all_delivered(service, backend)
    assert delivered.keys() == kept

    async def postponed() -> bool:
        return "the disk under the queue is full" in service.log

    await service.until(postponed, "a deletion was tried in vain")
    faults.off()
    assert await service.restart() == 0
    assert (await service.law()).books(TRACES).recovered == 0, "nothing is delivered again"
    assert max(arrived(backend).values()) == 1


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(
    ("operation", "error"),
    [("write", errno.EIO), ("sync", errno.EIO), ("sync", errno.ENOSPC), ("head", errno.EIO), ("head", errno.ENOSPC)],
    ids=["write EIO", "sync EIO", "sync ENOSPC", "head EIO", "head ENOSPC"],
)
async def test_a_disk_that_fails_acknowledges_nothing_more_and_is_not_tried_again(
    service: Service, backend: Backend, faults: Faults, operation: str, error: int
) -> None:
    kept = await keep(service)
    faults.on(operation, error)
    async with load(service, first=LATER) as clients:
        await until_ended(service, clients)
    assert service.returncode == 1
    assert not clients.acknowledged
    assert clients.answers.get("503", 0) + clients.answers.get("UNAVAILABLE", 0) >= 1, clients.answers
    assert "the queue's disk failed" in service.log
    failed = [call for call in faults.calls() if call.error and call.operation != "head"]
    assert len([call for call in failed if call.writes]) == (operation != "head"), "it is not tried again"
    after = faults.calls()[faults.calls().index(next(call for call in faults.calls() if call.error)) + 1 :]
    assert not [call for call in after if call.operation == "sync" and call.writes], "nor is there another sync"

    faults.off()
    await service.start()
    assert (await service.law()).books(TRACES).recovered >= len(kept)
    delivered = await all_delivered(service, backend)
    assert kept <= delivered.keys() <= kept | clients.unacknowledged
    assert max(delivered.values()) == 1


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("operation", ["write", "sync", "head"])
async def test_a_disk_that_fails_when_something_is_forgotten_has_it_delivered_again(
    service: Service, backend: Backend, faults: Faults, operation: str
) -> None:
    kept = await keep(service)
    faults.on(operation, errno.EIO)
    await backend.start()
    assert await service.wait() == 1
    assert "the queue's disk failed" in service.log

    faults.off()
    await service.start()
    delivered = await all_delivered(service, backend)
    assert delivered.keys() == kept
    assert max(delivered.values()) <= 2


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("part", ["its first page", "a later page"])
async def test_a_record_that_the_disk_cannot_read_does_not_keep_the_others(
    service: Service, backend: Backend, faults: Faults, part: str
) -> None:
    """Read through LMDB's map it would end the service by SIGBUS, again and again."""
    kept = await keep(service)
    service.kill()
    directory = Path(service.settings["queue"]["directory"])
    records = places(directory, "traces")
    offset, length = records[len(records) // 2]
    faults.on("read", errno.EIO, offset if part == "its first page" else offset + length - 1)
    await service.start()
    faults.off()
    delivered = await all_delivered(service, backend)
    assert len(kept - delivered.keys()) == 20, "one request is lost, and no other"
    assert delivered.keys() <= kept
    dropped = (await service.law()).total("otlp_exporter_dropped_items_total", signal="traces", reason="damaged")
    # Without its header nobody knows how many items there were, so that only the log can tell.
    assert (dropped, "1 were not" in service.log) == ((0, True) if part == "its first page" else (20, False))
    assert len(set_aside(directory)) == 1


async def test_a_full_queue_refuses_and_delivers(tmp_path: Path, backend: Backend) -> None:
    settings = {
        "exporter": {"endpoint": backend.http_endpoint, "retry": SOON},
        "queue": {"max_bytes": 32 * MIB, "wait": "50ms"},
    }
    async with Service(tmp_path, settings) as service:
        async with Load(service.http_url, None, spans=500) as clients:
            await clients.until_answers("503", 5)
            await clients.finish()
        assert clients.answers.keys() == {"200", "503"}
        assert (tmp_path / "queue" / "data.mdb").stat().st_size <= 32 * MIB
        delivered = await all_delivered(service, backend)
        assert delivered.keys() == clients.acknowledged
        assert max(delivered.values()) == 1
        async with Load(service.http_url, None, first=LATER) as again:
            await again.until_acknowledged(100)
    assert "0 left on disk" in service.log
