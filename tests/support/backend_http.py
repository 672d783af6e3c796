"""The HTTP side of a scripted destination: HTTP/1.1 by hand, so that it can misbehave at any byte."""

import asyncio
import gzip
import json
import socket
import struct
import zlib
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from ssl import SSLContext

import zstandard

from app.core.request import Signal
from tests.support.exchange import Answer, Close, Http, Partial, Raw, Received, Reset, Success, Unheard
from tests.support.streams import StreamServer

__all__ = ["HttpSide"]

_SIGNALS = {signal.path: signal for signal in Signal}
_REJECTED = {
    Signal.TRACES: "rejectedSpans",
    Signal.METRICS: "rejectedDataPoints",
    Signal.LOGS: "rejectedLogRecords",
}


class HttpSide(StreamServer):
    """Serves from entering to leaving; a connection that is open then is cut."""

    def __init__(
        self, ask: Callable[[Received], Coroutine[None, None, Answer]], port: int, context: SSLContext | None
    ) -> None:
        super().__init__(self._exchanges, port, context)
        self._ask = ask

    async def _exchanges(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away, as clients may, or speaks something else

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection stays open."""
        head = await reader.readuntil(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").rstrip().split("\r\n")
        if not first.endswith(("HTTP/1.1", "HTTP/1.0")):
            return False  # it speaks something else
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
        wire = await _body(reader, headers)
        _, path, _ = first.split(" ")
        signal = next((signal for end, signal in _SIGNALS.items() if path.endswith(end)), None)
        if signal is None:
            await _respond(writer, Http(404, f"no signal at {path}".encode(), {"Content-Type": "text/plain"}))
            return True
        body = _decode(wire, headers.get("content-encoding", ""))
        peer = "{}:{}".format(*writer.get_extra_info("peername"))
        received = Received(signal, "http", body, wire, headers, peer)
        answer = await _unless_gone(reader, self._ask(received))
        keep = headers.get("connection", "").lower() != "close"
        return await _give(answer, signal, writer) and keep


async def _unless_gone(reader: asyncio.StreamReader, asking: Coroutine[None, None, Answer]) -> Answer:
    """The answer, while its client waits; a client that hung up needs none."""
    task = asyncio.create_task(asking)
    more = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait([task, more], return_when=asyncio.FIRST_COMPLETED)
        if more.done() and not task.done():
            raise ConnectionResetError("the client did not wait for its answer")
        return await task
    finally:
        task.cancel()
        more.cancel()
        await asyncio.gather(task, more, return_exceptions=True)


async def _give(answer: Answer, signal: Signal, writer: asyncio.StreamWriter) -> bool:
    """Write an answer; whether the connection may stay open."""
    match answer:
        case Success():
            await _respond(writer, Http(200, headers={"Content-Type": "application/x-protobuf"}))
        case Partial() as partial:
            await _respond(writer, _partial(signal, partial))
        case Http() as response:
            await _respond(writer, response)
        case Raw(data):
            writer.write(data)
            await writer.drain()
            return False
        case Close():
            return False
        case Reset() | Unheard():
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        case answer:
            raise TypeError(f"{answer} is no answer over HTTP")
    return True


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    chunks = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(chunks)


def _decode(wire: bytes, encoding: str) -> bytes:
    match encoding:
        case "" | "identity":
            return wire
        case "gzip":
            return gzip.decompress(wire)
        case "deflate":
            return zlib.decompress(wire)
        case "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(wire)
    raise ValueError(f"a content encoding that nobody should send: {encoding!r}")


def _partial(signal: Signal, partial: Partial) -> Http:
    if partial.json:
        said = {"partialSuccess": {_REJECTED[signal]: str(partial.rejected), "errorMessage": partial.message}}
        return Http(200, json.dumps(said).encode(), {"Content-Type": "application/json"})
    return Http(200, partial.to_protobuf(signal), {"Content-Type": "application/x-protobuf"})


async def _respond(writer: asyncio.StreamWriter, response: Http) -> None:
    phrase = HTTPStatus(response.status).phrase
    headers = {"Content-Length": str(len(response.body)), **response.headers}
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1") + response.body)
    await writer.drain()
