"""The queue's file never exceeds `max_bytes`, whatever the sizes of its records and whoever reads it."""

import asyncio
import random
import signal as signals
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.clock import SystemClock
from app.core.errors import InvalidData, Retryable
from app.core.request import ExportRequest, Signal
from app.queue import DiskQueue, LmdbStore
from app.queue.letters import EVERYTHING
from app.queue.record import HEADER_BYTES, pack
from app.queue.store import RESERVE_BYTES, Appended
from app.telemetry.metrics import Metrics

MIB = 1 << 20
TRACES = Signal.TRACES
ROUNDS = 8


@asynccontextmanager
async def opened(directory: Path, capacity: int) -> AsyncIterator[DiskQueue]:
    queue = DiskQueue(
        LmdbStore(directory, RESERVE_BYTES + capacity),
        max_bytes=RESERVE_BYTES + capacity,
        memory_bytes=64 * MIB,
        patience=0,
        clock=SystemClock(),
        metrics=Metrics("test"),
    )
    async with queue:
        yield queue


async def append(queue: DiskQueue, signal: Signal, length: int) -> bool:
    """Append a record of `length` bytes; returns whether there was room."""
    try:
        await queue.append(ExportRequest(signal, bytes(max(0, length - HEADER_BYTES)), 1), lambda _: None)
    except Retryable as error:
        return error.reason != "queue_full"
    return True


async def fill(queue: DiskQueue, lengths: list[int], chance: random.Random) -> int:
    """Append records, a hundred at once, until one is refused; returns how many were kept."""
    kept = 0
    answers = [True]
    while all(answers):
        group = [(chance.choice(list(Signal)), chance.choice(lengths)) for _ in range(100)]
        answers = await asyncio.gather(*(append(queue, signal, length) for signal, length in group))
        kept += sum(answers)
    return kept


async def drain(queue: DiskQueue, chance: random.Random, buried: int) -> int:
    """Settle everything, in any order, and bury one of `buried` leases; returns how many entries there were."""
    leases = []
    for signal in Signal:
        while lease := await queue.lease(signal, chance.choice([1, 20_000, MIB])):
            leases.append(lease)
    chance.shuffle(leases)
    for number, lease in enumerate(leases, 1):
        if number % buried:
            queue.settle(lease)
        else:
            queue.bury(lease, InvalidData("no"))
        if not number % 50:
            await queue.committed()
    return sum(len(lease.entries) for lease in leases)


async def rounds(directory: Path, lengths: list[int], chance: random.Random) -> None:
    capacity, sizes = 2 * MIB, []
    async with opened(directory, capacity) as queue:
        for _ in range(ROUNDS):
            kept = await fill(queue, lengths, chance)
            assert kept
            assert await drain(queue, chance, buried=7) == kept
            await queue.committed()
            await queue.dead.purge(EVERYTHING, lambda *_: None)
            assert queue.used_bytes == 0
            sizes.append((directory / "data.mdb").stat().st_size)
    # What a commit frees is there for the next but one, so that all may be there twice; without reuse, eight times.
    assert max(sizes) <= 2.5 * capacity, sizes


