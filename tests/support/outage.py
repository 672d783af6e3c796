"""A destination that is away while clients send several times what the queue holds, and comes back."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from app.core.request import Signal
from tests.support.flood import SPANS, Plan, Result, flood, request_bytes
from tests.support.memory import own_memory
from tests.support.service import SOON, Service
from tests.support.tally import Tally

__all__ = ["Report", "outage"]

_FILLER = 10  # requests of 45 kB
_ANSWER_SECONDS = 0.05
_SAMPLE_SECONDS = 0.1


@dataclass(slots=True)
class Report:
    """What came of it. Times are seconds since the clients began."""

    sent_bytes: int = 0
    clients: Result = field(default_factory=Result)
    health: tuple[int, str] = (0, "")
    """What /health/ready said when it noted that the queue was full: status and body."""
    back_at: float = 0.0
    """When the destination came back."""
    empty_at: float = 0.0
    """When the queue was empty."""
    kept_bytes: int = 0
    """What the queue held when the destination came back."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    """RssAnon + RssShmem."""
    file: list[tuple[float, int]] = field(default_factory=list)
    """How large the queue's file was."""
    in_flight: list[tuple[float, int, int]] = field(default_factory=list)
    """Each time a request came to the destination: how many it had before it, and how many it had taken."""
    order: list[float] = field(default_factory=list)
    """Of each batch that was taken, in turn: when its requests were acknowledged, as a place among all (the median)."""
    lost: int = 0
    repeated: int = 0

    @property
    def displaced(self) -> int:
        """By how many places a batch was taken before or after its turn, at most."""
        turns = sorted(range(len(self.order)), key=self.order.__getitem__)
        return max(abs(place - turn) for place, turn in enumerate(turns))

    def at_once(self, begin: float, end: float) -> int:
        """How many requests the destination had before it at most, from `begin` to `end` seconds after it came back."""
        return max((n for at, n, _ in self.in_flight if begin <= at - self.back_at < end), default=0)


async def outage(
    directory: Path, bound: int, sent: int, *, batch_bytes: int, tell: Callable[[str], object] = lambda _: None
) -> Report:
    """Send `sent` bytes into a queue whose file may have `bound`, then let the destination come back.

    Each answer of the destination takes 50 ms.
    """
    report, size = Report(), request_bytes(_FILLER)
    async with Tally() as tally:
        port, endpoint = tally.port, tally.endpoint
    settings = {
        "exporter": {"endpoint": endpoint, "retry": SOON, "max_batch_bytes": batch_bytes},
        "queue": {"max_bytes": bound, "wait": "50ms"},
    }
    service = Service(directory, settings)
    async with service:
        began = time.monotonic()
        watching = asyncio.create_task(_watch(service.pid, directory / "queue" / "data.mdb", began, report))
        plan = Plan(service.port, service.grpc_port, 48, 8, 8, None, 600, 0, back_off=False, filler=_FILLER)
        report.clients = await flood(directory, replace(plan, requests=sent // size + 1))
        report.sent_bytes = report.clients.sent * size

        async def noted() -> bool:
            report.health = await service.ask("/health/ready")
            return "clients are told to come back" in report.health[1]

        await service.until(noted, "the note about the full queue")
        held = await service.law()
        report.kept_bytes = held.books(Signal.TRACES).queued // SPANS * size
        tell(f"sent {report.sent_bytes} bytes, {report.kept_bytes} of them kept; answers {report.clients.answers}")

        tally = Tally(port, delay=_ANSWER_SECONDS)
        tally.seen = lambda number: report.in_flight.append((time.monotonic() - began, number, len(tally.batches)))
        async with tally:
            report.back_at = time.monotonic() - began
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
            report.empty_at = time.monotonic() - began
        watching.cancel()
        acknowledged = {number: place for place, number in enumerate(report.clients.acknowledged)}
        report.order = [
            median(acknowledged[number] for number in batch if number in acknowledged) for batch in tally.batches
        ]
        report.lost = len(set(report.clients.acknowledged) - tally.arrived.keys())
        report.repeated = sum(times > 1 for times in tally.arrived.values())
    return report


async def _watch(pid: int, file: Path, began: float, report: Report) -> None:
    while True:
        at = time.monotonic() - began
        report.memory.append((at, own_memory(pid)))
        report.file.append((at, file.stat().st_size))  # noqa: ASYNC240 - of a file that is in memory
        await asyncio.sleep(_SAMPLE_SECONDS)
