"""A server of byte streams that leaves nothing behind, at whatever moment it ends."""

import asyncio
import socket
from collections.abc import Coroutine
from ssl import SSLContext
from types import TracebackType
from typing import Protocol, Self

__all__ = ["StreamServer"]


class Talk(Protocol):
    """What one connection does; closing its writer is not its business."""

    def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, /
    ) -> Coroutine[None, None, None]: ...


class StreamServer:
    """Serves from entering to leaving; a connection that is open then is cut.

    It accepts by itself. `asyncio.start_server` knows a connection only some turns of the loop after it was accepted:
    one that came just before the end would be neither cut nor closed.
    """

    def __init__(self, talk: Talk, port: int = 0, context: SSLContext | None = None) -> None:
        self.port = port
        """Which port, once it serves; the same one again when it serves again."""
        self._talk = talk
        self._context = context
        self._connections: dict[asyncio.Task[None], socket.socket | None] = {}
        """What serves a connection, and the connection while nothing else would close it."""

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> None:
        """End every connection, with what it has not sent yet."""
        for task in self._connections:
            task.cancel()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return  # it was reset before
        task = asyncio.create_task(self._serve(connection))
        self._connections[task] = connection
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if connection := self._connections.pop(task):
            connection.close()  # cut before its turn came
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "what a connection does has failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    async def _serve(self, connection: socket.socket) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._connections[task] = None
        connection.setblocking(False)
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._context)
        except OSError:
            return  # a handshake that came to nothing; asyncio has closed it
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await self._talk(reader, writer)
        except asyncio.CancelledError:
            transport.abort()
            raise
        finally:
            writer.close()
