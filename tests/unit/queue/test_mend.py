import logging
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.request import Signal
from app.queue import LmdbStore, QueueError, salvage
from app.queue.changes import Appended, Burial, Found
from app.queue.check import newest
from app.queue.letters import Notice
from app.queue.mend import mend
from app.queue.pages import BRANCH, LEAF, OVERFLOW, PAGE, Pages
from app.queue.record import DamagedRecord, pack, unpack
from tests.support.damage import cut, flip, overwrite, pages_of, places, scribble, set_aside, zero

TRACES, METRICS, LOGS = Signal
LARGE, SMALL = 5000, 300
MIB = 1 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A queue of 300 traces, every other one large, and 30 logs; 271 to 280 are dead letters, 1 to 50 are delivered."""
    store = LmdbStore(tmp_path, 64 * MIB)
    store.open()
    store.commit([appended(n) for n in range(1, 301)] + [appended(n, LOGS) for n in range(301, 331)], [])
    store.commit([], [(TRACES, n) for n in range(1, 51)])
    store.commit([], [], [Burial(TRACES, n, Notice(n, "invalid", "no")) for n in range(271, 281)])
    store.close()
    return tmp_path


def appended(number: int, signal: Signal = TRACES) -> Appended:
    body = number.to_bytes(4, "big") * ((LARGE if number % 2 else SMALL) // 4)
    return Appended(signal, number, pack(signal, body, number % 10, number))


def number_in(signal: Signal, raw: bytes) -> int:
    """The number that a record bears in its body."""
    return int.from_bytes(unpack(signal, memoryview(raw)).body[:4], "big")


def open_again(directory: Path) -> tuple[LmdbStore, Found]:
    """Open it as after an unclean end."""
    (directory / "owner").unlink(missing_ok=True)
    store = LmdbStore(directory, 64 * MIB)
    return store, store.open()


def kept(store: LmdbStore, signal: Signal = TRACES) -> dict[int, int]:
    """By their number, what numbers the records bear that wait."""
    return {number: number_in(signal, raw) for number, raw in store.read(signal, 0, 1 << 40)[0]}


def dead(store: LmdbStore) -> set[int]:
    return {letter.sequence for letter in store.dead_letters(TRACES, 0, 1 << 30)}


def same(*numbers: range) -> dict[int, int]:
    return {number: number for some in numbers for number in some}


WAITING = same(range(51, 271), range(281, 301))


def test_a_whole_file_is_left_as_it_is(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = (directory / "data.mdb").read_bytes()
    assert not mend(directory)
    assert (directory / "data.mdb").read_bytes() == before
    assert not set_aside(directory)
    assert "it is whole" in caplog.text


def test_no_file_is_no_damage(tmp_path: Path) -> None:
    assert not mend(tmp_path)


def test_a_damaged_file_is_kept_as_it_was_under_a_name_that_is_told(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    zero(directory, 0, 1)
    before = (directory / "data.mdb").read_bytes()
    assert mend(directory)
    (aside,) = set_aside(directory)
    assert aside.read_bytes() == before
    assert f"the damaged file is kept as {aside.name}, delete it when you have looked at it" in caplog.text
    assert "was damaged (page 0 is no head; page 1 is no head)" in caplog.text
    assert not mend(directory), "what was made of it is whole"


def test_two_files_that_are_set_aside_in_one_second_have_two_names(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.strftime", lambda *_: "20260102T030405Z")
    for _ in range(3):
        zero(directory, 0)
        assert mend(directory)
    names = [path.name.removeprefix("data.mdb.damaged-") for path in set_aside(directory)]
    assert names == ["20260102T030405Z", "20260102T030405Z-2", "20260102T030405Z-3"]


# A record that the trees lead to is found, whatever is wrong elsewhere.


def test_a_lost_page_of_small_records_costs_those_records(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = pages_of(directory, TRACES, LEAF)[2]
    inside = {n for n, (offset, _) in places(directory, "traces").items() if offset // PAGE == page}
    zero(directory, page)
    store, found = open_again(directory)
    lost = WAITING.keys() - set(kept(store).values())
    assert lost == inside & WAITING.keys()
    assert 0 < len(lost) < 20
    assert f"{280 - len(inside)} records were salvaged, {len(inside)} were not;" in caplog.text
    assert found.items[LOGS] == sum(n % 10 for n in range(301, 331))
    assert kept(store, LOGS) == same(range(301, 331))
    store.close()


def test_a_lost_page_of_a_large_record_costs_that_record(directory: Path) -> None:
    zero(directory, places(directory, "traces")[101][0] // PAGE)
    store, _ = open_again(directory)
    assert WAITING.keys() - kept(store).keys() == {101}
    store.close()


def test_a_record_whose_body_is_damaged_is_still_counted(directory: Path) -> None:
    """Its items are recovered, and dropped when its turn comes, so that the books add up."""
    offset, length = places(directory, "traces")[101]
    flip(directory, offset + length - 1)
    zero(directory, 0)  # or it would not be salvaged
    store, found = open_again(directory)
    records = dict(store.read(TRACES, 0, 1 << 40)[0])
    assert records.keys() == WAITING.keys()
    with pytest.raises(DamagedRecord, match="CRC"):
        number_in(TRACES, records[101])
    assert found.items[TRACES] == sum(n % 10 for n in WAITING)
    store.close()


# Where a tree is broken, its records are also found by themselves, in pages that nothing leads to any more.


@pytest.mark.parametrize("damage", [zero, scribble])
def test_without_its_branches_a_tree_loses_nothing(directory: Path, damage: object) -> None:
    assert callable(damage)
    damage(directory, *pages_of(directory, TRACES, BRANCH))
    store, _ = open_again(directory)
    assert kept(store) == WAITING
    assert dead(store) == set(range(271, 281))
    store.close()


def test_without_the_names_of_its_trees_a_file_loses_nothing(directory: Path) -> None:
    with Pages(directory / "data.mdb") as pages:
        head = newest(pages.heads())
    assert head is not None
    assert head.names.root is not None
    zero(directory, head.names.root)
    store, _ = open_again(directory)
    assert kept(store) == WAITING
    assert dead(store) == set(range(271, 281))
    assert kept(store, LOGS) == same(range(301, 331))
    store.close()


def test_what_does_not_begin_as_a_record_does_is_no_record(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its items could be any number: it is in no metric, but in the log."""
    offset, _ = places(directory, "traces")[101]
    overwrite(directory, offset, b"\xff")
    zero(directory, *pages_of(directory, LOGS, LEAF)[:1])
    store, _ = open_again(directory)
    assert WAITING.keys() - kept(store).keys() == {101}
    store.close()


