"""The books of one signal: each number after each step."""

import pytest

from app.core.request import ExportRequest, Signal
from app.queue.contract import Entry, Lease
from app.queue.shelf import Shelf

BODIES = (b"first;", b"second;", b"third;")


@pytest.fixture
def shelf() -> Shelf:
    """Three entries of 1, 2 and 3 items wait, each a second younger."""
    shelf = Shelf(Signal.TRACES)
    shelf.add(Entry(turn, turn, len(body), turn * 1_000_000_000, body) for turn, body in enumerate(BODIES, 1))
    shelf.count(6)
    return shelf


def books(shelf: Shelf) -> tuple[int, int, int]:
    """Items in all, items that wait, and bytes in memory."""
    return shelf.items, shelf.waiting_items, shelf.held_bytes


def waiting(shelf: Shelf) -> list[tuple[int, bytes]]:
    return [(entry.sequence, entry.body) for entry in shelf.ready]


ALL = (6, 6, 19)


def test_what_is_leased_is_still_there_and_does_not_wait(shelf: Shelf) -> None:
    assert books(shelf) == ALL
    lease = shelf.take(13)
    assert lease.request == ExportRequest(Signal.TRACES, b"first;second;", 3)
    assert books(shelf) == (6, 3, 19)
    assert shelf.oldest_ns() == 1_000_000_000


def test_what_is_settled_gives_back_its_items_and_its_memory(shelf: Shelf) -> None:
    shelf.forget(shelf.take(13))
    assert books(shelf) == (3, 3, 6)
    assert shelf.oldest_ns() == 3_000_000_000
    shelf.forget(shelf.take(1))
    assert books(shelf) == (0, 0, 0)
    assert shelf.oldest_ns() is None


def test_what_is_released_is_as_if_it_had_never_been_leased(shelf: Shelf) -> None:
    first, second = shelf.take(1), shelf.take(1)
    shelf.put_back(second)
    assert (books(shelf), waiting(shelf)) == ((6, 5, 19), [(2, b"second;"), (3, b"third;")])
    shelf.put_back(first)
    assert (books(shelf), waiting(shelf)) == (ALL, [*enumerate(BODIES, 1)])


def test_the_parts_of_a_lease_are_ended_each_in_its_own_way(shelf: Shelf) -> None:
    lease = shelf.take(100)
    one, two, three = lease.entries
    parts = shelf.divide(lease, [[one, three], [two]])
    assert [part.request for part in parts] == [
        ExportRequest(Signal.TRACES, b"first;third;", 4),
        ExportRequest(Signal.TRACES, b"second;", 2),
    ]
    assert books(shelf) == (6, 0, 19)
    shelf.forget(parts[0])
    shelf.put_back(parts[1])
    assert (books(shelf), waiting(shelf)) == ((2, 2, 7), [(2, b"second;")])


def test_what_expires_leaves_the_books_and_what_is_as_old_as_asked_stays(shelf: Shelf) -> None:
    assert [entry.sequence for entry in shelf.pop_older(2_000_000_000)] == [1]
    assert (books(shelf), waiting(shelf)) == ((5, 5, 13), [(2, b"second;"), (3, b"third;")])


def test_a_lease_ends_once(shelf: Shelf) -> None:
    lease: Lease = shelf.take(1)
    shelf.forget(lease)
    with pytest.raises(KeyError):
        shelf.put_back(lease)


def test_a_merge_names_the_callers_of_its_entries_and_so_do_its_parts(shelf: Shelf) -> None:
    shelf.add(Entry(number, 1, 1, 0, b"x", (f"caller {number}",)) for number in (4, 5))
    lease = shelf.take(100)
    assert lease.request.callers == ("caller 4", "caller 5")
    first, second = shelf.divide(lease, [lease.entries[:4], lease.entries[4:]])
    assert (first.request.callers, second.request.callers) == (("caller 4",), ("caller 5",))
    shelf.put_back(second)
    assert shelf.take(100).request.callers == ("caller 5",)


def test_where_very_many_wait_their_callers_are_not_remembered() -> None:
    shelf = Shelf(Signal.LOGS)
    shelf.add(Entry(number, 1, 1, 0, b"x", ("caller",)) for number in range(10_002))
    assert len(shelf.take(1 << 20).request.callers) == 10_000
