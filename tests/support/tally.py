"""A destination that takes numbered requests as fast as it can, and counts them; over OTLP/HTTP.

Cheap where `Backend` is rich: it reads no protobuf, and remembers how often each number arrived and in which batch.
"""

import asyncio
import time
from collections import Counter
from typing import Protocol

from isal import isal_zlib

from app.core.request import Signal
from tests.support.flood import numbers_in
from tests.support.streams import StreamServer

__all__ = ["Tally"]

_SIGNALS = {signal.path.encode(): signal for signal in Signal}


class Moved(Protocol):
    """What wants to know of each batch."""

    def __call__(self, signal: Signal, *, came: bool) -> object: ...


def _nobody_asks(signal: Signal, *, came: bool) -> None:
    """Nothing is done about it."""


class Tally(StreamServer):
    """Serves from entering to leaving.

    Args:
        delay: how many seconds each answer takes.
        capacity: how many bytes a second it takes, inflated; None: any number.
    """

    def __init__(self, port: int = 0, *, delay: float = 0.0, capacity: float | None = None) -> None:
        super().__init__(self._exchanges, port)
        self.delay = delay
        self.capacity = capacity
        self.arrived: Counter[int] = Counter()
        """How often each request arrived whole."""
        self.batches: dict[Signal, list[list[int]]] = {signal: [] for signal in Signal}
        """The numbers in each batch, in the order in which they came."""
        self.in_flight: Counter[Signal] = Counter()
        """Batches that came and are not answered."""
        self.taken: Counter[Signal] = Counter()
        """Batches that were answered."""
        self.bytes = 0
        """What was taken, inflated."""
        self.open = asyncio.Event()
        """While it is not set, nothing is answered."""
        self.open.set()
        self.moved: Moved = _nobody_asks
        """Called when a batch has come, and when it is answered."""
        self._free_at = 0.0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _exchanges(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                if b"\r\ncontent-encoding: gzip" in head:
                    body = isal_zlib.decompress(body, 31)
                await self._take(_SIGNALS[head.split(b" ", 2)[1]], body)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the service ended

    async def _take(self, signal: Signal, body: bytes) -> None:
        self.in_flight[signal] += 1
        try:
            numbers = numbers_in(body, signal)
            self.batches[signal].append(numbers)
            self.moved(signal, came=True)
            wait = self.delay
            if self.capacity is not None:
                now = time.monotonic()
                self._free_at = max(now, self._free_at) + len(body) / self.capacity
                wait += self._free_at - now
            if wait:
                await asyncio.sleep(wait)
            await self.open.wait()
            self.arrived.update(numbers)
            self.taken[signal] += 1
            self.bytes += len(body)
            self.moved(signal, came=False)
        finally:
            self.in_flight[signal] -= 1
