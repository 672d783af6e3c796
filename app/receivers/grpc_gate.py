"""What gRPC may read, where memory is limited.

gRPC reads a whole message at once, and nobody knows how large it will be. But it does not begin before it is asked:
of a message that nobody has asked for no more comes than HTTP/2's window, which all calls of a connection share. So:

- A message is read only after its call was promised room for the largest, and settles for what has come.
- One connection has half of the room at most for messages that have not come; its other calls wait for their turn.
  With each message that comes too slowly its share gets smaller, down to one.
- Who finds no room waits in line for a moment, before connections on which the last message came too slowly.
- A message that does not come is waited for as long as a body over HTTP, and less where others need the room.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from app.core.errors import InvalidData, Retryable
from app.memory import COPIES, Headroom, Promise, Rank
from app.receivers.answers import answer_to
from app.receivers.grpc_reply import reply

__all__ = ["NOTHING_CAME", "Gate", "GateForOthers"]

NOTHING_CAME: Final = "no message came, or not all of it"

_MOST_SHARES: Final = 4096
_PATIENCE_SECONDS: Final = 1.0
_READ_COPIES: Final = 2
"""How often gRPC holds a message in the end: as it came, and as the bytes that it hands over."""

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Method = grpc.RpcMethodHandler[Any, Any]  # generic to the type checker alone


class Gate:
    """Reads calls' messages, of which the `largest` has so many bytes and takes `seconds` to come."""

    def __init__(self, headroom: Headroom, largest: int, seconds: float) -> None:
        self.headroom = headroom
        self._room = _READ_COPIES * largest
        self._seconds = seconds
        self._shares: OrderedDict[str, _Share] = OrderedDict()

    async def read(self, context: "Context", promise: Promise) -> bytes | None:
        """The message of a call, for which `promise` is made; None where none came, or not all of it.

        Raises:
            Retryable: there was no room in time, or it came too slowly.
        """
        share = self._share(context.peer())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await share.acquire()
        except TimeoutError:
            raise self.headroom.refusal(self._room) from None
        slow = False
        try:
            await promise.in_turn(self._room, share.rank)
            try:
                async with self.headroom.coming.wait(self._seconds):
                    body = await context.read()  # an iterator would hold on to it
            except Retryable:
                slow = True
                raise
        finally:
            share.leave(slow=slow)
        if not isinstance(body, bytes):
            return None
        share.rank = Rank.USUAL
        promise.fill(len(body))
        await promise.in_turn(COPIES * len(body))
        return body

    def _share(self, peer: str) -> "_Share":
        """That of the connection of `peer`; those are forgotten that nobody has asked for longest."""
        share = self._shares.get(peer)
        if share is not None:
            self._shares.move_to_end(peer)
            return share
        if len(self._shares) >= _MOST_SHARES:
            self._shares.popitem(last=False)
        share = self._shares[peer] = _Share(max(1, self.headroom.room // 2 // self._room))
        return share


class _Share(asyncio.Semaphore):
    """How many messages may be waited for on one connection."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._size = size
        self.rank = Rank.USUAL

    def leave(self, *, slow: bool) -> None:
        """Let the next one come, unless this one was `slow` and there are others."""
        if slow:
            self.rank = Rank.LATE
        if slow and self._size > 1:
            self._size -= 1
        else:
            self.release()


class GateForOthers(grpc.aio.ServerInterceptor):
    """Lets messages through the gate, but for those of handlers that take a stream for one answer, as ours do.

    Such handlers ask the gate themselves, or refuse and read nothing.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Method | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Method | None":
        handler = await continuation(handler_call_details)
        if handler is None or (handler.request_streaming and not handler.response_streaming):
            return handler
        return self._gated(handler)

    def _gated(self, handler: Any) -> "Method":  # grpcio's types do not know what its aio calls
        """The same handler, of which gRPC reads no message by itself."""
        if handler.response_streaming:

            async def stream(_: AsyncIterator[bytes], context: "Context") -> AsyncIterator[Any]:
                messages = self._messages(handler, context)
                if handler.request_streaming:
                    answers = handler.stream_stream(messages, context)
                else:
                    answers = handler.unary_stream(await anext(messages), context)
                async for answer in answers:
                    yield answer

            return grpc.stream_stream_rpc_method_handler(stream, response_serializer=handler.response_serializer)

        async def unary(_: AsyncIterator[bytes], context: "Context") -> Any:
            return await handler.unary_unary(await anext(self._messages(handler, context)), context)

        return grpc.stream_unary_rpc_method_handler(unary, response_serializer=handler.response_serializer)

    async def _messages(self, handler: Any, context: "Context") -> AsyncIterator[Any]:
        """What comes of a call, message by message; the call is aborted where the first of them does not."""
        came = False
        while True:
            promise = Promise(self._gate.headroom)
            try:
                body = await self._gate.read(context, promise)
            except Retryable as error:
                await reply(answer_to(error), context)
            finally:
                promise.let_go()
            if body is None:
                break
            came = True
            yield handler.request_deserializer(body)
        if not came:
            await reply(answer_to(InvalidData(NOTHING_CAME)), context)
