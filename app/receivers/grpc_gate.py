"""What gRPC may read, where memory is limited.

gRPC reads a whole message before a handler runs, and nobody knows how large it will be. But it does not begin before
the handler is found, by the headers alone. So:

- A message is read only after its call was promised room for the largest; its handler settles for what has come.
- Whoever finds no room waits in line for a moment, unread: of such a message no more comes than HTTP/2's window.
- A call's promise ends with the call, however that ends.
"""

import asyncio
from typing import cast

from app.memory import COPIES, Headroom, Promise

__all__ = ["Gate"]


class Gate:
    """Lets calls be read; `largest` is the bound of a message. All is asked in a call's own task."""

    def __init__(self, headroom: Headroom, largest: int) -> None:
        self._headroom = headroom
        self._largest = largest
        self._promises: dict[asyncio.Task[object], Promise] = {}

    def opens(self) -> bool:
        """Whether the message of a call that has just begun may be read at once."""
        call = _current_call()
        promise = self._promises[call] = Promise(self._headroom)
        call.add_done_callback(self._end)
        return promise.at_once(self._largest)

    async def wait(self) -> None:
        """Return when a message for which the gate did not open may be read.

        Raises:
            Retryable: there was no room in time.
        """
        await self._promises[_current_call()].in_turn(self._largest)

    async def arrived(self, size: int) -> None:
        """The message has come, and has `size` bytes; returns when it may be worked on.

        Raises:
            Retryable: there was no room in time.
        """
        promise = self._promises[_current_call()]
        promise.fill(size)
        await promise.in_turn(COPIES * size)

    def _end(self, call: asyncio.Task[object]) -> None:
        self._promises.pop(call).let_go()


def _current_call() -> asyncio.Task[object]:
    return cast("asyncio.Task[object]", asyncio.current_task())  # gRPC makes one for each call
