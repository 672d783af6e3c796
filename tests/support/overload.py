"""Twice what the service can take, from many clients: what they see, what it costs, and what arrives.

Two ways of being overloaded: the processor is all taken, or the destination is slow and the queue full.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from app.core.request import Signal
from tests.support.flood import Plan, Result, flood, request_bytes
from tests.support.memory import own_memory
from tests.support.service import Service
from tests.support.tally import Tally

__all__ = ["KINDS", "Report", "overload"]

KINDS = ("processor", "queue")
MIB = 1 << 20
_APART = 1 << 32
_CAPACITY = 2 * MIB  # bytes a second that the slow destination takes
_SAMPLE_SECONDS = 0.25
_numbers = count(1, _APART)


@dataclass(slots=True)
class Most:
    """What the service takes over one transport when each client waits for its last answer."""

    rate: float = 0.0
    """Requests a second."""
    cost: float = 0.0
    """CPU seconds of the service for each."""


@dataclass(slots=True)
class Report:
    """What came of it."""

    kind: str
    http: Most = field(default_factory=Most)
    grpc: Most = field(default_factory=Most)
    capacity: float = 0.0
    """Requests a second that the slow destination takes; 0 where it is not slow."""
    flood: Result = field(default_factory=Result)
    """What the clients of the overload met."""
    cpu_seconds: float = 0.0
    """Of the service, while it lasted."""
    delivered: float = 0.0
    """Requests a second that arrived at the destination while it lasted."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since it began, and RssAnon + RssShmem."""
    after: Result = field(default_factory=Result)
    """What clients met that came right after it, with a quarter of what is possible."""
    lost: int = 0
    repeated: int = 0
    acknowledged: int = 0
    """Requests, before, while and after."""
    file_bytes: int = 0
    """How large the queue's file became."""

    @property
    def refused(self) -> dict[str, int]:
        """Answers that were no success."""
        return {answer: times for answer, times in self.flood.answers.items() if answer not in {"200", "OK"}}

    @property
    def asked(self) -> float:
        """How many times what is possible the clients were to send."""
        if self.capacity:
            return (self.flood.sent + self.flood.unsent) / self.flood.seconds / self.capacity
        return 2.0  # all that is possible over HTTP, and all that is possible over gRPC

    @property
    def goodput(self) -> float:
        """The part of what is possible that was done: where the destination is slow, of what that takes."""
        if self.capacity:
            return self.delivered / self.capacity
        http, grpc = (self.flood.answers.get(answer, 0) for answer in ("200", "OK"))
        return (http / self.http.rate + grpc / self.grpc.rate) / self.flood.seconds

    @property
    def thrift(self) -> float:
        """The part of its CPU time that would have done for what was acknowledged, had there been few clients."""
        http, grpc = (self.flood.answers.get(answer, 0) for answer in ("200", "OK"))
        return (http * self.http.cost + grpc * self.grpc.cost) / self.cpu_seconds

    def memory_between(self, begin: float, end: float) -> list[int]:
        return [size for at, size in self.memory if begin <= at < end]


async def overload(
    directory: Path,
    kind: str,
    seconds: float,
    *,
    probe: float = 3.0,
    http_clients: int = 200,
    grpc_clients: int = 80,
    tell: Callable[[str], object] = lambda _: None,
) -> Report:
    """Find what the service takes in `probe` seconds, ask for twice that for `seconds`, and see what comes after.

    gRPC clients have 16 requests at once each.
    """
    report = Report(kind)
    slow = kind == "queue"
    async with Tally(capacity=_CAPACITY if slow else None) as tally:
        settings: dict[str, dict[str, Any]] = {"exporter": {"endpoint": tally.endpoint}}
        if slow:
            settings["queue"] = {"max_bytes": "32MiB", "wait": "200ms"}
        service = Service(directory, settings)
        async with service:
            others = _keep_to_one_processor(service.pid)

            acknowledged: set[int] = set()

            async def clients(
                http: int, grpc: int, streams: int, rates: tuple[float, float] | None, lasting: float
            ) -> Result:
                ports = service.port, service.grpc_port
                plan = Plan(*ports, http, grpc, streams, rates, lasting, next(_numbers), cpus=others)
                result = await flood(directory, plan)
                report.acknowledged += len(result.acknowledged)
                acknowledged.update(result.acknowledged)
                return result

            async def delivered() -> None:
                """What is spent on a request is spent when it is delivered; a slow destination is not waited for."""
                if not slow:
                    await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")

            async def most(http: int, grpc: int) -> Most:
                used = _cpu_seconds(service.pid)
                result = await clients(http, grpc, 8, None, probe)
                await delivered()
                cost = (_cpu_seconds(service.pid) - used) / len(result.acknowledged)
                tell(f"{'HTTP' if http else 'gRPC'} alone: {_summary(result)}; {cost * 1e6:.0f} µs of CPU each")
                return Most(result.goodput, cost)

            report.http, report.grpc = await most(48, 0), await most(0, 8)
            rates = report.http.rate, report.grpc.rate
            if slow:
                report.capacity = _CAPACITY / request_bytes()
                rates = report.capacity, report.capacity

            used, arrived, began = _cpu_seconds(service.pid), tally.arrived.total(), time.monotonic()
            watching = asyncio.create_task(_watch(service.pid, report.memory))
            report.flood = await clients(http_clients, grpc_clients, 16, rates, seconds)
            report.delivered = (tally.arrived.total() - arrived) / (time.monotonic() - began)
            await delivered()
            report.cpu_seconds = _cpu_seconds(service.pid) - used
            watching.cancel()
            await service.law()
            tell(f"overloaded: {_summary(report.flood)}")

            report.after = await clients(16, 4, 4, (rates[0] / 8, rates[1] / 8), 2.0)
            tell(f"afterwards: {_summary(report.after)}")
            report.file_bytes = (directory / "queue" / "data.mdb").stat().st_size
            tally.capacity = None
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        report.lost = len(acknowledged - tally.arrived.keys())
        report.repeated = sum(times > 1 for times in tally.arrived.values())
    return report


def _summary(result: Result) -> str:
    middle, most, all_of_them = result.latencies
    return (
        f"{result.goodput:.0f}/s acknowledged in {1000 * middle:.0f} ms (half), {1000 * most:.0f} ms (99 of 100), "
        f"{1000 * all_of_them:.0f} ms (all); answers {result.answers}, {result.without_hint} without a hint"
    )


def _keep_to_one_processor(pid: int) -> tuple[int, ...]:
    """Give the service one processor to itself, so that its clients can send more than it takes; returns the others."""
    *others, own = sorted(os.sched_getaffinity(0))
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {own})
    return tuple(others)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _watch(pid: int, samples: list[tuple[float, int]]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        samples.append((loop.time() - began, own_memory(pid)))
        await asyncio.sleep(_SAMPLE_SECONDS)
