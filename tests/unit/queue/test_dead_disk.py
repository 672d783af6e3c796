"""Dead letters on the disk beside what holds for all: starts, ends, and a disk that makes trouble."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from app.core.errors import InvalidData, Retryable
from app.core.request import ExportRequest, Signal
from app.queue import DiskQueue, Lease, LmdbStore
from app.queue.letters import EVERYTHING, DeadLetter, Moved
from app.queue.record import DamagedRecord
from app.queue.store import RESERVE_BYTES
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock, turns, until
from tests.support.storage import FaultyStore

MIB = 1 << 20
TRACES, METRICS, LOGS = Signal
BAD = InvalidData("400")
MakeDisk = Callable[..., DiskQueue]


async def keep(queue: DiskQueue, body: bytes = b"x", items: int = 1, signal: Signal = TRACES) -> int:
    return await queue.append(ExportRequest(signal, body, items), lambda _: None)


async def take(queue: DiskQueue, max_bytes: int = 1 << 30) -> Lease:
    lease = await queue.lease(TRACES, max_bytes)
    assert lease is not None
    return lease


async def bury(queue: DiskQueue, *bodies: bytes) -> list[DeadLetter]:
    for body in bodies:
        await keep(queue, body)
        queue.bury(await take(queue, 1), BAD)
    await queue.committed()
    return await queue.dead.find()


def total(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def test_dead_letters_are_recovered_as_such(
    make_disk: MakeDisk, metrics: Metrics, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with make_disk() as queue:
        before = await bury(queue, b"a", b"b")
        await keep(queue, b"waits", 5)
        used = queue.used_bytes
    caplog.set_level("INFO")
    async with make_disk(on=LmdbStore(tmp_path / "queue", RESERVE_BYTES + 64 * MIB)) as queue:
        assert (queue.items(TRACES), queue.dead.items(TRACES), queue.dead.letters(TRACES)) == (5, 2, 2)
        assert total(metrics, "otlp_queue_recovered_items_total", signal="traces") == 7
        assert queue.used_bytes == used
        assert await queue.dead.find() == before
        assert (await take(queue)).request.body == b"waits"
        assert await queue.dead.replay(EVERYTHING) == Moved(2, 2)
        assert (await take(queue)).request.body == b"ab"
    assert "2 spans are dead letters; see otlp-service queue dead list" in caplog.messages


async def test_a_queue_of_nothing_but_dead_letters_delivers_nothing(make_disk: MakeDisk) -> None:
    async with make_disk() as queue:
        await bury(queue, b"a", b"b")
    async with make_disk() as queue:
        assert queue.oldest_ns() is None
        assert await queue.lease(TRACES, 1 << 30) is None


async def test_what_is_buried_in_the_turn_in_which_the_queue_ends_stays_buried(make_disk: MakeDisk) -> None:
    async with make_disk() as queue:
        await keep(queue)
        queue.bury(await take(queue), BAD)
    async with make_disk() as queue:
        assert (queue.items(TRACES), queue.dead.items(TRACES)) == (0, 1)


async def test_what_finds_no_room_is_buried_when_there_is_some(
    make_disk: MakeDisk, store: FaultyStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_disk() as queue:
        await keep(queue, b"refused")
        store.unburied = True
        queue.bury(await take(queue), BAD)
        await until(lambda: clock.alarms)
        assert (queue.items(TRACES), queue.dead.items(TRACES)) == (0, 1)
        assert await queue.dead.find() == []
        assert "the disk under the queue is full; clients are told to come back" in caplog.messages
        store.unburied = False
        await clock.advance(1)
        await queue.committed()
        assert len(await queue.dead.find()) == 1


async def test_what_finds_no_room_until_the_end_is_delivered_once_more(
    make_disk: MakeDisk, store: FaultyStore, clock: FakeClock, tmp_path: Path
) -> None:
    async with make_disk() as queue:
        await keep(queue, b"refused")
        store.unburied = True
        queue.bury(await take(queue), BAD)
        await until(lambda: clock.alarms)
        ending = asyncio.create_task(queue.__aexit__(None, None, None))
        await turns()
        await clock.advance(1)
        await ending
    async with make_disk(on=LmdbStore(tmp_path / "queue", RESERVE_BYTES + 64 * MIB)) as queue:
        assert (await take(queue)).request.body == b"refused"


async def test_a_letter_that_finds_no_room_to_move_stays_where_it_is(
    make_disk: MakeDisk, store: FaultyStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_disk() as queue:
        letters = await bury(queue, b"a")
        store.postpone = True
        replay = asyncio.create_task(queue.dead._revive(letters[0]))  # type: ignore[attr-defined]
        assert not await replay
        store.postpone = False
        await until(lambda: clock.alarms)
        await clock.advance(1)
        assert await queue.dead.find() == letters
        assert (queue.items(TRACES), queue.dead.items(TRACES)) == (0, 1)
    assert any("cannot be replayed: the queue has no room" in message for message in caplog.messages)


async def test_letters_are_moved_a_few_at_a_time(make_disk: MakeDisk, store: FaultyStore) -> None:
    async with make_disk() as queue:
        await bury(queue, *[bytes(1 << 20)] * 10)
        store.commits.clear()
        assert await queue.dead.replay(EVERYTHING) == Moved(10, 10)
        groups = [len(appends) for appends, _ in store.commits if appends]
        assert sum(groups) == 10
        assert max(groups) <= 4


async def test_a_damaged_letter_is_told_and_stays(
    make_disk: MakeDisk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_disk() as queue:
        first, _ = await bury(queue, b"damaged", b"whole")
    environment = lmdb.open(str(tmp_path / "queue"), max_dbs=8)
    with environment.begin(write=True, db=environment.open_db(b"traces")) as transaction:
        key = first.sequence.to_bytes(8, "big")
        record = transaction.get(key)
        assert record is not None
        transaction.put(key, bytes(record)[:-1] + b"?")
    environment.close()
    async with make_disk() as queue:
        with pytest.raises(DamagedRecord, match="CRC"):
            await queue.dead.read(first.sequence)
        assert await queue.dead.replay(EVERYTHING) == Moved(1, 1, left=1)
        assert [letter.sequence for letter in await queue.dead.find()] == [first.sequence]
        assert await queue.dead.purge(EVERYTHING, lambda *_: None) == Moved(1, 1)
        assert (await take(queue)).request.body == b"whole"
    assert any(f"dead letter {first.sequence} cannot be replayed" in message for message in caplog.messages)


async def test_a_letter_that_is_gone_meanwhile_is_not_moved(make_disk: MakeDisk) -> None:
    async with make_disk() as queue:
        (letter,) = await bury(queue, b"a")
        await queue.dead.purge(EVERYTHING, lambda *_: None)
        assert not await queue.dead._revive(letter)  # type: ignore[attr-defined]


async def test_a_disk_that_failed_is_told_to_who_would_move_letters(make_disk: MakeDisk, store: FaultyStore) -> None:
    async with make_disk() as queue:
        (letter,) = await bury(queue, b"a")
        store.commit_error = lmdb.Error("Input/output error")
        with pytest.raises(Retryable, match="cannot be written"):
            await queue.dead.replay(EVERYTHING)
        with pytest.raises(Retryable, match="cannot be written"):
            await queue.dead.purge(EVERYTHING, lambda *_: None)
        with pytest.raises(Retryable, match="cannot be written"):
            await queue.revive(letter, b"a", lambda _: None)
        assert queue.dead.items(TRACES) == 1
