"""Work on the event loop, cut into steps or let in little by little, so that everything else keeps its turn."""

import asyncio
from collections import deque
from collections.abc import Generator
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

__all__ = ["Steps", "Turnstile", "at_once", "in_turns"]

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that yields where it may pause, a few milliseconds apart at most, and returns its result."""

_TURN = 0.005
_FEW, _MANY = 2, 64
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
    """Lets requests over HTTP begin: all at once, or few in a turn of the loop where gRPC has calls too.

    gRPC takes one call in a turn, and would starve beside hundreds of requests that each turn does. So after a turn in
    which it took one, two requests begin in the next; after one in which it took none, twice as many as before. The
    others wait, first come, first served. Turns without requests do not count: a burst after a pause begins with two
    where gRPC took a call in the pause.
    """

    def __init__(self) -> None:
        self._each = self._left = _MANY
        self._line: deque[asyncio.Future[None]] = deque()
        self._counting = False
        self._called = False

    def called(self) -> None:
        """Note that gRPC took a call in this turn."""
        self._called = True

    async def turn(self) -> None:
        """Return when it is the caller's turn: at once, where nobody waits and few have come yet."""
        if not self._counting:
            self._counting = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._next_turn, loop)
        if self._left:
            self._left -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        await place

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._each = _FEW if self._called else min(_MANY, self._each * 2)
        self._called = False
        self._left = self._each
        while self._line and self._left:
            place = self._line.popleft()
            if not place.done():  # who waited may have given up
                place.set_result(None)
                self._left -= 1
        self._counting = self._left < self._each
        if self._counting:
            loop.call_soon(self._next_turn, loop)
