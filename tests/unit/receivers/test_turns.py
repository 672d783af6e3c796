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


async def test_so_many_are_let_through_in_each_turn_first_come_first_served() -> None:
    turnstile, turn, through = Turnstile(2), [0], list[tuple[int, int]]()
    counter = asyncio.create_task(count_turns(turn))
    await asyncio.sleep(0)

    async def go(number: int) -> None:
        await turnstile.turn()
        through.append((turn[0], number))

    await asyncio.gather(*(go(number) for number in range(7)))
    assert [number for _, number in through] == [*range(7)]
    each = Counter(at for at, _ in through)
    assert [*each.values()] == [2, 2, 2, 1]
    counter.cancel()


async def test_who_comes_when_nobody_waits_goes_through_at_once() -> None:
    turnstile = Turnstile(1)
    for _ in range(3):
        coroutine = turnstile.turn()
        with pytest.raises(StopIteration):
            coroutine.send(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_who_gives_up_waiting_costs_nobody_a_turn() -> None:
    turnstile, turn = Turnstile(1), [0]
    counter = asyncio.create_task(count_turns(turn))
    await turnstile.turn()
    given_up = [asyncio.create_task(turnstile.turn()) for _ in range(5)]
    last = asyncio.create_task(turnstile.turn())
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    began = turn[0]
    await last
    assert turn[0] - began <= 3, "its own, and the next two in which it is called and goes on"
    counter.cancel()
