"""What a span costs the service when something grows: requests, clients, the backlog on disk, an outage.

With the queue on disk. Each cost is that of all of the process, in microseconds of processor time for a span.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.request import Signal
from tests.support.bench.clocks import cpu_seconds, peak_memory
from tests.support.bench.compare import CLIENTS, bodies, measure
from tests.support.bench.gateways import DISK, ours
from tests.support.bench.load import load
from tests.support.bench.sink import Sink
from tests.support.scrape import Books
from tests.support.service import SOON, Service

__all__ = ["Depth", "Outage", "Point", "by_clients", "by_depth", "by_outage", "by_size"]

_GIB, _MIB = 1 << 30, 1 << 20
_SPANS = 512
"""In a request of a backlog."""
_FEW_SPANS = 100
"""In a request of many clients, and in an outage."""
_PER_SECOND = 200.0
"""Requests before, in and after an outage."""
_AFTER_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_ROOM = 1.25
"""Of the queue's bound to what is to lie in it: records take whole pages."""
_EMPTY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Point:
    """The cost of a span at one size of requests, or with so many clients."""

    what: str
    at: int
    transport: str
    cpu_us: float
    memory_bytes: int

    def __str__(self) -> str:
        return f"{self.at} {self.what}, {self.transport}: {self.cpu_us:.2f} us a span"


@dataclass(frozen=True, slots=True)
class Depth:
    """The costs on the last step to a backlog of so many bytes, and on the first down from there."""

    bytes: float
    """Of requests."""
    in_us: float
    """To keep a span, with the destination away."""
    out_us: float
    """To deliver one that is kept, with no clients."""
    memory_bytes: int

    def __str__(self) -> str:
        return f"{self.bytes / _GIB:.2f} GiB deep: {self.in_us:.2f} us to keep a span, {self.out_us:.2f} to deliver it"


@dataclass(frozen=True, slots=True)
class Outage:
    """The cost of a span, over an outage of so many seconds and its end."""

    seconds: float
    cpu_us: float
    memory_bytes: int

    def __str__(self) -> str:
        return f"away for {self.seconds:g} s: {self.cpu_us:.2f} us a span"


async def by_size(directory: Path, sizes: Sequence[int], seconds: float) -> AsyncIterator[Point]:
    """Requests of more and more spans."""
    async for point in _points(directory, [(size, size, CLIENTS) for size in sizes], seconds, "spans a request"):
        yield point


async def by_clients(directory: Path, clients: Sequence[int], seconds: float) -> AsyncIterator[Point]:
    """More and more connections."""
    async for point in _points(directory, [(number, _FEW_SPANS, number) for number in clients], seconds, "clients"):
        yield point


async def _points(
    directory: Path, runs: Sequence[tuple[int, int, int]], seconds: float, what: str
) -> AsyncIterator[Point]:
    files = bodies(directory, {spans for _, spans, _ in runs})
    async with Sink(directory) as sink, DISK.make(directory / "gateway", sink.endpoint) as process:
        for at, spans, clients in runs:
            for transport in DISK.transports:
                body = files[transport, spans]
                cell = await measure(DISK, process, sink, transport, spans, body, seconds, clients)
                yield Point(what, at, transport, cell.cpu_us_per_span, cell.memory_bytes)
        process.kill()


async def by_depth(directory: Path, deepest: float, steps: int, patience: float) -> AsyncIterator[Depth]:
    """Fill the queue on disk to `deepest` bytes, in so many steps, and let it go.

    Less than that where the disk has not three times the room, or filling takes longer than `patience` seconds.
    """
    body = bodies(directory, [_SPANS])["http", _SPANS]
    deepest = min(deepest, shutil.disk_usage(directory).free / 3)
    size = body.stat().st_size
    requests = int(deepest / steps / size)
    queue = {"max_bytes": int(deepest * _ROOM) + 64 * _MIB}
    sink = Sink(directory, forget=True)
    make = ours({"queue": queue, "exporter": {"endpoint": sink.endpoint, "retry": SOON}})
    end = time.monotonic() + patience
    async with make(directory / "gateway", sink.endpoint) as service:
        levels = [0]
        kept: list[tuple[float, int]] = []
        while len(kept) < steps and time.monotonic() < end:
            async with peak_memory(service.pid) as peak:
                before, cpu = await _books(service), cpu_seconds(service.pid)
                await load("http", service.port, body, patience, CLIENTS, requests=requests)
                used, after = cpu_seconds(service.pid) - cpu, await _books(service)
            kept.append((1e6 * used / (after.accepted - before.accepted), peak.bytes))
            levels.append(after.queued)
        try:
            await sink.back()
            for number in range(len(kept), 0, -1):
                async with peak_memory(service.pid) as peak:
                    before, cpu = await _books(service), cpu_seconds(service.pid)
                    await _until_queued(service, levels[number - 1])
                    used, after = cpu_seconds(service.pid) - cpu, await _books(service)
                spent, memory = kept[number - 1]
                out = 1e6 * used / (after.sent - before.sent)
                yield Depth(levels[number] / _SPANS * size, spent, out, max(memory, peak.bytes))
        finally:
            sink.kill()
        service.kill()


async def by_outage(directory: Path, outages: Sequence[float], before: float) -> AsyncIterator[Outage]:
    """The same load, while the destination is away for longer and longer, from `before` seconds on."""
    body = bodies(directory, [_FEW_SPANS])["http", _FEW_SPANS]
    for n, seconds in enumerate(outages):
        home = directory / str(n)
        home.mkdir()
        sink = Sink(home, forget=True)
        make = ours({"exporter": {"endpoint": sink.endpoint, "retry": SOON}, "queue": {"max_bytes": 4 * _GIB}})
        async with sink, make(home / "gateway", sink.endpoint) as service, peak_memory(service.pid) as peak:
            cpu = cpu_seconds(service.pid)
            length = before + seconds + _AFTER_SECONDS
            async with asyncio.TaskGroup() as group:
                group.create_task(load("http", service.port, body, length, CLIENTS, rate=_PER_SECOND))
                if seconds:
                    await asyncio.sleep(before)
                    sink.away()
                    await asyncio.sleep(seconds)
                    await sink.back()
            await _until_queued(service, 0)
            used, books = cpu_seconds(service.pid) - cpu, await _books(service)
            yield Outage(seconds, 1e6 * used / books.sent, peak.bytes)
            service.kill()


async def _books(service: Service) -> Books:
    return (await service.metrics()).books(Signal.TRACES)


async def _until_queued(service: Service, spans: int) -> None:
    """Wait until no more than so many spans are in the queue."""
    async with asyncio.timeout(_EMPTY_SECONDS):
        while (await _books(service)).queued > spans:  # noqa: ASYNC110 - another process cannot set our event
            await asyncio.sleep(_LOOK_SECONDS)
