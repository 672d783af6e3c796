"""How long clients wait for their acknowledgement, with the queue on disk at half of what it takes."""

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
            half = await load(transport, port, body, seconds, CLIENTS, rate=rate, times=directory / transport)
            await sink.quiet(60)
            if len(half.milliseconds) < 2:
                raise RuntimeError(f"{transport}: {len(half.milliseconds)} requests were answered\n{process.log}")
            points = quantiles(half.milliseconds, n=1000, method="inclusive")
            yield Latency(transport, rate, len(half.milliseconds), points[499], points[989], points[998])
        process.kill()
