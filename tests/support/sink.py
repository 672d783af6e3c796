"""The end of a chain: keeps what it is given, or refuses it as it is told."""

import asyncio

from app.core.request import ExportRequest, Signal
from tests.support.patience import PATIENCE

__all__ = ["Sink"]


class Sink:
    """A consumer that records. While `error` is set it raises that instead; while it is held, callers wait."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.requests: list[ExportRequest] = []
        self.error = error
        self.waiting = 0
        """How many callers are inside, because the sink is held."""
        self._arrived = asyncio.Condition()
        self._open = asyncio.Event()
        self._open.set()

    async def consume(self, request: ExportRequest) -> None:
        if not self._open.is_set():
            self.waiting += 1
            try:
                await self._notify()
                await self._open.wait()
            finally:
                self.waiting -= 1
        if self.error is not None:
            raise self.error
        self.requests.append(request)
        await self._notify()

    def hold(self) -> None:
        """Make callers wait until `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def items(self, signal: Signal) -> int:
        return sum(request.items for request in self.requests if request.signal is signal)

    async def wait_for(self, requests: int, *, timeout: float = PATIENCE) -> list[ExportRequest]:  # noqa: ASYNC109 - a bound
        """Wait until `requests` were recorded."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= requests)
        return self.requests

    async def wait_for_callers(self, callers: int, *, timeout: float = PATIENCE) -> None:  # noqa: ASYNC109 - a bound
        """Wait until `callers` are held."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: self.waiting >= callers)

    async def _notify(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()
