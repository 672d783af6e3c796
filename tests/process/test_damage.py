"""What a damaged queue costs: what clients see, what is kept, and how the service comes back."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.core.request import Signal
from app.queue.pages import BRANCH, LEAF, PAGE
from app.queue.record import unpack
from tests.support.backend import Backend
from tests.support.damage import cut, flip, overwrite, pages_of, places, scribble, set_aside, zero
from tests.support.load import Load, identities
from tests.support.service import SOON, Service

TRACES = Signal.TRACES
UNIT = 1 << 40  # numbers of one load are less than this from its first
ENDINGS = {1, -signal.SIGBUS, -signal.SIGSEGV, -signal.SIGABRT}


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A destination that is away until it is started."""
    backend = Backend()
    async with backend:
        await backend.stop()
        yield backend


@pytest.fixture
async def service(tmp_path: Path, backend: Backend) -> AsyncIterator[Service]:
    service = Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint, "retry": SOON}})
    async with service:
        yield service


def queue_of(service: Service) -> Path:
    return Path(service.settings["queue"]["directory"])


async def keep(service: Service, acknowledged: int, *, first: int = 1) -> Load:
    """Have the service keep small and large requests; returns what their clients know."""
    async with (
        Load(service.http_url, None, clients=2, spans=1, first=first) as small,
        Load(service.http_url, None, clients=2, spans=20, first=first + UNIT // 2) as large,
    ):
        await small.until_acknowledged(acknowledged // 10)
        await large.until_acknowledged(acknowledged)
        await small.finish()
        await large.finish()
    assert not small.unacknowledged | large.unacknowledged
    small.acknowledged |= large.acknowledged
    return small


async def end(service: Service, *, first: int) -> tuple[Load, int]:
    """Send until the service ends, or for a while, and kill it then; what clients know, and how it ended."""
    async with Load(service.http_url, None, clients=2, first=first) as load:
        while service.returncode is None and len(load.acknowledged) < 2000:
            await load.until_more_answers()
    service.kill()
    assert service.returncode is not None
    return load, service.returncode


async def deliver(service: Service, backend: Backend) -> Counter[int]:
    """Start the service and its destination again; what arrives, by identity."""
    await service.start()
    await backend.start()
    await service.settled(lambda s: s.books(TRACES).queued == 0, "all that was kept is delivered")
    return Counter(identities(request.body for request in backend.taken))


def spans_at(directory: Path) -> dict[int, tuple[int, set[int]]]:
    """For each record the end of its place in the file, and which spans it holds."""
    data = (directory / "data.mdb").read_bytes()
    return {
        number: (offset + length, set(identities([unpack(TRACES, memoryview(data[offset : offset + length])).body])))
        for number, (offset, length) in places(directory, "traces").items()
    }


@pytest.mark.parametrize("damage", [zero, scribble])
@pytest.mark.parametrize("kind", [BRANCH, LEAF], ids=["inner page", "leaf"])
async def test_a_lost_page_costs_no_more_than_what_was_in_it(
    service: Service, backend: Backend, damage: Callable[[Path, int], None], kind: int
) -> None:
    directory = queue_of(service)
    before = await keep(service, 3000)
    page = pages_of(directory, TRACES, kind)[0]
    inside = {n for n, (offset, _) in places(directory, "traces").items() if offset // PAGE == page}
    spans = spans_at(directory)
    damage(directory, page)
    after, code = await end(service, first=2 * UNIT)
    assert code in ENDINGS | {-signal.SIGKILL}, "it ends by itself, or does not need the page"

    arrived = await deliver(service, backend)
    lost = (before.acknowledged | after.acknowledged) - arrived.keys()
    assert lost <= {span for number in inside for span in spans[number][1]}
    assert bool(lost) == (kind == LEAF)
    assert arrived.keys() <= before.acknowledged | after.acknowledged | after.unacknowledged
    assert max(arrived.values()) == 1
    (aside,) = set_aside(directory)
    assert f"the damaged file is kept as {aside.name}" in service.log
    assert "records were salvaged" in service.log


async def test_a_truncated_file_costs_what_was_behind_the_cut(service: Service, backend: Backend) -> None:
    directory = queue_of(service)
    before = await keep(service, 3000)
    spans = spans_at(directory)
    half = (directory / "data.mdb").stat().st_size // 2 // PAGE * PAGE  # what a page holds is lost with a part of it
    cut(directory, half)
    after, code = await end(service, first=2 * UNIT)
    assert code in ENDINGS
    assert not after.acknowledged, "nothing is acknowledged into a file that was cut"
    assert after.answers.keys() <= {"503", "ServerDisconnectedError", "ClientOSError", "ClientConnectorError"}

    arrived = await deliver(service, backend)
    assert {span for ends, inside in spans.values() if ends <= half for span in inside} <= arrived.keys()
    assert arrived.keys() <= before.acknowledged | after.unacknowledged
    assert len(arrived) > 1000
    assert max(arrived.values()) == 1
    assert len(set_aside(directory)) == 1


async def test_without_its_head_a_file_loses_nothing(service: Service, backend: Backend) -> None:
    directory = queue_of(service)
    before = await keep(service, 3000)
    zero(directory, 0, 1)
    after, code = await end(service, first=2 * UNIT)
    assert code in ENDINGS

    arrived = await deliver(service, backend)
    assert before.acknowledged | after.acknowledged <= arrived.keys()
    assert "page 0 is no head; page 1 is no head" in service.log
    assert len(set_aside(directory)) == 1


async def test_a_record_with_a_wrong_crc_is_dropped_and_counted(service: Service, backend: Backend) -> None:
    directory = queue_of(service)
    before = await keep(service, 1000)
    number, (offset, length) = max(places(directory, "traces").items(), key=lambda item: item[1][1])
    (_, inside) = spans_at(directory)[number]
    service.kill()
    flip(directory, offset + length - 1)

    arrived = await deliver(service, backend)
    assert before.acknowledged - arrived.keys() == inside
    assert max(arrived.values()) == 1
    scrape = await service.law()
    assert scrape.total("otlp_exporter_dropped_items_total", signal="traces", reason="damaged") == len(inside)
    assert f"record {number} of the queue's traces is damaged and given up" in service.log
    assert not set_aside(directory), "the file itself is whole"


async def test_a_file_that_is_no_queue_is_set_aside_and_others_are_left_alone(
    service: Service, backend: Backend
) -> None:
    directory = queue_of(service)
    assert await service.terminate() == 0
    (directory / "data.mdb").write_text("of somebody else\n" * 1000)
    (directory / "notes.txt").write_text("mine")
    (directory / "owner").unlink()

    await service.start()
    before = await keep(service, 200)
    await backend.start()
    await service.settled(lambda s: s.books(TRACES).queued == 0, "all is delivered")
    assert before.acknowledged <= set(identities(request.body for request in backend.taken))
    (aside,) = set_aside(directory)
    assert aside.read_text() == "of somebody else\n" * 1000
    assert (directory / "notes.txt").read_text() == "mine"


# A file that is not there any more.


async def test_an_unlinked_file_takes_no_more_and_the_service_starts_afresh(service: Service, backend: Backend) -> None:
    directory = queue_of(service)
    before = await keep(service, 500)
    (directory / "data.mdb").unlink()
    after, code = await end(service, first=2 * UNIT)
    assert code == 1
    assert not after.acknowledged
    assert after.answers.get("503", 0) >= 1, after.answers
    assert "data.mdb was taken away while it was in use" in service.log
    assert f"nothing more is acknowledged; {len(before.acknowledged)} items wait in it" in service.log

    await service.start()
    again = await keep(service, 500, first=3 * UNIT)
    await backend.start()
    await service.settled(lambda s: s.books(TRACES).queued == 0, "all is delivered")
    assert again.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_a_file_that_another_takes_the_place_of_takes_no_more_and_the_other_is_the_queue_then(
    service: Service, backend: Backend, tmp_path: Path
) -> None:
    """As when somebody puts a backup back under a service that runs."""
    directory = queue_of(service)
    before = await keep(service, 500)
    backup = tmp_path / "backup"
    backup.write_bytes((directory / "data.mdb").read_bytes())
    await keep(service, 500, first=UNIT)
    backup.rename(directory / "data.mdb")
    after, code = await end(service, first=2 * UNIT)
    assert code == 1
    assert not after.acknowledged
    assert after.answers.get("503", 0) >= 1, after.answers
    assert "data.mdb was replaced by another file while it was in use" in service.log

    arrived = await deliver(service, backend)
    assert before.acknowledged <= arrived.keys() <= before.acknowledged
    assert not set_aside(directory)


async def test_a_start_that_has_to_look_first_says_so_to_probes(service: Service, backend: Backend) -> None:
    """Salvaging may take a while: a kubelet must not take it for a hang."""
    directory = queue_of(service)
    await keep(service, 3000)
    service.kill()
    overwrite(directory, 0, bytes(2 * PAGE))
    os.truncate(directory / "data.mdb", 1 << 30)  # much to look through
    service.spawn()
    seen: set[int] = set()

    async def started() -> bool:
        status, _ = await service.ask("/health/startup")
        live, _ = await service.ask("/health/live")
        assert not status or live == 200
        seen.add(status)
        return status == 200

    await service.until(started, "started")
    assert 503 in seen
    await backend.start()
    await service.settled(lambda s: s.books(TRACES).queued == 0, "all is delivered")
