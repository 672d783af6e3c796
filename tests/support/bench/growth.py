"""What a span costs the service when something grows: requests, clients, the backlog on disk, an outage.

With the queue on disk. Each cost is that of all of the process, in microseconds of processor time for a span.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.request import Signal
from tests.support.bench.clocks import cpu_seconds, peak_memory
from tests.support.bench.compare import bodies, measure
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
_STEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Point:
    """The cost of a span at one size of requests, or with so many clients."""

    at: int
    transport: str
    cpu_us: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Depth:
    """The costs while the backlog has about so many bytes."""

    bytes: float
    """Of requests, in the middle of what came in and went out."""
    in_us: float
    """To keep a span, with the destination away."""
    out_us: float
    """To deliver one that is kept, with no clients."""
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Outage:
    """The cost of a span, over an outage of so many seconds and its end."""

    seconds: float
    cpu_us: float
    memory_bytes: int


async def by_size(directory: Path, sizes: Sequence[int], seconds: float, say: Callable[[str], object]) -> list[Point]:
    """Requests of more and more spans."""
    return await _points(directory, [(size, size, 16) for size in sizes], seconds, say, "spans a request")


async def by_clients(
    directory: Path, clients: Sequence[int], seconds: float, say: Callable[[str], object]
) -> list[Point]:
    """More and more connections."""
    return await _points(directory, [(number, _FEW_SPANS, number) for number in clients], seconds, say, "clients")


async def _points(
    directory: Path, runs: Sequence[tuple[int, int, int]], seconds: float, say: Callable[[str], object], what: str
) -> list[Point]:
    files = bodies(directory, {spans for _, spans, _ in runs})
    points = []
    async with Sink(directory) as sink, DISK.make(directory / "gateway", sink.endpoint) as process:
        for at, spans, clients in runs:
            for transport in DISK.transports:
                body = files[transport, spans]
                cell = await measure(DISK, process, sink, transport, spans, body, seconds, clients)
                points.append(Point(at, transport, cell.cpu_us_per_span, cell.memory_bytes))
                say(f"{at} {what}, {transport}: {cell.cpu_us_per_span:.2f} us a span")
    return points


async def by_depth(
    directory: Path, deepest: float, steps: int, patience: float, say: Callable[[str], object]
) -> list[Depth]:
    """Fill the queue on disk to `deepest` bytes, in so many steps, and let it go.

    Less than that where the disk has not three times the room, or filling takes longer than `patience` seconds.
    """
    body = bodies(directory, [_SPANS])["http", _SPANS]
    free = shutil.disk_usage(directory).free
    if deepest > free / 3:
        say(f"the disk has {free / _GIB:.0f} GiB: no deeper than a third of it")
        deepest = free / 3
    size = body.stat().st_size
    step = int(deepest / steps / size) * _SPANS
    queue = {"max_bytes": int(deepest * _ROOM) + 64 * _MIB}
    sink = Sink(directory, forget=True)
    make = ours({"queue": queue, "exporter": {"endpoint": sink.endpoint, "retry": SOON}})
    service = make(directory / "gateway", sink.endpoint)
    depths: list[Depth] = []
    going_in: list[tuple[float, int]] = []
    began = time.monotonic()
    async with service:
        reached = 0
        for number in range(1, steps + 1):
            if time.monotonic() - began > patience:
                say(f"no deeper: {patience:.0f} s are over")
                break
            async with peak_memory(service.pid) as peak:
                before, cpu = await _books(service), cpu_seconds(service.pid)
                await _fill(service, body, step * number)
                used, after = cpu_seconds(service.pid) - cpu, await _books(service)
            going_in.append((1e6 * used / (after.accepted - before.accepted), peak.bytes))
            reached = after.queued
            say(f"{reached / _SPANS * size / _GIB:.2f} GiB deep: {going_in[-1][0]:.2f} us to keep a span")
        try:
            await sink.back()
            for number in range(len(going_in), 0, -1):
                async with peak_memory(service.pid) as peak:
                    before, cpu = await _books(service), cpu_seconds(service.pid)
                    await _until_queued(service, step * (number - 1))
                    used, after = cpu_seconds(service.pid) - cpu, await _books(service)
                spent, memory = going_in[number - 1]
                out = 1e6 * used / (after.sent - before.sent)
                middle = (before.queued + after.queued) / 2 / _SPANS * size
                depths.append(Depth(middle, spent, out, max(memory, peak.bytes)))
                say(f"from {before.queued / _SPANS * size / _GIB:.2f} GiB down: {out:.2f} us to deliver a span")
        finally:
            sink.kill()
    return depths[::-1]


async def by_outage(
    directory: Path, outages: Sequence[float], before: float, say: Callable[[str], object]
) -> list[Outage]:
    """The same load, while the destination is away for longer and longer, from `before` seconds on."""
    body = bodies(directory, [_FEW_SPANS])["http", _FEW_SPANS]
    found = []
    for n, seconds in enumerate(outages):
        home = directory / str(n)
        home.mkdir()
        sink = Sink(home, forget=True)
        make = ours({"exporter": {"endpoint": sink.endpoint, "retry": SOON}, "queue": {"max_bytes": 4 * _GIB}})
        async with sink, make(home / "gateway", sink.endpoint) as service, peak_memory(service.pid) as peak:
            cpu = cpu_seconds(service.pid)
            length = before + seconds + _AFTER_SECONDS
            sending = asyncio.create_task(load("http", service.port, body, length, 16, rate=_PER_SECOND))
            if seconds:
                await asyncio.sleep(before)
                sink.away()
                await asyncio.sleep(seconds)
                await sink.back()
            await sending
            await _until_queued(service, 0)
            used, books = cpu_seconds(service.pid) - cpu, await _books(service)
        found.append(Outage(seconds, 1e6 * used / books.sent, peak.bytes))
        say(f"away for {seconds:g} s: {found[-1].cpu_us:.2f} us a span, {books.sent} spans")
    return found


async def _books(service: Service) -> Books:
    return (await service.metrics()).books(Signal.TRACES)


async def _fill(service: Service, body: Path, spans: int) -> None:
    """Send until the queue has about so many spans."""
    clock = time.monotonic
    end, began, had = clock() + _STEP_SECONDS, clock(), (await _books(service)).queued
    seconds, queued = 0.5, had
    while queued < spans and clock() < end:
        await load("http", service.port, body, seconds, 16)
        queued = (await _books(service)).queued
        per_second = max(1.0, (queued - had) / (clock() - began))
        seconds = min(10.0, max(0.1, (spans - queued) / per_second))


async def _until_queued(service: Service, spans: int) -> None:
    """Wait until no more than so many spans are in the queue."""
    async with asyncio.timeout(_EMPTY_SECONDS):
        while (await _books(service)).queued > spans:  # noqa: ASYNC110 - another process cannot set our event
            await asyncio.sleep(_LOOK_SECONDS)
