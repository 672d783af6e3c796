"""What holds for the queue on disk beside the contract; the story of its commits, its memory and its recovery."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from app.core.errors import InvalidData, Retryable
from app.core.request import ExportRequest, Signal
from app.queue import DiskQueue, Lease, LmdbStore, QueueError
from app.queue.letters import EVERYTHING as ALL_LETTERS
from app.queue.record import unpack
from app.queue.store import RESERVE_BYTES
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock, turns, until
from tests.support.patience import PATIENCE
from tests.support.storage import FaultyStore

EVERYTHING = 1 << 30
MIB = 1 << 20
TRACES, METRICS, LOGS = Signal

MakeDisk = Callable[..., DiskQueue]


async def keep(queue: DiskQueue, body: bytes = b"x", items: int = 1, signal: Signal = TRACES) -> int:
    return await queue.append(ExportRequest(signal, body, items), lambda _: None)


async def take(queue: DiskQueue, max_bytes: int = EVERYTHING, signal: Signal = TRACES) -> Lease:
    async with asyncio.timeout(PATIENCE):
        lease = await queue.lease(signal, max_bytes)
    assert lease is not None
    return lease


async def take_everything(queue: DiskQueue, signal: Signal = TRACES) -> bytes:
    taken = b""
    while (lease := await queue.lease(signal, EVERYTHING)) is not None:
        taken += lease.request.body
        queue.settle(lease)
    return taken


def total(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def numbers(*bodies: int) -> list[bytes]:
    return [b"%03d;" % number for number in bodies]


def damage(directory: Path, signal: Signal, sequence: int) -> None:
    """Change the last byte of a record, as a bad disk would."""
    environment = lmdb.open(str(directory), max_dbs=4)
    with environment.begin(write=True, db=environment.open_db(signal.value.encode())) as transaction:
        key = sequence.to_bytes(8, "big")
        record = transaction.get(key)
        transaction.put(key, record[:-1] + bytes([record[-1] ^ 1]))
    environment.close()


# Group commit: one commit at a time takes everything that waits.


async def test_what_gathers_while_a_commit_is_under_way_is_one_commit(disk: DiskQueue, store: FaultyStore) -> None:
    await keep(disk, b"settled")
    lease = await take(disk)
    store.before_commit.shut()
    first = asyncio.create_task(keep(disk))
    await store.before_commit.reached()
    others = [asyncio.create_task(keep(disk, signal=signal)) for signal in list(Signal) * 4]
    await turns()
    disk.settle(lease)
    store.before_commit.open()
    await asyncio.gather(first, *others)
    groups = [(len(appends), len(deletes)) for appends, deletes in store.commits]
    assert groups == [(1, 0), (1, 0), (12, 1)]


async def test_no_append_returns_before_its_commit_has(disk: DiskQueue, store: FaultyStore, clock: FakeClock) -> None:
    counted: list[int] = []
    store.after_commit.shut()
    append = asyncio.create_task(disk.append(ExportRequest(TRACES, b"x", 5), counted.append))
    await store.after_commit.reached()
    await turns()
    assert not append.done()
    assert (counted, disk.items(TRACES)) == ([], 0)
    await clock.advance(7)
    assert disk.commit_seconds() == 7
    store.after_commit.open()
    await append
    assert (counted, disk.items(TRACES)) == ([5], 5)
    assert disk.commit_seconds() == 0


@pytest.mark.parametrize("years", [1, -10])
async def test_a_commit_is_as_old_as_it_is_however_the_wall_clock_jumps(
    disk: DiskQueue, store: FaultyStore, clock: FakeClock, metrics: Metrics, years: int
) -> None:
    store.after_commit.shut()
    append = asyncio.create_task(keep(disk))
    await store.after_commit.reached()
    clock.set_wrong(years * 365 * 86_400.0)
    await clock.advance(7)
    assert disk.commit_seconds() == 7
    store.after_commit.open()
    await append
    assert total(metrics, "otlp_queue_commit_duration_seconds_sum") == 7


async def test_a_client_that_leaves_during_a_commit_is_kept_and_counted(disk: DiskQueue, store: FaultyStore) -> None:
    counted: list[int] = []
    store.before_commit.shut()
    append = asyncio.create_task(disk.append(ExportRequest(TRACES, b"x", 5), counted.append, expect=True))
    await store.before_commit.reached()
    append.cancel()
    await asyncio.wait({append})
    store.before_commit.open()
    await disk.wait(TRACES, 5)
    assert append.cancelled()
    assert counted == [5]
    assert await take_everything(disk) == b"x"
    assert disk._outcomes._promises == {}


async def test_room_is_exact_after_clients_left_and_came(make_disk: MakeDisk, store: FaultyStore) -> None:
    chance = random.Random(11)
    async with make_disk(capacity=400_000, patience=0.005) as queue:
        clients = [asyncio.create_task(keep(queue, bytes(chance.randint(1, 30_000)))) for _ in range(150)]
        while not all(client.done() for client in clients):
            chance.choice(clients).cancel()
            lease = await queue.lease(TRACES, 50_000) if queue.waiting(TRACES) else None
            if lease is not None:
                chance.choice([queue.settle, queue.release])(lease)
            await asyncio.sleep(0.0005)
        results = await asyncio.gather(*clients, return_exceptions=True)
        assert {type(result) for result in results} <= {int, Retryable, asyncio.CancelledError}
        await take_everything(queue)
        await until(lambda: queue.used_bytes == 0)  # the room is there when the file has it
        await keep(queue)
        await take_everything(queue)
        await until(lambda: queue.used_bytes == 0)
        assert (queue.used_bytes, queue._room._reserved, queue.items(TRACES)) == (0, 0, 0)


# What is kept survives.


async def test_what_is_settled_is_not_delivered_again_after_a_clean_end(make_disk: MakeDisk, tmp_path: Path) -> None:
    async with make_disk() as queue:
        for body in numbers(1, 2, 3):
            await keep(queue, body)
        queue.settle(await take(queue, 1))  # in the very turn in which the queue is closed
    on = LmdbStore(tmp_path / "queue", RESERVE_BYTES + 64 * MIB)
    async with make_disk(on=on) as queue:
        assert queue.items(TRACES) == 2
        assert await take_everything(queue) == b"002;003;"


@pytest.mark.parametrize("memory_bytes", [3 * MIB, 120], ids=["at hand", "almost nothing in memory"])
async def test_what_is_leased_or_released_is_on_the_disk_until_it_is_settled(
    make_disk: MakeDisk, store: FaultyStore, memory_bytes: int
) -> None:
    def on_disk() -> list[bytes]:
        return [unpack(TRACES, memoryview(record)).body for _, record in store.inner.read(TRACES, 0, EVERYTHING)[0]]

    async with make_disk(memory_bytes=memory_bytes) as queue:
        for body in numbers(1, 2, 3):
            await keep(queue, body)
        settled, released, leased = [await take(queue, 1) for _ in range(3)]
        await queue.committed()
        assert on_disk() == numbers(1, 2, 3)
        queue.release(released)
        await queue.committed()
        assert on_disk() == numbers(1, 2, 3)
        queue.settle(settled)
        await queue.committed()
        assert on_disk() == numbers(2, 3)
        for half in queue.divide(leased, [leased.entries]):
            queue.release(half)
        await queue.committed()
        assert on_disk() == numbers(2, 3)


async def test_what_is_leased_at_the_end_is_delivered_after_the_next_start(make_disk: MakeDisk) -> None:
    async with make_disk() as queue:
        await keep(queue, b"once more")
        await take(queue)
    async with make_disk() as queue:
        assert await take_everything(queue) == b"once more"


async def test_what_was_kept_is_recovered_without_a_clean_end(
    make_disk: MakeDisk, tmp_path: Path, metrics: Metrics, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    received = clock.now_ns()
    async with make_disk() as queue:
        await keep(queue, b"a", 5)
        await clock.advance(3)
        await keep(queue, b"b", 7)
        await keep(queue, b"c", 2, LOGS)
        shutil.copytree(tmp_path / "queue", tmp_path / "copy")  # what a kill would leave
        await take_everything(queue)
        await take_everything(queue, LOGS)
    caplog.set_level("INFO")
    async with make_disk(on=LmdbStore(tmp_path / "copy", 64 * MIB)) as queue:
        assert [queue.items(signal) for signal in Signal] == [12, 0, 2]
        assert queue.used_bytes > 0
        assert queue.oldest_ns() == received
        assert total(metrics, "otlp_queue_recovered_items_total", signal="traces") == 12
        assert total(metrics, "otlp_queue_recovered_items_total", signal="metrics") == 0
        assert total(metrics, "otlp_queue_recovered_items_total", signal="logs") == 2
        assert "recovered 12 spans from the queue" in caplog.messages
        await keep(queue, b"new")
        assert await take_everything(queue) == b"abnew"
        assert queue.oldest_ns() == received + 3_000_000_000
        assert await take_everything(queue, LOGS) == b"c"
        assert queue.oldest_ns() is None


async def test_what_is_new_is_in_memory_again_after_what_was_recovered(make_disk: MakeDisk, store: FaultyStore) -> None:
    """Also for a signal whose own last record is long before those of the others."""
    async with make_disk() as queue:
        await keep(queue, b"trace")
        for _ in range(200):
            await keep(queue, b"log", 1, LOGS)
    async with make_disk() as queue:
        assert await take_everything(queue) == b"trace"
        reads = len(store.reads)
        await keep(queue, b"new")
        assert await take_everything(queue) == b"new"
        await queue.expire(0, lambda *_: None)
        assert len(store.reads) == reads <= 2


async def test_a_damaged_record_is_given_up_and_counted_and_the_rest_is_delivered(
    make_disk: MakeDisk, tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_disk() as queue:
        for body in numbers(1, 2, 3):
            await keep(queue, body, 10)
    damage(tmp_path / "queue", TRACES, 2)
    async with make_disk() as queue:
        assert queue.items(TRACES) == 30
        assert await take_everything(queue) == b"001;003;"
        assert queue.items(TRACES) == 0
        assert total(metrics, "otlp_exporter_dropped_items_total", signal="traces", reason="damaged") == 10
        assert (
            "record 2 of the queue's traces is damaged and given up: the CRC of 4 bytes does not match" in caplog.text
        )
    async with make_disk() as queue:
        assert queue.items(TRACES) == 0


async def test_a_queue_of_nothing_but_damage_leases_nothing(
    make_disk: MakeDisk, tmp_path: Path, metrics: Metrics
) -> None:
    async with make_disk() as queue:
        await keep(queue, b"only", 10)
    damage(tmp_path / "queue", TRACES, 1)
    async with make_disk() as queue:
        assert await queue.lease(TRACES, EVERYTHING) is None
        assert queue.items(TRACES) == queue.waiting(TRACES) == 0


async def test_who_expects_delivery_is_told_that_the_disk_damaged_it(
    make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_disk(memory_bytes=0) as queue:
        number = await queue.append(ExportRequest(TRACES, b"x", 1), lambda _: None, expect=True)
        waiting = asyncio.create_task(queue.delivered(TRACES, number))
        monkeypatch.setattr("app.queue.record.crc32", lambda *_: 0)
        assert await queue.lease(TRACES, EVERYTHING) is None
        with pytest.raises(Retryable) as given_up:
            await waiting
        assert given_up.value.reason == "damaged"


async def test_damage_among_what_expires_is_counted_once(
    make_disk: MakeDisk, tmp_path: Path, metrics: Metrics, clock: FakeClock
) -> None:
    async with make_disk() as queue:
        for body in numbers(1, 2, 3):
            await keep(queue, body)
        await clock.advance(60)
        for body in numbers(4, 5, 6):
            await keep(queue, body)
    damage(tmp_path / "queue", TRACES, 2)
    damage(tmp_path / "queue", TRACES, 5)
    expired: list[int] = []
    async with make_disk() as queue:
        for _ in range(2):
            await queue.expire(clock.now_ns(), lambda _, items: expired.append(items))
        assert await take_everything(queue) == b"004;006;"
        assert sum(expired) == 2
        assert total(metrics, "otlp_exporter_dropped_items_total", signal="traces", reason="damaged") == 2
        assert queue.items(TRACES) == 0


async def test_a_queue_that_cannot_be_opened_leaves_nothing_open(make_disk: MakeDisk, store: FaultyStore) -> None:
    store.open_error = QueueError("held by another process")
    with pytest.raises(QueueError, match="held"):
        await make_disk().__aenter__()
    assert store.closed


async def test_two_queues_on_one_directory_are_one_too_many(make_disk: MakeDisk, tmp_path: Path) -> None:
    async with make_disk():
        with pytest.raises(QueueError, match="is held by another process"):
            await make_disk(on=LmdbStore(tmp_path / "queue", 32 * MIB)).__aenter__()


# Memory: the next ones to go are in it, the rest is on the disk alone.


async def test_what_fits_into_memory_is_not_read_back(disk: DiskQueue, store: FaultyStore) -> None:
    for body in numbers(*range(20)):
        await keep(disk, body)
    assert await take_everything(disk) == b"".join(numbers(*range(20)))
    assert store.reads == []


async def test_what_does_not_fit_is_read_back_when_its_turn_comes(make_disk: MakeDisk, store: FaultyStore) -> None:
    async with make_disk(memory_bytes=3 * 1000) as queue:
        for number in range(20):
            await keep(queue, b"%0200d" % number)
        assert queue._shelves[TRACES].held_bytes <= 1000
        assert store.reads == []
        for number in range(20):
            lease = await take(queue, 1)
            assert lease.request.body == b"%0200d" % number
            assert queue._shelves[TRACES].held_bytes <= 1000
            queue.settle(lease)
        assert await queue.lease(TRACES, 1) is None
        reads = len(store.reads)
        await keep(queue, b"at hand again")
        assert await take_everything(queue) == b"at hand again"
        assert len(store.reads) == reads < 20


async def test_a_signal_whose_destination_is_away_leaves_the_others_their_memory(
    make_disk: MakeDisk, store: FaultyStore
) -> None:
    async with make_disk(memory_bytes=3 * 1000) as queue:
        for _ in range(20):
            await keep(queue, bytes(200), 1, TRACES)
        for body in numbers(1, 2, 3):
            await keep(queue, body, 1, LOGS)
        assert await take_everything(queue, LOGS) == b"001;002;003;"
        assert store.reads == []


async def test_leasing_waits_while_memory_is_full_of_what_is_leased(make_disk: MakeDisk) -> None:
    async with make_disk(memory_bytes=3 * 1000) as queue:
        for number in range(10):
            await keep(queue, b"%0500d" % number)
        first = await take(queue, 500)
        second = await take(queue, 500)
        third = asyncio.create_task(queue.lease(TRACES, 500))
        await turns()
        assert not third.done()
        assert queue._shelves[TRACES].held_bytes == 1000
        queue.settle(first)
        lease = await third
        assert lease is not None
        assert lease.request.body == b"%0500d" % 2
        queue.release(second)
        assert (await take(queue, 500)).request.body == b"%0500d" % 1


async def test_a_release_while_the_next_are_read_keeps_the_order(make_disk: MakeDisk, store: FaultyStore) -> None:
    async with make_disk(memory_bytes=3 * 20) as queue:
        for body in numbers(*range(12)):
            await keep(queue, body)
        early = await take(queue, 8)
        settled = await take(queue, 4)
        settled_too = await take(queue, 8)
        queue.settle(settled)
        queue.settle(settled_too)
        store.before_read.shut()
        late = asyncio.create_task(queue.lease(TRACES, 4))
        await store.before_read.reached()
        appended = asyncio.create_task(keep(queue, b"new;"))
        await appended
        queue.release(early)
        store.before_read.open()
        lease = await late
        assert lease is not None
        assert lease.request.body == b"000;"
        queue.release(lease)
        assert await take_everything(queue) == b"".join(numbers(0, 1, *range(5, 12))) + b"new;"


async def test_what_is_committed_while_the_rest_is_read_comes_after_it(make_disk: MakeDisk, store: FaultyStore) -> None:
    async with make_disk(memory_bytes=0) as queue:
        await keep(queue, b"first;")
        store.after_read.shut()
        lease = asyncio.create_task(queue.lease(TRACES, EVERYTHING))
        await store.after_read.reached()
        await keep(queue, b"second;")
        store.after_read.open()
        taken = await lease
        assert taken is not None
        queue.settle(taken)
        assert taken.request.body + await take_everything(queue) == b"first;second;"


async def test_a_read_that_overtakes_the_news_of_a_commit_does_not_deliver_it_twice(
    make_disk: MakeDisk, store: FaultyStore
) -> None:
    counted: list[int] = []
    async with make_disk(memory_bytes=3 * 1000) as queue:
        await keep(queue, bytes(900))
        await keep(queue, b"first" * 40)  # on the disk alone
        queue.settle(await take(queue))
        await until(lambda: len(store.commits) == 3)
        store.after_commit.shut()
        second = asyncio.create_task(queue.append(ExportRequest(TRACES, b"second", 7), counted.append))
        await store.after_commit.reached()
        lease = await take(queue)
        assert lease.request.body == b"first" * 40
        assert counted == []
        assert queue.items(TRACES) == 1
        store.after_commit.open()
        await second
        queue.settle(lease)
        assert queue.items(TRACES) == 7
        assert await take_everything(queue) == b"second"
        assert queue.items(TRACES) == 0


async def test_expiry_reaches_what_is_on_the_disk_while_the_destination_is_away(
    make_disk: MakeDisk, store: FaultyStore, clock: FakeClock
) -> None:
    """Memory is full of what is leased, and the dispatcher waits for it to lease more."""
    async with make_disk(memory_bytes=3 * 8) as queue:
        for body in numbers(*range(10)):
            await keep(queue, body)
            await keep(queue, body, 1, LOGS)
        leased = await take(queue, 8)
        waiting = asyncio.create_task(queue.lease(TRACES, 8))
        await turns()
        await clock.advance(60)
        gone = dict.fromkeys(Signal, 0)

        def expired(signal: Signal, items: int) -> None:
            gone[signal] += items

        async with asyncio.timeout(PATIENCE):
            await queue.expire(clock.now_ns(), expired)
            assert gone == {TRACES: 8, METRICS: 0, LOGS: 10}
            assert await waiting is None
        assert queue.items(TRACES) == 2
        assert queue.oldest_ns() == leased.entries[0].received_ns
        queue.settle(leased)
        assert queue.oldest_ns() is None


async def test_expiry_does_not_read_what_is_young(make_disk: MakeDisk, store: FaultyStore, clock: FakeClock) -> None:
    async with make_disk(memory_bytes=0) as queue:
        await keep(queue)
        await queue.expire(clock.now_ns() - 1, lambda *_: None)
        assert store.reads == []


async def test_a_read_that_fails_is_told_to_who_leases(make_disk: MakeDisk, store: FaultyStore) -> None:
    async with make_disk(memory_bytes=0) as queue:
        await keep(queue, b"kept")
        store.read_error = lmdb.Error("Input/output error")
        with pytest.raises(lmdb.Error, match="Input/output"):
            await queue.lease(TRACES, 1)
        store.read_error = None
        assert await take_everything(queue) == b"kept"


# Trouble with the disk.


async def test_a_commit_that_fails_is_told_to_clients_and_ends_the_queue(
    make_disk: MakeDisk, store: FaultyStore
) -> None:
    async with make_disk() as queue:
        store.before_commit.shut()
        first = asyncio.create_task(keep(queue))
        await store.before_commit.reached()
        second = asyncio.create_task(keep(queue))
        gone = asyncio.create_task(keep(queue))
        await turns()
        gone.cancel()
        await turns()
        store.commit_error = lmdb.Error("mdb_txn_commit: Input/output error")
        store.before_commit.open()
        (committing,) = queue.tasks
        said = "disk failed: mdb_txn_commit: Input/output error; nothing more is acknowledged; 0 items wait in it"
        with pytest.raises(QueueError, match=said):
            await committing
        await turns()
        assert first.done(), "whose request was in it"
        assert second.done(), "whose request waited behind"
        for client in (first, second):
            with pytest.raises(Retryable, match="cannot be written") as refusal:
                await client
            assert refusal.value.reason == "storage_failed"
        store.commit_error = None
        late = asyncio.create_task(keep(queue))
        await turns()
        assert late.done(), "at once"
        with pytest.raises(Retryable, match="cannot be written"):
            await late
        assert queue.items(TRACES) == 0
    assert store.closed


async def test_a_disk_that_does_not_answer_has_clients_come_back_and_fills_no_memory(
    disk: DiskQueue, store: FaultyStore
) -> None:
    counted: list[int] = []
    store.before_commit.shut()
    under_way = asyncio.create_task(disk.append(ExportRequest(TRACES, b"under way", 5), counted.append))
    await store.before_commit.reached()
    behind = asyncio.create_task(keep(disk, b"behind"))
    await turns()
    disk.stall()
    for client in (under_way, behind, asyncio.create_task(keep(disk, b"later"))):
        with pytest.raises(Retryable, match="does not answer") as refusal:
            await client
        assert refusal.value.reason == "storage_slow"
    assert not disk._pending
    assert counted == []
    store.before_commit.open()
    await until(lambda: counted == [5])  # what is in the commit is kept and counted
    await keep(disk, b", next")
    assert await take_everything(disk) == b"under way, next"
    await until(lambda: disk.used_bytes == 0)
    assert disk._room._reserved == 0


async def test_a_replay_while_the_disk_does_not_answer_leaves_the_letter_where_it_is(
    disk: DiskQueue, store: FaultyStore
) -> None:
    await keep(disk, b"refused")
    disk.bury(await take(disk), InvalidData("no"))
    await disk.committed()
    (letter,) = await disk.dead.find()
    store.before_commit.shut()
    under_way = asyncio.create_task(keep(disk))
    await store.before_commit.reached()
    disk.stall()
    with pytest.raises(Retryable, match="does not answer"):
        disk.revive(letter, b"refused", lambda _: None)
    store.before_commit.open()
    with pytest.raises(Retryable, match="does not answer"):
        await under_way
    assert disk.dead.items(TRACES) == 1
    assert (await disk.dead.replay(ALL_LETTERS)).letters == 1


async def test_a_full_disk_refuses_and_resumes_when_there_is_room(
    make_disk: MakeDisk, store: FaultyStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_disk() as queue:
        await keep(queue, b"kept")
        await keep(queue, b"settled", 1, LOGS)
        store.postpone = True
        queue.settle(await take(queue, signal=LOGS))
        (answer,) = await asyncio.gather(keep(queue), return_exceptions=True)
        full, reserved = queue.full, queue._room._reserved
        store.postpone = False
        await clock.advance(1)  # before anything is asserted: a queue ends only when its disk has room
        assert isinstance(answer, Retryable)
        assert answer.reason == "queue_full"
        assert (full, reserved) == (True, 0)
        assert "the disk under the queue is full; clients are told to come back" in caplog.messages
        await keep(queue, b"more")
        deletes = [delete for _, deletes in store.commits for delete in deletes]
        assert deletes == [(LOGS, 2)]
        assert await take_everything(queue) == b"keptmore"


async def test_a_queue_ends_though_its_disk_is_full(make_disk: MakeDisk, store: FaultyStore, clock: FakeClock) -> None:
    async with make_disk() as queue:
        await keep(queue, b"kept")
        await keep(queue, b"settled in vain")
        store.postpone = True
        queue.settle(await take(queue))
        await turns()
        ending = asyncio.create_task(queue.__aexit__(None, None, None))
        async with asyncio.timeout(PATIENCE):
            while not ending.done():
                await clock.advance(1)
                await asyncio.sleep(0.001)
        await ending
    store.postpone = False
    async with make_disk() as queue:  # better twice than never
        assert await take_everything(queue) == b"keptsettled in vain"


async def test_who_waits_for_room_when_the_queue_ends_gets_a_true_answer(make_disk: MakeDisk) -> None:
    async with make_disk(capacity=50_000, patience=1) as queue:
        await keep(queue, bytes(40_000))
        waiting = [asyncio.create_task(keep(queue, b"%05d" % number * 4000)) for number in range(4)]
        await turns()
        queue.settle(await take(queue))
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    kept = [number for number, answer in enumerate(answers) if isinstance(answer, int)]
    assert all(isinstance(answer, int | Retryable) for answer in answers)
    async with make_disk() as queue:
        assert await take_everything(queue) == b"".join(b"%05d" % number * 4000 for number in kept)


async def test_the_file_is_not_closed_under_who_reads_it(make_disk: MakeDisk, store: FaultyStore) -> None:
    async with make_disk(memory_bytes=0) as queue:
        await keep(queue)
        store.before_read.shut()
        lease = asyncio.create_task(queue.lease(TRACES, 1))
        await store.before_read.reached()
        lease.cancel()
        asyncio.get_running_loop().call_soon(store.before_read.open)
    assert lease.cancelled()
    assert store.closed


async def test_a_record_that_does_not_fit_is_refused_though_room_was_counted(
    make_disk: MakeDisk, tmp_path: Path
) -> None:
    on = LmdbStore(tmp_path / "small", 2 * MIB)  # smaller than what the queue counts with
    async with make_disk(on=on) as queue:
        await keep(queue, b"small")
        with pytest.raises(Retryable, match="no room for a request of this size") as refusal:
            await queue.append(ExportRequest(TRACES, bytes(12 * MIB), 1), lambda _: None, expect=True)
        assert refusal.value.reason == "queue_full"
        assert queue._outcomes._promises == {}
        assert queue.items(TRACES) == 1
        assert queue._room._reserved == 0
        assert await take_everything(queue) == b"small"


async def test_a_bound_lowered_below_what_is_there_refuses_until_that_is_delivered(
    make_disk: MakeDisk, tmp_path: Path
) -> None:
    async with make_disk(capacity=48 * MIB) as queue:
        for _ in range(8):
            await keep(queue, bytes(4 * MIB))
    lower = LmdbStore(tmp_path / "queue", RESERVE_BYTES + 5 * MIB)
    async with make_disk(capacity=5 * MIB, on=lower) as queue:
        assert queue.used_bytes > queue.capacity_bytes
        with pytest.raises(Retryable, match="full"):
            await keep(queue)
        while (lease := await queue.lease(TRACES, 1)) is not None:
            queue.settle(lease)
        await until(lambda: queue.used_bytes == 0)
        await keep(queue, b"new")


async def test_commits_are_measured(disk: DiskQueue, metrics: Metrics) -> None:
    await keep(disk)
    assert total(metrics, "otlp_queue_commit_duration_seconds_count") == 1
