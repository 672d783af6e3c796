"""An attempt that takes too long is given up, and tried again."""

import asyncio

from app.core.consumer import Consumer
from app.core.errors import Retryable
from app.core.request import ExportRequest

__all__ = ["Timeout"]


class Timeout:
    """Bounds `next_stage` to `seconds`."""

    def __init__(self, next_stage: Consumer, seconds: float) -> None:
        self._next = next_stage
        self._seconds = seconds

    async def consume(self, request: ExportRequest) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._next.consume(request)
        except TimeoutError:
            raise Retryable(f"no answer within {self._seconds:g} s", reason="timeout") from None
