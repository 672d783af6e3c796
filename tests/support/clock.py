"""Time that moves when a test says so."""

import asyncio
import time
from collections.abc import Callable

from tests.support.patience import PATIENCE

__all__ = ["FakeClock", "turn", "turns", "until"]

_EPOCH_NS = 1_700_000_000_000_000_000


class FakeClock:
    """A clock that stands still until `advance`; who sleeps on it wakes when its time has come."""

    def __init__(self) -> None:
        self.now = 0.0
        """What `monotonic` says."""
        self._wrong_ns = 0
        self._asleep: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.now

    def now_ns(self) -> int:
        return _EPOCH_NS + round(self.now * 1e9) + self._wrong_ns

    def set_wrong(self, seconds: float) -> None:
        """Have the wall clock, and that alone, be `seconds` ahead from now on."""
        self._wrong_ns = round(seconds * 1e9)

    async def sleep(self, seconds: float) -> None:
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (self.now + seconds, alarm)
        self._asleep.append(sleeper)
        try:
            await alarm
        finally:
            self._asleep.remove(sleeper)

    @property
    def alarms(self) -> list[float]:
        """In how many seconds each sleeper will wake, soonest first."""
        return sorted(due - self.now for due, _ in self._asleep)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and give whoever wakes the time to act."""
        self.now += seconds
        for due, alarm in self._asleep:
            if due <= self.now and not alarm.done():
                alarm.set_result(None)
        await turns()

    async def skip(self) -> float:
        """Pass on to the next alarm; returns how many seconds that took."""
        seconds = self.alarms[0]
        await self.advance(seconds)
        return seconds


async def until(condition: Callable[[], object]) -> None:
    """Return in the first turn of the event loop in which `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # a test looks on; what it looks at sets no event
            await turn()


async def turn() -> None:
    """Let the event loop turn once, and threads get on with it.

    A loop of asyncio's that is never idle takes the interpreter's lock back before the kernel has woken a thread that
    waits for it, for seconds on end.
    """
    time.sleep(0)  # noqa: ASYNC251 - off the processor for a moment
    await asyncio.sleep(0)


async def turns(number: int = 20) -> None:
    """Let the event loop turn: everything that can go on without time or threads does."""
    for _ in range(number):
        await asyncio.sleep(0)
