import asyncio
import time
from collections import Counter

import pytest

from app.receivers.turns import Steps, Turnstile, at_once, in_turns


def burn(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def stepping(steps: int, each: float, log: list[int], turn: list[int]) -> Steps[str]:
    for _ in range(steps):
        log.append(turn[0])
        burn(each)
        yield
    return "done"


async def count_turns(turn: list[int]) -> None:
    while True:
        await asyncio.sleep(0)
        turn[0] += 1


def test_steps_run_at_once_return_their_result() -> None:
    assert at_once(stepping(3, 0, [], [0])) == "done"


async def test_short_work_is_done_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.receivers.turns.perf_counter", lambda: 0.0)  # it takes no time, whatever the machine does
    turn, log = [0], list[int]()
    counter = asyncio.create_task(count_turns(turn))
    await asyncio.sleep(0)
    assert await in_turns(stepping(20, 0, log, turn)) == "done"
    assert len(set(log)) == 1
    counter.cancel()


async def test_long_work_gives_the_loop_its_turns() -> None:
    turn, log = [0], list[int]()
    counter = asyncio.create_task(count_turns(turn))
    await asyncio.sleep(0)
    assert await in_turns(stepping(10, 0.006, log, turn)) == "done"
    assert len(set(log)) == 10
    counter.cancel()


async def test_a_turn_has_a_slice_of_one_work_however_many_there_are() -> None:
    turn = [0]
    logs = [list[int]() for _ in range(5)]
    counter = asyncio.create_task(count_turns(turn))
    await asyncio.sleep(0)
    await asyncio.gather(*(in_turns(stepping(4, 0.006, log, turn)) for log in logs))
    slices = [at for log in logs for at in log]
    assert len(slices) == len(set(slices)) == 20
    assert logs[0][-1] > logs[4][0], "they do not wait for each other's end"
    counter.cancel()


async def test_what_a_step_raises_is_raised_and_the_gate_is_free_again() -> None:
    def failing() -> Steps[None]:
        yield
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await in_turns(failing())
    assert await in_turns(stepping(1, 0, [], [0])) == "done"


async def test_cancelled_work_is_closed_and_the_gate_is_free_again() -> None:
    closed = False

    def endless() -> Steps[None]:
        nonlocal closed
        try:
            while True:
                burn(0.002)
                yield
        finally:
            closed = True

    task = asyncio.create_task(in_turns(endless()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed
    assert await in_turns(stepping(1, 0, [], [0])) == "done"


class Turns:
    """Who goes through a turnstile, in which turn of the loop."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.turn = 0
        self.through: list[tuple[int, int]] = []

    async def go(self, number: int) -> None:
        await self.turnstile.turn()
        self.through.append((self.turn, number))

    async def all(self, requests: int, calls: int = 0) -> list[int]:
        """Let so many `requests` go, beside a call in each of the first turns; returns how many went in each turn."""
        going = [asyncio.create_task(self.go(number)) for number in range(requests)]
        while not all(task.done() for task in going):
            if self.turn < calls:
                self.turnstile.called()
            await asyncio.sleep(0)
            self.turn += 1
        assert [number for _, number in self.through] == [*range(requests)], "first come, first served"
        return [*Counter(turn for turn, _ in self.through).values()]


async def test_where_grpc_has_no_calls_all_requests_begin_at_once() -> None:
    assert await Turns().all(64) == [64]


async def test_beside_calls_two_requests_begin_in_a_turn_and_more_when_they_end() -> None:
    assert await Turns().all(64 + 5 * 2 + 4 + 8 + 16, calls=6) == [64, 2, 2, 2, 2, 2, 4, 8, 16]


async def test_who_gives_up_waiting_costs_nobody_a_turn() -> None:
    turns = Turns()
    turns.turnstile.called()
    first = [asyncio.create_task(turns.go(number)) for number in range(64)]
    given_up = [asyncio.create_task(turns.turnstile.turn()) for _ in range(5)]
    last = [asyncio.create_task(turns.go(number)) for number in (64, 65)]
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*first, *last)
    assert turns.through == [(0, number) for number in range(66)]
