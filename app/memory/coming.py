"""Requests that hold room for what has not come yet, and give way when others need it.

A client that is slow, or does it on purpose, would keep the room for `server.body_timeout`. So who needs room and finds
none ends the wait that has lasted longest, if it has lasted a while; what had come of that request is let go of.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from app.core.errors import Retryable

__all__ = ["Coming"]

_SLOW_SECONDS: Final = 0.5
"""A message of 16 MiB takes so long at 270 Mbit/s; where there is room for all, nobody is told to hurry."""


class Coming:
    """The waits under way."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._waits: dict[asyncio.Timeout, float] = {}
        """Those under way, the oldest first, and when each may be told to hurry."""

    @asynccontextmanager
    async def wait(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Within it something is waited for, for which room is held; at most for `seconds`.

        Raises:
            Retryable: it did not come in time, or took a while when others needed the room.
        """
        timeout = asyncio.timeout(seconds)
        try:
            async with timeout:
                self._waits[timeout] = self._monotonic() + _SLOW_SECONDS
                try:
                    yield
                finally:
                    self._waits.pop(timeout, None)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise Retryable("the request came too slowly for memory to be kept for it", reason="slow") from None

    def hurry(self) -> None:
        """End the wait that has lasted longest, if it has lasted a while."""
        timeout = next(iter(self._waits), None)
        if timeout is not None and self._waits[timeout] <= self._monotonic():
            del self._waits[timeout]
            timeout.reschedule(0)