@pytest.mark.parametrize("heads", [(0,), (1,), (0, 1)])
def test_without_its_heads_a_file_loses_nothing(
    directory: Path, heads: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    zero(directory, *heads)
    store, _ = open_again(directory)
    assert WAITING.items() <= kept(store).items()
    assert dead(store) == set(range(271, 281))
    assert kept(store, LOGS) == same(range(301, 331))
    assert "some may have been delivered before" in caplog.text
    store.close()


def test_a_file_that_was_cut_gives_what_is_before_the_cut(directory: Path) -> None:
    size = (directory / "data.mdb").stat().st_size
    before = {n for n, (offset, length) in places(directory, "traces").items() if offset + length < size // 2}
    cut(directory, size // 2)
    store, _ = open_again(directory)
    assert before & WAITING.keys() <= set(kept(store).values())
    assert len(before) > 50
    store.close()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("leaves", [True, False])
def test_a_large_record_before_the_cut_is_whole_though_its_last_page_is_not(
    directory: Path, whole: bool, leaves: bool
) -> None:
    large = {place: n for n, place in places(directory, "traces").items() if place[1] > LARGE and n in WAITING}
    (offset, length), number = max(large.items())
    if not leaves:
        zero(directory, *pages_of(directory, TRACES, LEAF))
    cut(directory, offset + length - (not whole))
    zero(directory, 0)
    store, _ = open_again(directory)
    assert (number in kept(store).values()) is whole
    store.close()


# A record keeps its number and stays a dead letter; only one whose number is lost gets a new one.


def test_a_record_whose_number_is_lost_gets_a_new_one_behind_all_others(directory: Path) -> None:
    page = pages_of(directory, TRACES, LEAF)[2]
    overflows = set(pages_of(directory, TRACES, OVERFLOW))
    large = [n for n in WAITING if n % 2]
    zero(directory, *pages_of(directory, TRACES, LEAF))
    store, found = open_again(directory)
    new = {number: bears for number, bears in kept(store).items() if number != bears}
    assert sorted(new.values()) == [n for n in range(51, 301) if n % 2], "dead letters whose number is lost live again"
    assert [new[number] for number in sorted(new)] == sorted(new.values()), "in the order in which they came"
    assert min(new) > 330
    assert found.next_sequence == max(new) + 1
    assert page not in overflows
    assert set(large) <= set(new.values())
    store.close()


def test_a_lost_tree_of_notices_loses_no_record_and_its_notices_only_with_their_page(directory: Path) -> None:
    offset, _ = places(directory, "dead-traces")[275]
    overwrite(directory, offset // PAGE * PAGE, b"\xff")
    store, _ = open_again(directory)
    assert kept(store) == WAITING | same(range(271, 281))
    assert not dead(store)
    store.close()


def test_of_a_record_and_what_was_left_of_it_the_latter_is_salvaged(directory: Path) -> None:
    rest = pack(TRACES, (51).to_bytes(4, "big") + b"rest", 1, 51)
    store, _ = open_again(directory)
    store.commit([], [], [Burial(TRACES, 51, Notice(1, "invalid", "partly"), rest)])
    store.close()
    zero(directory, 0, 1)
    store, _ = open_again(directory)
    assert store.dead_record(TRACES, 51) == rest
    store.close()


# What is found goes into the new file at once: what is remembered grows with the file's pages, not with its records.


@pytest.mark.parametrize("lost", [BRANCH, None], ids=["a tree without its branches", "no heads"])
def test_many_small_records_are_salvaged_in_little_memory(tmp_path: Path, lost: int | None) -> None:
    store = LmdbStore(tmp_path, 64 * MIB)
    store.open()
    record, count = pack(TRACES, b"small", 1, 1), 50_000
    for first in range(1, count, 5000):  # each writes its first leaf anew, to another page
        store.commit([Appended(TRACES, n, record) for n in range(first, first + 5000)], [])
    store.close()
    size = (tmp_path / "data.mdb").stat().st_size
    zero(tmp_path, *((0, 1) if lost is None else pages_of(tmp_path, TRACES, lost)))
    tracemalloc.start()
    try:
        assert mend(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * count
    assert (tmp_path / "data.mdb").stat().st_size < 1.1 * size, "its pages are as full as they were"
    store, found = open_again(tmp_path)
    assert found.items[TRACES] == count
    store.close()


@pytest.mark.needs("root")
def test_what_root_salvages_still_belongs_to_the_user_of_the_service(directory: Path) -> None:
    zero(directory, 0)
    os.chown(directory / "data.mdb", 12345, 23456)
    assert mend(directory)
    owner = (directory / "data.mdb").stat()
    assert (owner.st_uid, owner.st_gid) == (12345, 23456)


# What is no queue of ours.


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_is_no_file_is_told_and_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "data.mdb")
    with pytest.raises(QueueError, match=r"data\.mdb is no file; move it away, or name another directory"):
        LmdbStore(tmp_path, 64 * MIB).open()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.mdb", "owner"]


def test_a_file_that_is_no_queue_is_set_aside_and_others_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no LMDB" * 10_000)
    (tmp_path / "notes.txt").write_text("mine")
    store, found = open_again(tmp_path)
    assert found == Found(dict.fromkeys(Signal, 0), {}, 1, 0)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert "0 records were salvaged, an unknown number were not; the damaged file is kept as" in caplog.text
    assert set_aside(tmp_path)[0].read_bytes() == b"no LMDB" * 10_000
    store.close()


def test_a_damaged_file_of_a_newer_version_is_left_to_that_version(directory: Path) -> None:
    store, _ = open_again(directory)
    with store._env.begin(write=True) as transaction:
        transaction.put(b"format", b"2", db=store._env.open_db(b"about", transaction))
    store.close()
    zero(directory, pages_of(directory, TRACES, LEAF)[2])
    (directory / "owner").unlink()
    with pytest.raises(QueueError, match="holds format 2"):
        LmdbStore(directory, 64 * MIB).open()
    assert not set_aside(directory)


def test_a_format_that_cannot_be_read_is_part_of_the_damage(directory: Path) -> None:
    store, _ = open_again(directory)
    with store._env.begin(write=True) as transaction:
        transaction.put(b"format", b"\xff", db=store._env.open_db(b"about", transaction))
    store.close()
    zero(directory, pages_of(directory, LOGS, LEAF)[0])
    store, _ = open_again(directory)
    assert kept(store) == WAITING
    store.close()


# Trouble on the way.


def test_a_salvage_that_was_interrupted_begins_again(directory: Path) -> None:
    zero(directory, 0)
    (directory / "data.mdb.new").write_bytes(b"half of it")
    store, _ = open_again(directory)
    assert WAITING.items() <= kept(store).items()
    assert not (directory / "data.mdb.new").exists()
    store.close()


def test_much_is_salvaged_in_pieces(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage, "_BATCH_BYTES", 10_000)
    zero(directory, *pages_of(directory, TRACES, BRANCH))
    store, _ = open_again(directory)
    assert kept(store) == WAITING
    store.close()
