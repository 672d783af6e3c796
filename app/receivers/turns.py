"""Long work on the event loop, cut into steps, so that everything else keeps its turn."""

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

__all__ = ["Steps", "at_once", "in_turns"]

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that yields where it may pause, a few milliseconds apart at most, and returns its result."""

_TURN = 0.005
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def at_once(steps: Steps[T]) -> T:
    """Run `steps` to their end without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # a generator's return value is Any to typeshed


async def in_turns(steps: Steps[T]) -> T:
    """Run `steps` to their end, a few milliseconds in each turn of the loop.

    However many run at once, a turn of the loop runs a slice of one of them: they queue at one gate, first come first
    served.
    """
    loop = asyncio.get_running_loop()
    gate = _gates.get(loop)
    if gate is None:
        gate = _gates[loop] = asyncio.Lock()
    try:
        while True:
            async with gate:
                until = perf_counter() + _TURN
                while perf_counter() < until:
                    try:
                        next(steps)
                    except StopIteration as end:
                        return end.value  # type: ignore[no-any-return]  # as in at_once
                await asyncio.sleep(0)  # inside the gate, or the next in line would run in the same turn
    finally:
        steps.close()
