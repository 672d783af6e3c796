"""How long clients wait for their acknowledgement, with the queue on disk at half of what it takes."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Literal

from tests.support.bench.compare import CLIENTS, bodies
from tests.support.bench.gateways import DISK, port_of
from tests.support.bench.load import load
from tests.support.bench.payload import request
from tests.support.bench.sink import Sink

__all__ = ["Latency", "acknowledging", "sync_milliseconds"]

_SPANS = 512
"""A request of an SDK's BatchSpanProcessor."""


@dataclass(frozen=True, slots=True)
class Latency:
    """From the request to its answer, in milliseconds."""

    transport: Literal["http", "grpc"]
    rate: float
    """Requests a second."""
    requests: int
    p50: float
    p99: float
    p999: float

    def __str__(self) -> str:
        return f"{self.transport}, {self.rate:.0f} requests a second: p99 {self.p99:.1f} ms, median {self.p50:.1f} ms"


def sync_milliseconds(directory: Path, times: int = 100) -> tuple[float, float]:
    """How long the disk takes to keep a request that is written to its end: half within, and 99 % within."""
    body, took = request(_SPANS), []
    with (directory / "synced").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(body)
            began = time.monotonic()
            os.fdatasync(file.fileno())
            took.append(1000 * (time.monotonic() - began))
    points = quantiles(took, n=100, method="inclusive")
    return points[49], points[98]


async def acknowledging(directory: Path, seconds: float) -> AsyncIterator[Latency]:
    """Find for each transport how much the service takes, then send half of that, evenly."""
    files = bodies(directory, [_SPANS])
    async with Sink(directory, forget=True) as sink, DISK.make(directory / "gateway", sink.endpoint) as process:
        for transport in DISK.transports:
            body, port = files[transport, _SPANS], port_of(process, transport)
            most = await load(transport, port, body, min(3.0, seconds), CLIENTS)
            await sink.quiet(60)
            rate = most.requests / most.seconds / 2
            took = await _evenly(transport, port, body, seconds, rate, directory)
            await sink.quiet(60)
            if len(took) < 2:
                raise RuntimeError(f"{transport}: {len(took)} requests were answered\n{process.log}")
            points = quantiles(took, n=1000, method="inclusive")
            yield Latency(transport, rate, len(took), points[499], points[989], points[998])
        process.kill()


async def _evenly(
    transport: Literal["http", "grpc"], port: int, body: Path, seconds: float, rate: float, directory: Path
) -> list[float]:
    """How long each request took of clients that send in turn; those of one h2load would send all at the same time."""

    async def client(number: int) -> list[float]:
        await asyncio.sleep(number / rate)
        file = directory / f"{transport}-{number}"
        answered = await load(transport, port, body, seconds, 1, rate=rate / CLIENTS, times=file)
        return answered.milliseconds

    clients = await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return [milliseconds for took in clients for milliseconds in took]
