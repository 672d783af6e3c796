"""A destination that takes numbered requests as fast as it can, and counts them; over OTLP/HTTP.

Cheap where `Backend` is rich: it reads no protobuf, and remembers how often each number arrived and nothing else.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from isal import isal_zlib

from tests.support.flood import numbers_in
from tests.support.streams import StreamServer

__all__ = ["Tally"]


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
        self.batches: list[list[int]] = []
        """The numbers in each batch, in the order in which they were taken."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.seen: Callable[[int], object] = lambda _: None
        """Called with the number of requests in flight when one more comes."""
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
                await self._take(isal_zlib.decompress(body, 31) if b"\r\ncontent-encoding: gzip" in head else body)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the service ended

    async def _take(self, body: bytes) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.seen(self.in_flight)
        try:
            numbers = numbers_in(body)
            wait = self.delay
            if self.capacity is not None:
                now = time.monotonic()
                self._free_at = max(now, self._free_at) + len(body) / self.capacity
                wait += self._free_at - now
            if wait:
                await asyncio.sleep(wait)
            self.arrived.update(numbers)
            self.batches.append(numbers)
        finally:
            self.in_flight -= 1
