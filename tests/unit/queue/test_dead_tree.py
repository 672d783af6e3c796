"""Dead letters in the queue's file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.dead_tree import Tally
from app.queue.letters import Notice
from app.queue.record import HEADER_BYTES, pack
from app.queue.store import RESERVE_BYTES, Appended, Burial

MIB = 1 << 20
TRACES, METRICS, LOGS = Signal


def appended(sequence: int, length: int = 100, signal: Signal = TRACES, *, replaces: int | None = None) -> Appended:
    body = bytes([sequence % 256]) * (length - HEADER_BYTES)
    return Appended(signal, sequence, pack(signal, body, 2, sequence * 1000), replaces)


def burial(sequence: int, signal: Signal = TRACES, record: bytes | None = None, message: str = "no") -> Burial:
    return Burial(signal, sequence, Notice(5, "invalid", message), record)


def alive(store: LmdbStore, signal: Signal = TRACES) -> list[int]:
    return [sequence for sequence, _ in store.read(signal, 0, 1 << 40)[0]]


def dead(store: LmdbStore, signal: Signal = TRACES) -> list[int]:
    return [letter.sequence for letter in store.dead_letters(signal, 0, 1 << 20)]


@contextlib.contextmanager
def opened(directory: Path, max_bytes: int = RESERVE_BYTES + 16 * MIB) -> Iterator[LmdbStore]:
    store = LmdbStore(directory, max_bytes)
    store.open()
    try:
        yield store
    finally:
        store.close()


def test_what_is_buried_is_skipped_by_readers_and_found_among_the_dead(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(n) for n in range(1, 7)], [])
        store.commit([], [], [burial(n) for n in (1, 3, 4, 6)])
        assert alive(store) == [2, 5]
        assert dead(store) == [1, 3, 4, 6]
        assert [letter.sequence for letter in store.dead_letters(TRACES, 2, 2)] == [3, 4]
        assert store.read(TRACES, 3, 1) == ([(5, appended(5).record)], True)
        assert store.dead_record(TRACES, 3) == appended(3).record
        assert store.dead_record(TRACES, 2) is None
        assert store.dead_record(LOGS, 3) is None


def test_what_a_file_has_of_dead_letters_is_told_when_it_is_opened(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(1), appended(2), appended(3, signal=LOGS), appended(4)], [])
        used = store.commit([], [], [burial(1), burial(3, LOGS)]).used_bytes
    store = LmdbStore(tmp_path, 32 * MIB)
    found = store.open()
    assert found.items == {TRACES: 4, METRICS: 0, LOGS: 0}
    assert found.dead == {TRACES: Tally(1, 2), LOGS: Tally(1, 2)}
    assert (found.entries, found.next_sequence, found.used_bytes) == (2, 5, used)
    assert found.oldest_ns == {TRACES: 2000}
    store.close()


def test_a_letter_that_is_deleted_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(1), appended(2)], [])
        store.commit([], [], [burial(1), burial(2)])
        assert store.commit([], [(TRACES, 1), (TRACES, 2)]).used_bytes == 0
        assert dead(store) == alive(store) == []


def test_a_letter_goes_when_the_record_comes_that_replaces_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(1), appended(2)], [])
        store.commit([], [], [burial(1)])
        store.commit([appended(3, replaces=1)], [])
        assert alive(store) == [2, 3]
        assert dead(store) == []
        with store._env.begin() as transaction:
            assert store._dead[TRACES].empty(transaction), "its notice takes no room either"


def test_a_letter_stays_when_the_record_does_not_fit_that_would_replace_it(tmp_path: Path) -> None:
    with opened(tmp_path, 4 * MIB) as store:
        store.commit([appended(1)], [])
        store.commit([], [], [burial(1)])
        commit = store.commit([appended(2, 8 * MIB, replaces=1), appended(3)], [])
        assert commit.refused == {2}
        assert alive(store) == [3]
        assert dead(store) == [1]


def test_what_was_refused_of_a_record_takes_its_place(tmp_path: Path) -> None:
    rest = pack(TRACES, b"the rest", 1, 1000)
    with opened(tmp_path) as store:
        before = store.commit([appended(1, 100_000)], []).used_bytes
        after = store.commit([], [], [burial(1, record=rest)]).used_bytes
        assert after < before
        assert store.dead_record(TRACES, 1) == rest
        (letter,) = store.dead_letters(TRACES, 0, 10)
        assert (letter.items, letter.size, letter.received_ns) == (1, 8, 1000)


# Acknowledgements pass even when no record fits any more, and so does what makes a record a dead letter.


def fill(store: LmdbStore, length: int) -> list[int]:
    """Append until nothing fits, without a reserve; the numbers that did."""
    sequence = 0
    while True:
        sequence += 10
        commit = store.commit([appended(n, length) for n in range(sequence - 9, sequence + 1)], [])
        if commit.refused:
            return alive(store)


@pytest.mark.parametrize("length", [4000, 200_000])
def test_burying_passes_when_no_record_fits(tmp_path: Path, length: int) -> None:
    """Where the reserve is all that is free, and whatever the record's size."""
    with opened(tmp_path, 4 * MIB) as store:
        kept = fill(store, length)
    with opened(tmp_path, 4 * MIB) as store:  # the bound is below what is there, so half of the reserve is made
        commit = store.commit([appended(kept[-1] + 100, 9 * MIB)], [], [burial(n) for n in kept])
        assert commit.refused == {kept[-1] + 100}
        assert not commit.postponed
        assert commit.unburied == ()
        assert dead(store) == kept
        assert alive(store) == []


