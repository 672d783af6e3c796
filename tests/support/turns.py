"""How long the event loop is kept from everything else while something runs on it."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["longest_turn"]

T = TypeVar("T")


async def longest_turn(work: Awaitable[T]) -> tuple[T | Exception, float]:
    """What `work` comes to, and the most CPU seconds between two turns of a task beside it.

    CPU time, not the clock's: what other processes take is not the fault of `work`.
    """
    longest = 0.0
    done = asyncio.Event()

    async def beside() -> None:
        nonlocal longest
        last = time.thread_time()
        while not done.is_set():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest = max(longest, now - last)
            last = now

    task = asyncio.create_task(beside())
    await asyncio.sleep(0)
    result: T | Exception
    try:
        result = await work
    except Exception as error:  # noqa: BLE001 - it is the caller's to judge
        result = error
    done.set()
    await task
    return result, longest
