"""Bounded space that is given out first come, first served."""

import asyncio
from collections import deque
from contextlib import suppress

from app.core.errors import Retryable, TooLarge

__all__ = ["Room"]

_FULL_SECONDS = 5.0


class Room:
    """`capacity` bytes: some are `used`, some `reserved` by those who were let in and have not arrived yet.

    Whoever finds no room waits for it at most `patience` seconds.
    """

    def __init__(self, capacity: int, patience: float) -> None:
        self.capacity = capacity
        self.used = 0
        self._reserved = 0
        self._patience = patience
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._refused_at = -_FULL_SECONDS

    @property
    def full(self) -> bool:
        """Whether someone waits for room, or was refused within the last seconds."""
        return bool(self._line) or asyncio.get_running_loop().time() - self._refused_at < _FULL_SECONDS

    async def reserve(self, size: int) -> None:
        """Reserve `size` bytes, in turn.

        Raises:
            Retryable: there was no room in time.
            TooLarge: more than there can ever be; it would only keep the others waiting.
        """
        if size > self.capacity:
            raise TooLarge(f"a request that takes {size} bytes of a queue of {self.capacity} can never be kept")
        if not self._line and self._fits(size):
            self._reserved += size
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((size, place))
        try:
            async with asyncio.timeout(self._patience):
                await place
        except (TimeoutError, asyncio.CancelledError) as error:
            if place.done() and not place.cancelled():
                self.arrive(size, self.used)  # granted in the very turn in which the wait was given up
            else:
                with suppress(ValueError):  # _admit may have met the abandoned place first
                    self._line.remove((size, place))
                self._admit()  # the one behind may be smaller
            if isinstance(error, asyncio.CancelledError):
                raise
            self.refused()
            raise Retryable(
                f"the queue is full: {self.used} of {self.capacity} bytes are used", reason="queue_full"
            ) from None

    def refused(self) -> None:
        """Somebody is told that there is no room, here or where it is taken."""
        self._refused_at = asyncio.get_running_loop().time()

    def arrive(self, reserved: int, used: int) -> None:
        """Who had reserved `reserved` bytes arrived or gave up; `used` are used now. Lets in whoever fits."""
        self._reserved -= reserved
        self.used = used
        self._admit()

    def _fits(self, size: int) -> bool:
        return self.used + self._reserved + size <= self.capacity

    def _admit(self) -> None:
        while self._line and self._fits(self._line[0][0]):
            size, place = self._line.popleft()
            if not place.done():
                self._reserved += size
                place.set_result(None)