def test_where_there_is_hardly_any_room_a_notice_goes_without_words(tmp_path: Path) -> None:
    with opened(tmp_path, 12 * MIB) as store:
        kept = list(range(1, 6001))
        used = store.commit([appended(n) for n in kept], []).used_bytes
        while used < 10 * MIB:
            kept.append(kept[-1] + 1)
            used = store.commit([appended(kept[-1], 200_000)], []).used_bytes
        commit = store.commit([], [], [burial(n, message="x" * 300) for n in kept[:6000]])
        letters = store.dead_letters(TRACES, 0, 1 << 20)
        assert [letter.sequence for letter in letters] == kept[:6000]
        assert {letter.notice for letter in letters} == {Notice(5, "invalid", "")}
        assert not commit.postponed


def test_what_does_not_even_fit_without_words_is_named(tmp_path: Path) -> None:
    with opened(tmp_path, 4 * MIB) as store:
        kept = fill(store, 2000)
        commit = store.commit([], [], [burial(n) for n in kept])
        assert 0 < len(commit.unburied) <= len(kept)
        assert {unburied.sequence for unburied in commit.unburied}.isdisjoint(dead(store))
        assert len(commit.unburied) + len(dead(store)) == len(kept)


def test_what_could_not_be_buried_is_alive_until_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(n) for n in (1, 2, 3)], [])

        def full(*_: object) -> int:
            raise lmdb.MapFullError("full")

        with monkeypatch.context() as patched:
            patched.setattr(store, "_write", full)
            commit = store.commit([appended(4)], [(TRACES, 1)], [burial(2)])
        assert (commit.refused, commit.postponed, commit.unburied) == ({4}, True, (burial(2),))
        assert alive(store) == [1, 2, 3]
        store.commit([], [(TRACES, 1)], commit.unburied)
        assert (alive(store), dead(store)) == ([3], [2])


def test_a_disk_that_fails_while_it_buries_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[lmdb.Error | None] = [lmdb.MapFullError("full"), None, lmdb.Error("Input/output error")]

    def write(*_: object) -> int:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return 0

    with opened(tmp_path) as store:
        monkeypatch.setattr(LmdbStore, "_is_full", lambda _, error: isinstance(error, lmdb.MapFullError))
        monkeypatch.setattr(store, "_write", write)
        with pytest.raises(lmdb.Error, match="Input/output"):
            store.commit([], [], [burial(1)])


# A notice without a record means nothing, and goes when the file is opened.


def test_a_notice_without_a_record_goes_when_the_file_is_opened(tmp_path: Path) -> None:
    """An older version delivers dead letters like any other and forgets only the record."""
    with opened(tmp_path) as store:
        store.commit([appended(1), appended(2)], [])
        store.commit([], [], [burial(1), burial(2)])
    environment = lmdb.open(str(tmp_path), max_dbs=8)
    with environment.begin(write=True, db=environment.open_db(b"traces")) as transaction:
        transaction.delete((2).to_bytes(8, "big"))
    environment.close()
    with opened(tmp_path) as store:
        assert dead(store) == [1]
        store.commit([appended(2)], [])
        assert alive(store) == [2]
