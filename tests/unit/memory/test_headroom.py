"""Promises of the memory that is left below the limit."""

import asyncio
import gc
import logging
import threading
import weakref
from pathlib import Path

import pytest

from app.core.errors import Retryable
from app.memory import Headroom, Promise, Rank, at_hand
from tests.support.cgroup_files import CgroupFiles
from tests.support.clock import FakeClock, turns, until

MIB = 1 << 20


@pytest.fixture
def files(tmp_path: Path) -> CgroupFiles:
    """256 MiB, of which 224 are below the ceiling."""
    return CgroupFiles(tmp_path, 256 * MIB)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def headroom(files: CgroupFiles, clock: FakeClock) -> Headroom:
    return Headroom(files.find(), clock.monotonic, trim=lambda: None)


async def test_nothing_is_promised_that_would_bring_usage_and_promises_above_the_ceiling(
    headroom: Headroom, files: CgroupFiles
) -> None:
    files.use(124 * MIB)
    one, other = Promise(headroom), Promise(headroom)
    assert one.resize(60 * MIB)
    assert not other.resize(41 * MIB)
    assert other.resize(40 * MIB)
    assert not one.resize(60 * MIB + 1)
    assert headroom.promised == 100 * MIB


def test_a_tenth_of_a_large_limit_is_left_alone(tmp_path: Path) -> None:
    headroom = Headroom(CgroupFiles(tmp_path, 1000 * MIB).find(), trim=lambda: None)
    assert Promise(headroom).resize(900 * MIB)


async def test_large_ones_leave_some_memory_to_small_ones(headroom: Headroom) -> None:
    large, growing = Promise(headroom), Promise(headroom)
    assert large.resize(224 * MIB)
    assert growing.resize(192 * 1024)
    assert not growing.resize(192 * 1024 + 1)
    assert not large.resize(224 * MIB + 1)
    assert [Promise(headroom).resize(192 * 1024) for _ in range(21)] == [True] * 20 + [False]