@settings(max_examples=8, deadline=None)
@given(
    lengths=st.lists(
        st.sampled_from([2030, 2050, 4070, 4090, 8170]) | st.integers(500, 9000) | st.just(350_000),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**32),
)
def test_filled_and_drained_again_and_again_the_file_does_not_grow(lengths: list[int], seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(rounds(Path(directory), lengths, random.Random(seed)))


@pytest.mark.parametrize("length", [2050, 4090])
async def test_records_that_cost_twice_their_length_fill_half_of_the_bytes_and_not_more(
    tmp_path: Path, length: int
) -> None:
    capacity = 24 * MIB
    async with opened(tmp_path, capacity) as queue:
        kept = await fill(queue, [length], random.Random(1))
        assert kept * length == pytest.approx(capacity * length / (4096 if length == 2050 else 8192), rel=0.1)
        assert (tmp_path / "data.mdb").stat().st_size <= RESERVE_BYTES + capacity


def appended(sequence: int, length: int) -> Appended:
    return Appended(TRACES, sequence, pack(TRACES, bytes(length), 1, sequence))


def test_a_commit_that_replaces_all_that_is_there_stays_in_the_bound(tmp_path: Path) -> None:
    """It needs its pages beside those that it frees, which are more than there are."""
    max_bytes = RESERVE_BYTES + 48 * MIB
    store = LmdbStore(tmp_path, max_bytes)
    store.open()
    number, last = 130, 0
    for _ in range(4):
        group = [appended(last + n, 350_000) for n in range(1, number + 1)]
        commit = store.commit(group, [(TRACES, n) for n in range(max(1, last - number + 1), last + 1)])
        assert not commit.postponed
        assert not commit.refused
        assert (tmp_path / "data.mdb").stat().st_size <= max_bytes
        last += number
    store.close()


# Who reads the file beside the service: mdb_stat, mdb_copy, anything that opens it with LMDB.


@contextmanager
def reader_of(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has begun to read and does not end."""
    code = """
import sys, lmdb
transaction = lmdb.open(sys.argv[1], readonly=True, max_dbs=8).begin()
print("reading", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"reading\n"
            yield reader
        finally:
            reader.kill()


def churn(store: LmdbStore, first: int, number: int) -> bool:
    """Append `number` records, each in the place of the one before it; returns whether there was room for all."""
    commits = [store.commit([appended(n, 100_000)], [(TRACES, n - 1)]) for n in range(first, first + number)]
    return not any(commit.refused or commit.postponed for commit in commits)


def test_a_reader_that_was_killed_keeps_no_page(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, RESERVE_BYTES + 16 * MIB)
    store.open()
    assert churn(store, 1, 20)
    with reader_of(tmp_path):
        assert churn(store, 21, 20)
    size = (tmp_path / "data.mdb").stat().st_size
    assert churn(store, 41, 400), "40 MB more are written than there is room"
    assert (tmp_path / "data.mdb").stat().st_size <= size + 1 * MIB
    store.close()


def test_a_reader_that_is_stopped_keeps_pages_up_to_the_bound_and_the_file_is_usable_when_it_has_gone(
    tmp_path: Path,
) -> None:
    max_bytes = RESERVE_BYTES + 16 * MIB
    store = LmdbStore(tmp_path, max_bytes)
    store.open()
    with reader_of(tmp_path) as reader:
        reader.send_signal(signals.SIGSTOP)
        assert not churn(store, 1, 400), "there is no room any more, and that is told"
        assert (tmp_path / "data.mdb").stat().st_size <= max_bytes
    assert churn(store, 401, 400)
    assert (tmp_path / "data.mdb").stat().st_size <= max_bytes
    store.close()


async def test_who_looks_at_the_dead_letters_of_a_running_service_keeps_no_page(tmp_path: Path) -> None:
    async with opened(tmp_path, 4 * MIB) as queue:
        for _ in range(50):
            assert await append(queue, TRACES, 2050)
        while lease := await queue.lease(TRACES, 1):
            queue.bury(lease, InvalidData("no"))
        await queue.committed()
        ended = asyncio.Event()

        async def look() -> int:
            times = 0
            while not ended.is_set():
                for letter in await queue.dead.find():
                    assert await queue.dead.read(letter.sequence)
                times += 1
            return times

        looking = asyncio.create_task(look())
        for _ in range(400):
            assert await append(queue, TRACES, 100_000)
            lease = await queue.lease(TRACES, 1)
            assert lease is not None
            queue.settle(lease)
        ended.set()
        assert await looking > 3
    assert (tmp_path / "data.mdb").stat().st_size <= 3 * MIB, "of 40 MB that were written"
