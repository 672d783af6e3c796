"""A relay before a gRPC server that can break a call which the server has read: its stream, or its connection."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from tests.support.raw_http2 import CONTINUATION, END_HEADERS, HEADERS, RST_STREAM, Frame
from tests.support.streams import StreamServer

__all__ = ["STREAM", "CallBreaker"]

STREAM: Final = "relayed-stream"
"""The metadata in which the server finds the number of a call's stream."""
_PREFACE_BYTES: Final = 24
_HEAD: Final = struct.Struct(">BHBBI")
_PADDED: Final = 8


@dataclass(frozen=True, slots=True)
class _Connection:
    peer: str
    """The client's address, as gRPC writes it."""
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter


class CallBreaker:
    """Passes on what comes to `port`, frame by frame, from entering to leaving; a connection that is open then is cut.

    Connections are named by the peer that the server sees; one that has ended meanwhile cannot be broken any more.
    """

    def __init__(self, port: int = 0) -> None:
        self._listener = StreamServer(self._serve, port)
        self._destination = 0
        self._connections: dict[str, _Connection] = {}

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.__aexit__(kind, error, trace)

    @property
    def port(self) -> int:
        return self._listener.port

    def lead_to(self, port: int) -> None:
        """Pass on to that port of this machine."""
        self._destination = port

    def client(self, peer: str) -> str:
        """Who really is at the other end; `peer` itself where the connection has ended."""
        connection = self._connections.get(peer)
        return peer if connection is None else connection.peer

    def reset_stream(self, peer: str, stream: int, code: int) -> None:
        """End one call by RST_STREAM, for the client and for the server."""
        if connection := self._connections.get(peer):
            for writer in (connection.client, connection.server):
                writer.write(Frame(RST_STREAM, 0, stream, code.to_bytes(4, "big")).to_bytes())

    def reset(self, peer: str) -> None:
        """Reset the client's connection, and what it has not read of it with it."""
        connection = self._connections.get(peer)
        if connection is not None and not connection.client.is_closing():
            wire: socket.socket = connection.client.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.client.transport.abort()

    def close(self, peer: str) -> None:
        """Close the client's connection, without GOAWAY."""
        if connection := self._connections.get(peer):
            connection.client.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._destination)
        name = _peer(forth, "sockname")
        self._connections[name] = _Connection(_peer(writer, "peername"), writer, forth)
        ways = [asyncio.create_task(_forth(reader, forth)), asyncio.create_task(_pass_on(back, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)  # one end went away, and so the other is let go
            forth.close()
            del self._connections[name]


def _peer(writer: asyncio.StreamWriter, which: str) -> str:
    return "ipv4:{}:{}".format(*writer.get_extra_info(which))


async def _forth(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """From the client, with the number of its stream in each call's metadata."""
    writer.write(await reader.readexactly(_PREFACE_BYTES))
    await _pass_on(reader, writer, mark=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, mark: bool = False) -> None:
    while True:
        high, low, kind, flags, stream = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        frame = Frame(kind, flags, stream, await reader.readexactly(high << 16 | low))
        if mark and kind in {HEADERS, CONTINUATION} and flags & END_HEADERS:
            assert not flags & _PADDED, "gRPC pads nothing"
            frame = Frame(kind, flags, stream, frame.payload + _field(STREAM, str(stream)))
        writer.write(frame.to_bytes())
        await writer.drain()


def _field(name: str, value: str) -> bytes:
    """A field that changes nothing of what HPACK remembers (RFC 7541, 6.2.2)."""
    return b"\0%c%b%c%b" % (len(name), name.encode(), len(value), value.encode())
