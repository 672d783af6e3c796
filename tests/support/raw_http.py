"""An HTTP client that sends whatever bytes it is told, in pieces, and reads what comes back."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.patience import PATIENCE

__all__ = ["Answer", "RawClient", "post"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def last(self) -> bool:
        """Whether the server says that it will close."""
        return self.headers.get("connection") == "close"


class RawClient:
    """One connection to 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._writer.transport.abort()

    async def send(self, *pieces: bytes) -> None:
        """Send `pieces`; returns when the network has taken them."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    def pause(self) -> None:
        """Read nothing any more."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # every socket's transport has it

    def resume(self) -> None:
        """Read again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above

    async def answer(self) -> Answer:
        """Read one response."""
        async with asyncio.timeout(PATIENCE):
            head = await self._reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            headers = {}
            for line in lines:
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
            return Answer(int(first.split()[1]), headers, body)

    async def ask(self, *pieces: bytes) -> Answer:
        await self.send(*pieces)
        return await self.answer()

    async def rest(self) -> bytes:
        """Read until the server closes.

        Raises:
            ConnectionResetError: it did so in a way that may have cost us an answer.
        """
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()


def post(body: bytes, *headers: str, path: str = "/v1/traces", content_type: str = "application/x-protobuf") -> bytes:
    """A request in one piece; without a Content-Length where `headers` name a Transfer-Encoding."""
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-type: {content_type}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
