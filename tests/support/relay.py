"""A TCP relay that counts bytes, and can cut what passes through it."""

import asyncio
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.support.patience import PATIENCE
from tests.support.streams import StreamServer

__all__ = ["Relay"]


class Relay:
    """Passes on to `port` of this machine what arrives at its own `port`; a function is asked for each connection."""

    def __init__(self, port: int | Callable[[], int]) -> None:
        self.sent = 0
        """Bytes from clients to the destination."""
        self.refused = 0
        """Connections that the destination refused; the client's is reset."""
        self._destination = port
        self._server = StreamServer(self._serve)
        self._writers: set[asyncio.StreamWriter] = set()
        self._passed = asyncio.Condition()

    @property
    def port(self) -> int:
        return self._server.port

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            if not writer.transport.is_closing():  # cut before
                _reset(writer)
        self._server.cut()

    async def passed(self, count: int, *, timeout: float = PATIENCE) -> None:  # noqa: ASYNC109 - a bound
        """Wait until `count` bytes went to the destination."""
        async with asyncio.timeout(timeout), self._passed:
            await self._passed.wait_for(lambda: self.sent >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            port = self._destination if isinstance(self._destination, int) else self._destination()
            back, forth = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            self.refused += 1
            _reset(writer)
            return
        ends = {writer, forth}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, forth, counted=True))
                group.create_task(self._pass_on(back, writer, counted=False))
        except* OSError:
            pass  # one end went away, and so the other is let go
        finally:
            self._writers -= ends
            forth.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        while data := await reader.read(1 << 16):
            if counted:
                self.sent += len(data)
                async with self._passed:
                    self._passed.notify_all()
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
