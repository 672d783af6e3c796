"""A destination that takes everything over OTLP/HTTP and counts the spans, as a process of its own.

    python -m tests.support.bench.sink PORT

It keeps the bodies and looks into them when it is asked, so that it does little while a gateway is measured:

    GET /seen     how many bodies came so far
    GET /spans    how many spans came since this was asked last

With ``--forget`` it only takes: for backlogs that are larger than memory.
"""

import argparse
import asyncio
import gzip
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self

import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.service import COMMAND, clean_environment

__all__ = ["Sink", "spans_in"]

_QUIET_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_LIMIT = 1 << 20


class Sink(Process):
    """The process, from entering to leaving; `port` stays the same while it is away and back."""

    def __init__(self, directory: Path, *, forget: bool = False) -> None:
        self.port = free_port()
        command = [COMMAND[0], "-m", "tests.support.bench.sink", str(self.port), *(["--forget"] if forget else [])]
        super().__init__(command, directory, clean_environment(directory))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def back(self) -> None:
        """Serve, or serve again."""
        self.spawn()
        await self.until(self._serves, "the sink listens")

    def away(self) -> None:
        """Be gone: connections are cut, and new ones are refused."""
        self.kill()

    async def quiet(self, patience: float) -> bool:
        """Wait until nothing came for a second; False where it did not end in `patience` seconds."""
        clock = asyncio.get_running_loop().time
        seen, since, end = -1, clock(), clock() + patience
        while clock() < end:
            now = await self._ask("/seen")
            if now != seen:
                seen, since = now, clock()
            elif clock() - since >= _QUIET_SECONDS:
                return True
            await asyncio.sleep(_LOOK_SECONDS)
        return False

    async def take_spans(self) -> int:
        """How many spans came since the last time."""
        return await self._ask("/spans")

    async def _ask(self, path: str) -> int:
        return await asyncio.to_thread(_get, self.port, path)

    async def _serves(self) -> bool:
        try:
            await self._ask("/seen")
        except (OSError, ValueError):  # nobody listens, or somebody else on the same port
            return False
        return True

    async def __aenter__(self) -> Self:
        await self.back()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _get(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return int(connection.getresponse().read())
    finally:
        connection.close()


def spans_in(bodies: list[bytes]) -> int:
    """How many spans requests hold, gzipped or not."""
    spans = 0
    for body in bodies:
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        spans += sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
    return spans


class _Bodies:
    """What came."""

    def __init__(self, *, forget: bool) -> None:
        self._forget = forget
        self._kept: list[bytes] = []
        self._seen = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                answer = await self._exchange(reader)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever it was has gone
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.startswith(b"get /spans"):
            bodies, self._kept = self._kept, []
            return b"%d" % spans_in(bodies)
        if head.startswith(b"get"):
            return b"%d" % self._seen
        body = await _chunks(reader) if b"\r\ntransfer-encoding: chunked" in head else await _whole(reader, head)
        self._seen += 1
        if not self._forget:
            self._kept.append(body)
        return b""


async def _whole(reader: asyncio.StreamReader, head: bytes) -> bytes:
    return await reader.readexactly(int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readuntil(b"\r\n")
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)


async def _run(port: int, *, forget: bool) -> None:
    server = await asyncio.start_server(_Bodies(forget=forget).serve, "127.0.0.1", port, limit=_LIMIT)
    await server.serve_forever()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("port", type=int)
    parser.add_argument("--forget", action="store_true", help="keep nothing, count no spans")
    options = parser.parse_args()
    uvloop.run(_run(options.port, forget=options.forget))


if __name__ == "__main__":
    _main()
