"""Gateways side by side: spans that arrive for a second of the gateway's processor time, memory, start, idling."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from tests.support.bench.clocks import cpu_seconds, peak_memory
from tests.support.bench.gateways import Gateway, port_of
from tests.support.bench.load import load
from tests.support.bench.payload import framed, request
from tests.support.bench.sink import Sink
from tests.support.collector import Collector
from tests.support.memory import own_memory
from tests.support.service import Service

__all__ = ["CLIENTS", "SIZES", "Cell", "Standing", "bodies", "compare", "measure", "stand"]

SIZES = (1, 100, 512)
"""Spans a request."""
CLIENTS = 16
_DRAIN_SECONDS = 120.0
"""How long what was taken may need to arrive."""
_SETTLE_SECONDS = 2.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Cell:
    """One gateway, one transport, one size of requests, one round."""

    gateway: str
    transport: Literal["http", "grpc"]
    spans: int
    """In each request."""
    requests: int
    """Answered 200."""
    others: int
    arrived: int
    """Spans."""
    cpu_seconds: float
    """Of the gateway, from before the first request until nothing had arrived for a second."""
    seconds: float
    """For which clients sent."""
    memory_bytes: int
    """The most RssAnon + RssShmem meanwhile."""

    @property
    def spans_per_cpu_second(self) -> float:
        return self.arrived / self.cpu_seconds if self.cpu_seconds else 0.0

    @property
    def cpu_us_per_span(self) -> float:
        return 1e6 * self.cpu_seconds / self.arrived

    @property
    def lost(self) -> int:
        """Spans of requests that were answered 200; a refusal over gRPC is one, too."""
        return max(0, self.requests * self.spans - self.arrived)

    def __str__(self) -> str:
        return (
            f"{self.gateway:35} {self.transport:4} {self.spans:5} spans a request, {self.requests:7} requests, "
            f"{self.others} refused, {self.arrived / max(1, self.requests * self.spans):7.2%} arrived: "
            f"{self.spans_per_cpu_second:9,.0f} spans a CPU second, {self.memory_bytes / _MIB:.0f} MiB"
        )

    @property
    def stuck(self) -> bool:
        """Whether the gateway took nothing, or did not pass it on."""
        return not self.arrived


@dataclass(frozen=True, slots=True)
class Standing:
    """What a gateway takes before it has anything to do."""

    gateway: str
    ready_cpu_seconds: float
    """Until it listens; the service's variants: until they are ready."""
    idle_percent: float
    """Of a core."""
    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.gateway:35} {self.ready_cpu_seconds:.3f} s to start, {self.idle_percent:.3f} % idle, "
            f"{self.memory_bytes / _MIB:.0f} MiB"
        )


def bodies(directory: Path, sizes: Iterable[int]) -> dict[tuple[str, int], Path]:
    """Files with requests of so many spans, by transport and size, in `directory`, which is made."""
    directory.mkdir(exist_ok=True)
    files = {}
    for size in sizes:
        body = request(size)
        for transport, content in (("http", body), ("grpc", framed(body))):
            file = files[transport, size] = directory / f"{transport}-{size}.bin"
            file.write_bytes(content)
    return files


async def measure(
    gateway: Gateway,
    process: Service | Collector,
    sink: Sink,
    transport: Literal["http", "grpc"],
    spans: int,
    body: Path,
    seconds: float,
    clients: int = CLIENTS,
) -> Cell:
    """Load a gateway that runs; all it does for that until the sink is quiet is its cost."""
    await sink.take_spans()
    async with peak_memory(process.pid) as peak:
        began = cpu_seconds(process.pid)
        answered = await load(transport, port_of(process, transport), body, seconds, clients)
        await sink.quiet(_DRAIN_SECONDS)
        used = cpu_seconds(process.pid) - began
    arrived = await sink.take_spans()
    return Cell(
        gateway.name, transport, spans, answered.requests, answered.others, arrived, used, answered.seconds, peak.bytes
    )


async def compare(directory: Path, gateways: Sequence[Gateway], rounds: int, seconds: float) -> AsyncIterator[Cell]:
    """Measure everything; the gateways in turn, so that the machine's moods meet them all."""
    files = bodies(directory, SIZES)
    for turn in range(rounds):
        for n, gateway in enumerate(gateways):
            home = directory / f"{turn}-{n}"
            home.mkdir()
            async with Sink(home) as sink:
                for transport in gateway.transports:
                    waiting = [*SIZES]
                    while waiting:
                        # One process for all sizes; another where it got stuck, as the Collector does now and then.
                        async with gateway.make(home / f"{transport}-{waiting[0]}", sink.endpoint) as process:
                            healthy = True
                            while waiting and healthy:
                                spans = waiting.pop(0)
                                body = files[transport, spans]
                                cell = await measure(gateway, process, sink, transport, spans, body, seconds)
                                yield cell
                                healthy = not cell.lost
                            process.kill()  # it has nothing left to drain


async def stand(
    directory: Path, gateways: Sequence[Gateway], times: int, idle_seconds: float
) -> AsyncIterator[Standing]:
    """What the start of each costs (the median of some), and then doing nothing, all at the same time."""
    ready: dict[str, list[float]] = {gateway.name: [] for gateway in gateways}
    for turn in range(times):
        async with AsyncExitStack() as stack:
            home = directory / f"start-{turn}"
            home.mkdir()
            sink = await stack.enter_async_context(Sink(home))
            processes = []
            for n, gateway in enumerate(gateways):
                process = await stack.enter_async_context(gateway.make(home / str(n), sink.endpoint))
                stack.callback(process.kill)
                ready[gateway.name].append(cpu_seconds(process.pid))
                processes.append(process)
            if turn == times - 1:
                await asyncio.sleep(_SETTLE_SECONDS)
                began = [cpu_seconds(process.pid) for process in processes]
                await asyncio.sleep(idle_seconds)
                for gateway, process, before in zip(gateways, processes, began, strict=True):
                    idle = (cpu_seconds(process.pid) - before) / idle_seconds
                    memory = own_memory(process.pid)
                    yield Standing(gateway.name, median(ready[gateway.name]), 100 * idle, memory)
