"""Twice what the service can take, from many clients: what they see, what it costs, and what arrives.

Two ways of being overloaded: the processor is all taken, or the destination is slow and the queue full. What is
possible is measured first, by the same clients in smaller numbers, of which each waits for its answer.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from app.core.request import Signal
from tests.support.cpu_cgroup import CpuCgroup
from tests.support.flood import SPANS, Plan, Result, flood
from tests.support.memory import own_memory
from tests.support.service import Service
from tests.support.tally import Tally

__all__ = ["KINDS", "WELL", "Level", "Report", "overload"]

KINDS = ("processor", "queue")
WELL = {"200", "OK"}
"""The answers that say yes."""
MIB = 1 << 20
_APART = 1 << 32
_CAPACITY = 2 * MIB  # bytes a second that the slow destination takes
_QUEUE = 32 * MIB
_ASKED = 2.1
"""How many times what is possible clients are to send; somewhat less has to come of it."""
_LEVELS = (0.02, 0.1, 0.4)
"""Which parts of the clients measure what is possible: one by one."""
_STREAMS = 16
_WARM_UP = 1.0
"""Seconds that do not count, in which a queue that had a rest is full again, and what is delivered catches up."""
_SAMPLE_SECONDS = 0.25
_AT_ONCE_SECONDS = 1.0
_ORDINARY = 10.0  # requests a second over each transport
_AFTER_SECONDS = 3.0
_PART = 1 / 3
_numbers = count(1, _APART)


@dataclass(slots=True)
class Level:
    """What the service did for so many clients."""

    clients: int
    """Connections."""
    rate: float
    """Items acknowledged in a second."""
    http: float = 1.0
    """The part of the requests that came over HTTP."""
    per_cpu: float = 1.0
    """Items acknowledged, and delivered, for each CPU second of the service."""


@dataclass(slots=True)
class Report:
    """What came of it."""

    processors: float = 1.0
    """How many the service had."""
    levels: list[Level] = field(default_factory=list)
    """What smaller numbers of clients got, each of which sent its next request when the last was answered."""
    overloaded: Level = field(default_factory=lambda: Level(0, 0.0))
    """What the clients of the overload got."""
    flood: Result = field(default_factory=Result)
    """What they met."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since it began, and RssAnon + RssShmem."""
    ordinary: list[tuple[float, float, str]] = field(default_factory=list)
    """Of a client that sends ten requests a second over each transport, from before the end to three seconds after it:
    when each was sent, in seconds since the end; how many its answer took; and which that was."""
    lost: int = 0
    repeated: int = 0
    acknowledged: int = 0
    """Requests, before, while and after."""
    file_bytes: int = 0
    """How large the queue's file became."""

    @property
    def refused(self) -> dict[str, int]:
        """Answers that were no success."""
        return {answer: times for answer, times in self.flood.answers.items() if answer not in WELL}

    @property
    def most(self) -> Level:
        """What is possible: the best that was measured."""
        return max(self.levels, key=lambda level: level.rate)

    @property
    def wanted(self) -> float:
        """Items a second that clients sent, or would have if one of them had not been waiting for an answer."""
        return (self.flood.sent + self.flood.unsent) * SPANS / self.flood.seconds

    @property
    def asked(self) -> float:
        """How many times what is possible clients wanted."""
        return self.wanted / self.most.rate

    @property
    def goodput(self) -> float:
        """The part of what is possible that was acknowledged, in items a second."""
        return self.overloaded.rate / self.most.rate

    @property
    def thrift(self) -> float:
        """The same for each CPU second of the service: what other processes take of the clock's does not count."""
        return self.overloaded.per_cpu / max(level.per_cpu for level in self.levels)

    @property
    def recovered(self) -> float | None:
        """Seconds from the end until ordinary requests were acknowledged at once; None if they were not any more."""
        after = sorted(request for request in self.ordinary if request[0] >= 0)
        late = [
            (at + took, place)
            for place, (at, took, answer) in enumerate(after)
            if answer not in WELL or took > _AT_ONCE_SECONDS
        ]
        if not after or (late and late[-1][1] == len(after) - 1):
            return None
        return max((at for at, _ in late), default=0.0)

    def memory_between(self, begin: float, end: float) -> list[int]:
        return [size for at, size in self.memory if begin <= at < end]


