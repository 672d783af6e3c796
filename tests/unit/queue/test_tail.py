"""What of the disk is read when a commit ends while it is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.record import pack
from app.queue.store import RESERVE_BYTES, Appended
from app.queue.tail import Tail

TRACES = Signal.TRACES
LENGTH = 100
EVERYTHING = 1 << 30


def record(sequence: int) -> Appended:
    return Appended(TRACES, sequence, pack(TRACES, bytes(LENGTH), 1, sequence))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    store = LmdbStore(tmp_path, 2 * RESERVE_BYTES)
    store.open()
    yield store
    store.close()


@pytest.mark.parametrize("size", [1, 3 * LENGTH, EVERYTHING])
async def test_what_a_commit_wrote_that_is_not_counted_yet_is_left_for_the_next_read(
    store: LmdbStore, size: int
) -> None:
    store.commit([record(number) for number in range(1, 7)], [])
    with ThreadPoolExecutor(1) as reader:
        tail = Tail(TRACES, store, reader)
        tail.begins, tail.last = 1, 1  # of the commit that wrote the others nobody has heard
        first = await tail.read(1, size)
        assert [entry.sequence for entry in first.entries] == [1]
        tail.last = 6  # heard of while that was read
        tail.advance(first)
        assert tail.begins == 2
        rest = await tail.read(tail.begins, EVERYTHING)
        assert [entry.sequence for entry in rest.entries] == [2, 3, 4, 5, 6]
        tail.advance(rest)
        assert tail.begins is None
