"""Gateways side by side: spans that arrive for a second of the gateway's processor time, memory, start, idling."""

import asyncio
from collections.abc import Callable, Iterable
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
from tests.support.service import Service

__all__ = ["CLIENTS", "SIZES", "Cell", "Standing", "bodies", "compare", "measure", "stand", "tell"]

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
        return self.arrived / self.cpu_seconds

    @property
    def cpu_us_per_span(self) -> float:
        return 1e6 * self.cpu_seconds / self.arrived

    @property
    def lost(self) -> int:
        """Spans of requests that were answered 200; a refusal over gRPC is one, too."""
        return max(0, self.requests * self.spans - self.arrived)

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


async def compare(
    directory: Path, gateways: Iterable[Gateway], rounds: int, seconds: float, say: Callable[[str], object]
) -> list[Cell]:
    """Measure everything; the gateways in turn, so that the machine's moods meet them all."""
    files = bodies(directory, SIZES)
    cells = []
    for turn in range(rounds):
        for n, gateway in enumerate(gateways):
            home = directory / f"round-{turn}-{n}"
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
                                say(tell(cell))
                                cells.append(cell)
                                healthy = not cell.lost
    return cells


def tell(cell: Cell) -> str:
    """One line of what was measured."""
    return (
        f"{cell.gateway:35} {cell.transport:4} {cell.spans:5} spans a request, {cell.requests:7} requests, "
        f"{cell.others} refused, {cell.arrived / max(1, cell.requests * cell.spans):7.2%} arrived: "
        f"{cell.spans_per_cpu_second:9,.0f} spans a CPU second, {cell.memory_bytes / _MIB:.0f} MiB"
    )


async def stand(directory: Path, gateways: Iterable[Gateway], times: int, idle_seconds: float) -> list[Standing]:
    """What the start of each costs (the median of some), and then doing nothing."""
    found = []
    for n, gateway in enumerate(gateways):
        ready: list[float] = []
        idle, memory = 0.0, 0
        for turn in range(times):
            home = directory / f"stand-{n}-{turn}"
            home.mkdir()
            async with Sink(home) as sink, gateway.make(home / "gateway", sink.endpoint) as process:
                ready.append(cpu_seconds(process.pid))
                if turn == times - 1:
                    await asyncio.sleep(_SETTLE_SECONDS)
                    began = cpu_seconds(process.pid)
                    await asyncio.sleep(idle_seconds)
                    idle = (cpu_seconds(process.pid) - began) / idle_seconds
                    async with peak_memory(process.pid) as peak:
                        await asyncio.sleep(0)
                    memory = peak.bytes
        found.append(Standing(gateway.name, median(ready), 100 * idle, memory))
    return found