async def overload(
    directory: Path,
    kind: str,
    seconds: float,
    *,
    probe: float = 3.0,
    http_clients: int = 200,
    grpc_clients: int = 50,
    levels: Sequence[float] = _LEVELS,
    tell: Callable[[str], object] = lambda _: None,
) -> Report:
    """Find what the service takes in `probe` seconds, ask for twice that for `seconds`, and see what comes after.

    `levels` are the parts of the clients that find it, one after the other; where the destination is slow, the last of
    them. gRPC clients have 16 requests at once. Where the processor is to be all taken, the service has a part of one,
    so that clients and destination, on another one, can do more than it can.
    """
    report = Report()
    slow = kind == "queue"
    settings: dict[str, dict[str, Any]] = {}
    if slow:
        settings["exporter"] = {"max_batch_bytes": "256KiB"}  # so that room is made little by little
        settings["queue"] = {"max_bytes": _QUEUE, "wait": "200ms"}
    async with AsyncExitStack() as stack:
        limit = None if slow else _limit(stack)
        tally = await stack.enter_async_context(Tally(capacity=_CAPACITY if slow else None))
        settings["exporter"] = settings.get("exporter", {}) | {"endpoint": tally.endpoint}
        service = await stack.enter_async_context(Service(directory, settings))
        if limit is not None:
            limit.add(service.pid)
            report.processors = _PART
        others = stack.enter_context(_apart(service.pid, whole=limit is None))
        acknowledged: set[int] = set()

        async def clients(http: int, grpc: int, **how: Any) -> Result:
            plan = Plan(service.port, service.grpc_port, http, grpc, _STREAMS, None, _WARM_UP + probe, next(_numbers))
            result = await flood(directory, replace(plan, cpus=others, warm_up=_WARM_UP, **how))
            report.acknowledged += len(result.acknowledged)
            acknowledged.update(result.acknowledged)
            return result

        async def crowd(part: float, **how: Any) -> tuple[Level, Result]:
            """Some of the clients, and what they got."""
            http, grpc = round(part * http_clients), round(part * grpc_clients)
            used = _cpu_seconds(service.pid)
            result = await clients(http, grpc, refused_first=slow, **how)
            if not slow:  # what a request costs is spent when it is delivered; a slow destination is not waited for
                await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
            used = _cpu_seconds(service.pid) - used
            over_http, over_grpc = (result.answers.get(answer, 0) for answer in ("200", "OK"))
            taken = over_http + over_grpc
            level = Level(http + grpc, result.goodput * SPANS, over_http / taken, taken * SPANS / used)
            tell(f"{_summary(level)}: {_met(result)}")
            return level, result

        if slow:
            await clients(48, 8, seconds=60.0, refusals=100)  # fill it
        for part in levels[-1:] if slow else levels:
            report.levels.append((await crowd(part))[0])
        most = report.most
        rates = tuple(_ASKED * most.rate * part / SPANS for part in (most.http, 1 - most.http))
        watching = asyncio.create_task(_watch(service.pid, report.memory))
        ordinary = asyncio.create_task(
            clients(4, 1, rates=(_ORDINARY, _ORDINARY), seconds=seconds + _AFTER_SECONDS, log=True)
        )
        report.overloaded, report.flood = await crowd(1.0, rates=rates, seconds=seconds)
        watching.cancel()
        report.ordinary = [(at - report.flood.ended_at, took, answer) for at, took, answer, _ in (await ordinary).log]
        await service.law()
        report.file_bytes = (directory / "queue" / "data.mdb").stat().st_size
        tally.capacity = None
        await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        report.lost = len(acknowledged - tally.arrived.keys())
        report.repeated = sum(times > 1 for times in tally.arrived.values())
    return report


def _summary(level: Level) -> str:
    return (
        f"{level.clients} clients: {level.rate:.0f} items/s, {level.http:.0%} of them over HTTP, "
        f"{1e6 / level.per_cpu:.1f} µs of CPU each"
    )


def _met(result: Result) -> str:
    middle, most, all_of_them = result.latencies
    return (
        f"acknowledged in {1000 * middle:.0f} ms (half), {1000 * most:.0f} ms (99 of 100), {1000 * all_of_them:.0f} ms "
        f"(all); answers {result.answers}, {result.without_hint} without a hint"
    )


def _limit(stack: AsyncExitStack) -> CpuCgroup | None:
    """A part of a processor; None where we may not make it."""
    try:
        return stack.enter_context(CpuCgroup(_PART))
    except OSError:
        return None


@contextmanager
def _apart(pid: int, *, whole: bool) -> Iterator[tuple[int, ...]]:
    """Keep this process from one processor; the others are told. Keep a process to that one, if it has the whole of it.

    Who has a part of one needs no keeping: a thread that waits for another's turn on one would be what is measured.
    """
    ours = os.sched_getaffinity(0)
    *others, own = sorted(ours)
    for thread in Path(f"/proc/{pid}/task").iterdir() if whole else ():
        os.sched_setaffinity(int(thread.name), {own})
    if others:
        os.sched_setaffinity(0, others)
    try:
        yield tuple(others)
    finally:
        os.sched_setaffinity(0, ours)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _watch(pid: int, samples: list[tuple[float, int]]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        samples.append((loop.time() - began, own_memory(pid)))
        await asyncio.sleep(_SAMPLE_SECONDS)
