"""An HTTP/2 client that sends whatever frames it is told, as far as windows let it, and reads what comes."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from tests.support.patience import PATIENCE
from tests.support.wire import varint

__all__ = [
    "ACK",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "GOAWAY",
    "HEADERS",
    "PING",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "Frame",
    "RawHttp2Client",
    "message",
]

DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 1
END_STREAM: Final = 1
END_HEADERS: Final = 4
_INITIAL_WINDOW = 4
_WINDOW = 65_535
_LARGEST = 16_384


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame says (RFC 9113, 4.1)."""

    kind: int
    flags: int
    stream: int
    payload: bytes = b""

    def to_bytes(self) -> bytes:
        length = len(self.payload).to_bytes(3, "big")
        return b"%b%c%c%b%b" % (length, self.kind, self.flags, self.stream.to_bytes(4, "big"), self.payload)


def _string(text: str) -> bytes:
    """A string literal of HPACK (RFC 7541, 5.2)."""
    length = len(text)
    return (varint(length) if length < 127 else b"\x7f" + varint(length - 127)) + text.encode()


def message(body: bytes, *, compressed: bool = False) -> bytes:
    """A gRPC message as it is in DATA frames."""
    return b"%c%b%b" % (compressed, len(body).to_bytes(4, "big"), body)


class RawHttp2Client:
    """One connection to 127.0.0.1; `window` is what the server may send on a stream before it waits."""

    def __init__(self, port: int, *, window: int = _WINDOW) -> None:
        self._port = port
        self._window = window
        self._credit = {0: _WINDOW}
        self._initial = _WINDOW
        self._widened = asyncio.Event()
        self._changed = asyncio.Event()
        self.frames: list[Frame] = []
        """What came, but for what belongs to the connection's own business."""

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(Frame(SETTINGS, 0, 0, _INITIAL_WINDOW.to_bytes(2, "big") + self._window.to_bytes(4, "big")))
        self._task = asyncio.create_task(self._read(), name="reader of raw HTTP/2")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.transport.abort()

    def send(self, *frames: Frame) -> None:
        """Send frames that no window holds up."""
        self._writer.write(b"".join(frame.to_bytes() for frame in frames))

    def call(self, stream: int, path: str, metadata: Iterable[tuple[str, str]] = (), /, **headers: str) -> None:
        """Begin a gRPC call with `headers`, in whose names underscores are hyphens, and `metadata` of any size."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "test",
            "content-type": "application/grpc",
            "te": "trailers",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        # Literal fields without indexing, not Huffman coded (RFC 7541, 6.2.2).
        block = b"".join(b"\0%b%b" % (_string(name), _string(value)) for name, value in (*fields.items(), *metadata))
        for start in range(0, len(block), _LARGEST):
            end = END_HEADERS if start + _LARGEST >= len(block) else 0
            self.send(Frame(CONTINUATION if start else HEADERS, end, stream, block[start : start + _LARGEST]))

    async def data(self, stream: int, data: bytes, *, end: bool) -> None:
        """Send `data` on a stream, as the windows let it; `end` says whether that is all."""
        left = memoryview(data)
        while left:
            credit = min(self._credit[0], self._credit.setdefault(stream, self._initial), _LARGEST)
            if credit <= 0:
                self._widened.clear()
                async with asyncio.timeout(PATIENCE):
                    await self._widened.wait()
                continue
            piece, left = bytes(left[:credit]), left[credit:]
            self._credit[0] -= len(piece)
            self._credit[stream] -= len(piece)
            self.send(Frame(DATA, END_STREAM if end and not left else 0, stream, piece))
            await self._writer.drain()

    async def until(self, kind: int, count: int = 1) -> list[Frame]:
        """Wait for `count` frames of a kind.

        Raises:
            ConnectionError: the server closed before.
        """
        async with asyncio.timeout(PATIENCE):
            while len(found := [frame for frame in self.frames if frame.kind == kind]) < count:
                if self._task.done():
                    raise ConnectionError(f"it closed after {self.frames}")
                self._changed.clear()
                await self._changed.wait()
            return found

    async def closed(self) -> None:
        """Wait until the server closes."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([self._task])

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload))
                self._changed.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._changed.set()

    def _take(self, frame: Frame) -> None:
        ours = frame.flags & ACK
        if frame.kind == SETTINGS and not ours:
            for at in range(0, len(frame.payload), 6):
                if int.from_bytes(frame.payload[at : at + 2], "big") == _INITIAL_WINDOW:
                    self._set_initial(int.from_bytes(frame.payload[at + 2 : at + 6], "big"))
            self.send(Frame(SETTINGS, ACK, 0))
            self._widened.set()
        elif frame.kind == PING and not ours:
            self.send(Frame(PING, ACK, 0, frame.payload))
        elif frame.kind == WINDOW_UPDATE:
            size = int.from_bytes(frame.payload, "big")
            self._credit[frame.stream] = self._credit.get(frame.stream, self._initial) + size
            self._widened.set()
        elif frame.kind != SETTINGS:
            self.frames.append(frame)

    def _set_initial(self, size: int) -> None:
        """Streams that there are already have the difference, too (RFC 9113, 6.9.2)."""
        for stream in self._credit.keys() - {0}:
            self._credit[stream] += size - self._initial
        self._initial = size
