"""What a thread gets done beside a loop that is never idle."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.core.threads import in_thread
from tests.support.patience import PATIENCE


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


def small_steps(number: int) -> int:
    """Let go of the interpreter's lock `number` times, as a commit does for each record."""
    here = Path()
    for _ in range(number):
        here.stat()
    return number


async def turns_until_done(*work: asyncio.Future[int]) -> int:
    """How often a loop turns that always has something to do, a few dozen microseconds each time."""
    turns = 0
    async with asyncio.timeout(PATIENCE):
        while not all(future.done() for future in work):
            turns += 1
            for _ in range(2000):
                pass
            await asyncio.sleep(0)
    return turns


async def test_a_thread_ends_though_the_loop_that_waits_for_it_is_never_idle(threads: ThreadPoolExecutor) -> None:
    work = in_thread(threads, small_steps, 300)
    assert await turns_until_done(work) < 5000  # left to the lock, it takes a million
    assert work.result() == 300


async def test_the_loop_steps_aside_for_several_threads_at_once(threads: ThreadPoolExecutor) -> None:
    work = [in_thread(threads, small_steps, 100) for _ in range(3)]
    assert await turns_until_done(*work) < 5000
    assert [future.result() for future in work] == [100] * 3


async def test_what_a_function_raises_is_raised_to_who_waits(threads: ThreadPoolExecutor) -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(threads, divmod, 1, 0)


async def test_an_executor_that_takes_no_more_says_so_at_once(threads: ThreadPoolExecutor) -> None:
    threads.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        in_thread(threads, small_steps, 1)


async def test_without_an_executor_the_loop_has_one_of_its_own() -> None:
    assert await in_thread(None, threading.get_ident) != threading.get_ident()
