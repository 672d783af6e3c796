"""Time as a value, so that what depends on it can be tested without waiting."""

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the service needs from time."""

    def monotonic(self) -> float:
        """Seconds that never run backwards, from an arbitrary start."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may jump."""

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`."""


class SystemClock:
    """The machine's own clocks and the event loop's sleep."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now_ns(self) -> int:
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
