"""What the paths that every request takes cost, in processor time, as a multiple of fixed work in the same process.

A machine's moods meet both, so that the ratio hardly moves. Each is done by turns with its measure, and the least time
of each counts: whatever disturbs only adds. In a process of its own, because coverage would count here:

    python -m tests.support.price        prints them all
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.console.passing import Passing
from app.core.clock import SystemClock
from app.core.request import ExportRequest, Signal
from app.pipeline.admission import Admission
from app.queue import DiskQueue, LmdbStore
from app.queue.contract import Entry
from app.queue.shelf import Shelf
from app.receivers.decode import request_type
from app.receivers.handler import Handler
from app.receivers.http_app import Limits, OtlpApp
from app.receivers.http_bounds import Bounds, State
from app.receivers.http_connection import Connection
from app.receivers.http_server import HttpServer
from app.receivers.meter import Meter
from app.receivers.otlp_json import read_json
from app.telemetry.metrics import Metrics
from tests.support.bench.payload import request, request_json

__all__ = ["prices"]

_ROOT = Path(__file__).parents[2]
_ROUNDS = 150
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a disk has moods of its own
_MIB = 1 << 20
_SMALL, _LARGE = request(1), request(100)
_ITEMS = {Signal.TRACES: "spans", Signal.METRICS: "data points", Signal.LOGS: "records"}

Work = Callable[[], Awaitable[None]]


def prices() -> dict[str, float]:
    """Measure everything in a fresh process: by the name of the path, how many times its measure it costs."""
    uncovered = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-m", "tests.support.price"]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=_ROOT, env=uncovered, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


class _Nowhere(asyncio.Transport):
    """The client's side of a connection that there is none of."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4711) if name in {"peername", "sockname"} else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers += bytes(data).startswith(b"HTTP/1.1 200 ")

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class _Taken:
    async def consume(self, request: ExportRequest) -> None: ...


def _door(body: bytes, requests: int) -> Work:
    """From the bytes on a connection to its answer, for so many requests that come at once."""
    meter = Meter(Metrics("0"), "http")
    app = OtlpApp(Limits(16 * _MIB, 4 * _MIB, 64 * _MIB), Handler(_Taken(), meter), meter, _nobody)
    bounds = Bounds(max_connections=1000, header_timeout=10, body_timeout=30, max_connection_age=300)
    server = HttpServer(app, host="127.0.0.1", port=0, key="server.port", bounds=bounds)
    server.server_state = State(bounds)
    head = b"POST /v1/traces HTTP/1.1\r\nhost: localhost:8080\r\nuser-agent: client/1\r\naccept: */*\r\n"
    head += b"content-type: application/x-protobuf\r\ncontent-length: %d\r\n\r\n" % len(body)
    clients = [_Nowhere() for _ in range(requests)]
    connections = []
    for client in clients:
        connection = Connection(config=server.config, server_state=server.server_state, app_state={})
        connection.connection_made(client)
        connections.append(connection)

    async def work() -> None:
        for client, connection in zip(clients, connections, strict=True):
            client.answers = 0
            connection.data_received(head + body)
        while server.server_state.tasks:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)  # a turn of the loop, and no more
        assert all(client.answers == 1 for client in clients)

    return work


async def _nobody(*_: object) -> None:
    raise AssertionError("what is measured is OTLP's")


def _parsing(body: bytes, requests: int) -> Work:
    """The parse that the door has to do, alone."""

    async def work() -> None:
        for _ in range(requests):
            ExportTraceServiceRequest.FromString(body)

    return work


async def _interpreter() -> None:
    """Work of the kind that bookkeeping is: calls, attributes, dictionaries, small objects."""
    book: dict[int, _Line] = {}
    for n in range(4000):
        line = book.get(n & 127)
        if line is None:
            line = book[n & 127] = _Line(n)
        line.add(n, b"".join((b"a", b"b")))


class _Line:
    __slots__ = ("count", "size")

    def __init__(self, size: int) -> None:
        self.count = 0
        self.size = size

    def add(self, count: int, data: bytes) -> None:
        self.count += count
        self.size = max(self.size, len(data))


def _append(queue: DiskQueue, metrics: Metrics, requests: int, passing: Passing | None = None) -> Work:
    """Into the queue on disk and out of it again, for so many requests that come at once; `passing` looks on."""
    admission = Admission(queue, metrics, "http", delivered=False)
    entry = ExportRequest(Signal.TRACES, _SMALL, 1)

    async def work() -> None:
        if passing is not None:
            passing.forget()
            passing.look(Signal.TRACES)
            admission.tap = passing.tap
        await asyncio.gather(*(admission.consume(entry) for _ in range(requests)))
        while (lease := await queue.lease(Signal.TRACES, 4 * _MIB)) is not None:
            queue.settle(lease)
        await queue.committed()

    return work


def _merge(requests: int) -> Work:
    """So many requests to one batch."""
    shelf = Shelf(Signal.TRACES)

    async def work() -> None:
        shelf.add([Entry(n, 1, len(_SMALL), 0, _SMALL) for n in range(requests)])
        shelf.count(requests)
        shelf.forget(shelf.take(4 * _MIB))

    return work


def _json(signal: Signal, body: bytes) -> Work:
    """A request in JSON to checked and counted protobuf."""

    async def work() -> None:
        await read_json(signal, body)

    return work


def _json_format(signal: Signal, body: bytes) -> Work:
    """The same as far as protobuf's own reader of JSON does it."""
    kind = request_type(signal)

    async def work() -> None:
        json_format.Parse(body, kind()).SerializeToString()

    return work


async def _ratio(path: Work, measure: Work) -> float:
    spent: dict[Work, list[float]] = {path: [], measure: []}
    for _ in range(_ROUNDS):
        for work, times in spent.items():
            began = time.process_time()
            await work()
            times.append(time.process_time() - began)
    return min(spent[path]) / min(spent[measure])


async def _measure(directory: Path) -> dict[str, float]:
    metrics = Metrics("0")
    store = LmdbStore(directory, 256 * _MIB)
    queue = DiskQueue(
        store, max_bytes=256 * _MIB, memory_bytes=64 * _MIB, patience=1, clock=SystemClock(), metrics=metrics
    )
    async with queue:
        append = await _ratio(_append(queue, metrics, 64), _interpreter)
        watched = await _ratio(_append(queue, metrics, 64, Passing(SystemClock())), _interpreter)
    return {
        "a request of one span at the door": await _ratio(_door(_SMALL, 50), _interpreter),
        "a request of a hundred spans at the door": await _ratio(_door(_LARGE, 20), _parsing(_LARGE, 20)),
        **{
            f"a request of a hundred {item} in JSON": await _ratio(_json(signal, body), _json_format(signal, body))
            for signal, item in _ITEMS.items()
            for body in [request_json(signal, 100)]
        },
        "an append to the queue": append,
        "an append to the queue while somebody looks": watched,
        "a merge": await _ratio(_merge(2000), _interpreter),
    }


def _main() -> None:
    gc.collect()
    gc.freeze()
    gc.disable()
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as directory:
        print(json.dumps(asyncio.run(_measure(Path(directory)))))  # noqa: T201 - whoever started this reads it


if __name__ == "__main__":
    _main()