async def test_a_refusal_says_that_memory_is_short_and_is_retryable(
    headroom: Headroom, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert not headroom.short
    with pytest.raises(Retryable, match=r"memory is short: .* below the limit of 268435456 bytes") as no:
        Promise(headroom).demand(225 * MIB)
    assert no.value.reason == "memory"
    assert headroom.short
    headroom.refusal(1)
    assert len(caplog.messages) == 1, "the log tells it once"
    await clock.advance(6)
    assert not headroom.short


async def test_usage_is_read_once_in_a_while(headroom: Headroom, files: CgroupFiles, clock: FakeClock) -> None:
    promise = Promise(headroom)
    assert promise.resize(100 * MIB)
    files.use(200 * MIB)
    assert promise.resize(200 * MIB), "it was read just now"
    await clock.advance(0.02)
    assert not promise.resize(201 * MIB)


async def test_what_was_let_go_of_counts_until_usage_was_read_again(headroom: Headroom, clock: FakeClock) -> None:
    promise, next_one = Promise(headroom), Promise(headroom)
    promise.demand(200 * MIB)
    promise.let_go()
    promise.let_go()
    assert headroom.promised == 0
    assert not next_one.resize(100 * MIB), "some of it may be the queue's now"
    await clock.advance(0.02)
    assert next_one.resize(100 * MIB)


def test_what_was_not_needed_is_free_at_once(headroom: Headroom) -> None:
    promise, next_one = Promise(headroom), Promise(headroom)
    promise.demand(200 * MIB)
    promise.demand(10 * MIB)
    assert next_one.resize(214 * MIB)


async def test_what_is_taken_of_a_promise_is_not_counted_twice(
    headroom: Headroom, files: CgroupFiles, clock: FakeClock
) -> None:
    promise, next_one = Promise(headroom), Promise(headroom)
    promise.demand(120 * MIB)
    promise.fill(100 * MIB)
    files.use(100 * MIB)
    await clock.advance(0.02)
    assert not next_one.resize(105 * MIB)
    assert next_one.resize(104 * MIB)
    promise.let_go()
    assert not next_one.resize(105 * MIB), "it is still used"
    await clock.advance(0.02)
    assert next_one.resize(124 * MIB)


async def test_who_finds_no_room_waits_in_line_and_gets_what_is_let_go_of(
    headroom: Headroom, files: CgroupFiles, clock: FakeClock
) -> None:
    first, second, third = Promise(headroom), Promise(headroom), Promise(headroom)
    await first.in_turn(200 * MIB)
    waiting = [asyncio.create_task(promise.in_turn(100 * MIB)) for promise in (second, third)]
    await until(lambda: headroom.line)
    assert not Promise(headroom).at_once(1 * MIB), "nobody goes past those who wait"
    assert Promise(headroom).at_once(1000), "but with next to nothing"
    first.let_go()
    await clock.advance(1)
    await asyncio.gather(*waiting)
    assert second.size == third.size == 100 * MIB
    assert headroom.promised == 200 * MIB + 1000
    assert not headroom.line


async def test_who_waits_is_let_in_when_usage_falls_by_itself(headroom: Headroom, files: CgroupFiles) -> None:
    real = Headroom(files.find(), trim=lambda: None)
    files.use(220 * MIB)
    promise = Promise(real)
    waiting = asyncio.create_task(promise.in_turn(100 * MIB))
    await until(lambda: real.line)
    files.use(0)
    await waiting
    assert promise.size == real.promised == 100 * MIB


async def test_who_waited_for_a_moment_is_refused_and_holds_no_more(
    headroom: Headroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.memory.headroom._PATIENCE_SECONDS", 0.01)
    promise = Promise(headroom)
    with pytest.raises(Retryable) as no:
        await promise.in_turn(225 * MIB)
    assert no.value.reason == "memory"
    promise.let_go()
    assert headroom.promised == 0


async def test_where_not_even_a_place_in_line_fits_there_is_no_waiting(headroom: Headroom, files: CgroupFiles) -> None:
    files.use(228 * MIB)
    with pytest.raises(Retryable):
        await Promise(headroom).in_turn(100 * MIB)
    assert not headroom.line


async def test_a_wait_that_is_given_up_leaves_the_line(headroom: Headroom) -> None:
    promise = Promise(headroom)
    waiting = asyncio.create_task(promise.in_turn(225 * MIB))
    await until(lambda: headroom.line)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    promise.let_go()
    assert (headroom.line, headroom.promised) == (False, 0)


async def test_usage_that_cannot_be_read_is_taken_for_what_it_was(
    headroom: Headroom, files: CgroupFiles, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    files.use(200 * MIB)
    assert Promise(headroom).resize(1 * MIB)
    files.lose()
    await clock.advance(1)
    with caplog.at_level(logging.WARNING):
        assert not Promise(headroom).resize(24 * MIB)
        await clock.advance(1)
        assert not Promise(headroom).resize(24 * MIB)
        assert caplog.text.count("the memory that is used cannot be read") == 1, "told once, not with each request"
        files.use(200 * MIB)
        await clock.advance(1)
        assert not Promise(headroom).resize(24 * MIB)
        files.lose()
        await clock.advance(1)
        assert not Promise(headroom).resize(24 * MIB)
    assert caplog.text.count("the memory that is used cannot be read") == 2


async def test_when_memory_is_short_what_the_allocator_keeps_is_given_back_in_a_thread_once_in_a_while(
    files: CgroupFiles, clock: FakeClock
) -> None:
    threads: list[int] = []
    held = threading.Event()
    go_on = threading.Event()

    def trim() -> None:
        threads.append(threading.get_ident())
        held.set()
        go_on.wait(10)

    headroom = Headroom(files.find(), clock.monotonic, trim)
    promise = Promise(headroom)
    assert not promise.resize(225 * MIB)
    assert await asyncio.to_thread(held.wait, 10)
    await clock.advance(2)
    assert not promise.resize(225 * MIB), "one at a time"
    go_on.set()
    assert headroom._trimming is not None
    await headroom._trimming
    assert not promise.resize(225 * MIB)
    assert headroom._trimming is not None
    await headroom._trimming
    assert not promise.resize(225 * MIB), "it was just done"
    assert len(threads) == 2
    assert threading.get_ident() not in threads


class Text:
    """Something large."""

    held_by: object = None


async def test_when_memory_is_short_what_is_in_cycles_is_let_go_of(headroom: Headroom) -> None:
    text = Text()
    text.held_by = text
    left = weakref.ref(text)
    gc.disable()
    try:
        del text
        assert Promise(headroom).resize(224 * MIB)
        assert left() is not None
        assert not Promise(headroom).resize(MIB)
        assert left() is None
    finally:
        gc.enable()


def test_a_queue_on_disk_keeps_an_eighth_of_the_limit_in_memory_at_most() -> None:
    assert at_hand(64 * MIB, None) == 64 * MIB
    assert at_hand(64 * MIB, 256 * MIB) == 32 * MIB
    assert at_hand(64 * MIB, 1024 * MIB) == 64 * MIB


async def test_who_holds_something_and_needs_more_goes_before_those_who_hold_nothing(
    headroom: Headroom, clock: FakeClock
) -> None:
    holder, first, outside = Promise(headroom), Promise(headroom), Promise(headroom)
    first.demand(150 * MIB)
    holder.demand(60 * MIB)
    coming = asyncio.create_task(outside.in_turn(120 * MIB))
    await until(lambda: headroom.line)
    growing = asyncio.create_task(holder.in_turn(120 * MIB))
    await asyncio.sleep(0)
    first.let_go(used=False)
    await growing
    assert holder.size == 120 * MIB
    assert not coming.done()
    holder.let_go(used=False)
    await coming
    assert headroom.promised == outside.size == 120 * MIB


async def test_who_takes_long_to_come_gives_way_to_who_finds_no_room(headroom: Headroom, clock: FakeClock) -> None:
    slow, quick = Promise(headroom), Promise(headroom)

    async def come_slowly() -> None:
        slow.demand(200 * MIB)
        try:
            async with headroom.coming.wait():
                await asyncio.Event().wait()
        finally:
            slow.let_go(used=False)

    coming = asyncio.create_task(come_slowly())
    await turns()
    await clock.advance(1)
    await quick.in_turn(24 * MIB)
    assert not coming.done(), "there was room for both"
    await quick.in_turn(200 * MIB)
    with pytest.raises(Retryable, match="came too slowly"):
        await coming


async def order_of(headroom: Headroom, ranks: list[Rank]) -> list[Rank]:
    """In which order those go who came one after another and wait until there is room for one at a time."""
    first = Promise(headroom)
    first.demand(224 * MIB)
    order: list[Rank] = []

    async def stand(rank: Rank) -> None:
        promise = Promise(headroom)
        await promise.in_turn(200 * MIB, rank)
        order.append(rank)
        promise.let_go(used=False)

    standing = []
    for rank in ranks:
        standing.append(asyncio.create_task(stand(rank)))
        await turns()
    first.let_go(used=False)
    await asyncio.gather(*standing)
    return order


async def test_who_was_late_goes_last(headroom: Headroom) -> None:
    assert await order_of(headroom, [Rank.LATE, Rank.USUAL, Rank.USUAL]) == [Rank.USUAL, Rank.USUAL, Rank.LATE]


async def test_who_was_late_goes_once_in_a_while_however_many_others_come(headroom: Headroom) -> None:
    order = await order_of(headroom, [Rank.LATE, Rank.LATE, *[Rank.USUAL] * 12])
    assert order == [*[Rank.USUAL] * 8, Rank.LATE, *[Rank.USUAL] * 4, Rank.LATE]


async def test_who_was_late_and_gives_up_has_had_its_turn(
    headroom: Headroom, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.memory.headroom._PATIENCE_SECONDS", 0.2)
    late = asyncio.create_task(Promise(headroom).in_turn(225 * MIB, Rank.LATE))  # more than ever fits
    await turns()
    for _ in range(8):
        headroom.went(Rank.USUAL)
    assert not Promise(headroom).at_once(1 * MIB), "it is the turn of who was late"
    with pytest.raises(Retryable):
        await late
    again = asyncio.create_task(Promise(headroom).in_turn(225 * MIB, Rank.LATE))
    await turns()
    assert Promise(headroom).at_once(1 * MIB), "and now of the others"
    again.cancel()


async def test_of_those_who_were_late_only_some_wait(headroom: Headroom) -> None:
    first = Promise(headroom)
    first.demand(224 * MIB)
    waiting = [asyncio.create_task(Promise(headroom).in_turn(200 * MIB, Rank.LATE)) for _ in range(33)]
    await turns()
    assert [task.done() for task in waiting] == [False] * 32 + [True]
    assert isinstance(waiting[-1].exception(), Retryable)
    for task in waiting[:-1]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not headroom.line


def test_what_a_refused_request_held_is_free_at_once(headroom: Headroom) -> None:
    promise, next_one = Promise(headroom), Promise(headroom)
    promise.demand(200 * MIB)
    promise.let_go(used=False)
    assert next_one.resize(200 * MIB)
