"""Work on the event loop, cut into steps or let in little by little, so that everything else keeps its turn."""

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

__all__ = ["Steps", "Turnstile", "at_once", "in_turns"]

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that yields where it may pause, a few milliseconds apart at most, and returns its result."""

_TURN = 0.005
_MANY = 64
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


class Turnstile:
    """Lets so many through in a turn of the loop that it lasts some milliseconds; the others wait for one of the next.

    First come, first served. How many go through is halved after a long turn and doubled after a short one, whatever
    made it so: where turns are short nobody ever waits.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._each = self._left = _MANY
        self._line: deque[asyncio.Future[None]] = deque()
        self._counting = False

    async def turn(self) -> None:
        """Return when it is the caller's turn: at once, where nobody waits and few have come yet."""
        loop = asyncio.get_running_loop()
        if not self._counting:
            self._counting = True
            loop.call_soon(self._next_turn, loop, self._clock())
        if self._left:
            self._left -= 1
            return
        place: asyncio.Future[None] = loop.create_future()
        self._line.append(place)
        await place

    def _next_turn(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        now = self._clock()
        self._each = max(1, self._each // 2) if now - began > _TURN else min(_MANY, self._each * 2)
        self._left = self._each
        while self._line and self._left:
            place = self._line.popleft()
            if not place.done():  # who waited may have given up
                place.set_result(None)
                self._left -= 1
        self._counting = self._left < self._each
        if self._counting:
            loop.call_soon(self._next_turn, loop, now)
