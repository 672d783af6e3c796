"""What gRPC may read, where memory is limited.

gRPC reads a whole message at once, and nobody knows how large it will be. But it does not begin before it is asked:
of a message that nobody has asked for no more comes than HTTP/2's window, which all calls of a connection share. So:

- A message is read only after its call was promised room for the largest, and settles for what has come.
- One connection has half of the room at most for messages that have not come; its other calls wait for their turn.
  With each message that comes too slowly its share gets smaller, down to one.
- Who finds no room waits in line for a moment.
- A message that does not come is waited for as long as a body over HTTP, and less where others need the room.
"""

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from app.core.errors import Retryable
from app.memory import COPIES, Headroom, Promise

if TYPE_CHECKING:
    import grpc.aio

__all__ = ["Gate"]

_PATIENCE_SECONDS: Final = 1.0


class Gate:
    """Reads calls' messages, of which the `largest` has so many bytes and takes `seconds` to come."""

    def __init__(self, headroom: Headroom, largest: int, seconds: float) -> None:
        self.headroom = headroom
        self._largest = largest
        self._seconds = seconds
        self._shares: WeakValueDictionary[str, _Share] = WeakValueDictionary()

    async def read(self, context: "grpc.aio.ServicerContext[bytes, bytes]", promise: Promise) -> bytes:
        """The message of a call, for which `promise` is made; empty where none came.

        Raises:
            Retryable: there was no room in time, or it came too slowly.
        """
        share = self._share(context.peer())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await share.acquire()
        except TimeoutError:
            raise self.headroom.refusal(self._largest) from None
        slow = False
        try:
            await promise.in_turn(self._largest)
            try:
                async with self.headroom.coming.wait(self._seconds):
                    body = await context.read()  # an iterator would hold on to it
            except Retryable:
                slow = True
                raise
        finally:
            share.leave(slow=slow)
        if not isinstance(body, bytes):
            return b""
        promise.fill(len(body))
        await promise.in_turn(COPIES * len(body))
        return body

    def _share(self, peer: str) -> "_Share":
        """That of the connection of `peer`, which its calls keep."""
        share = self._shares.get(peer)
        if share is None:
            share = self._shares[peer] = _Share(max(1, self.headroom.room // 2 // self._largest))
        return share


class _Share(asyncio.Semaphore):
    """How many messages may be waited for on one connection."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._size = size

    def leave(self, *, slow: bool) -> None:
        """Let the next one come, unless this one was `slow` and there are others."""
        if slow and self._size > 1:
            self._size -= 1
        else:
            self.release()
