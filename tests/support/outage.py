"""A destination that is away while clients send several times what the queue holds, and comes back."""

import asyncio
import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from app.core.request import Signal
from tests.support.flood import Plan, Result, flood, request_bytes, signal_of
from tests.support.memory import own_memory
from tests.support.scrape import Scrape
from tests.support.service import SOON, Service
from tests.support.tally import Tally

__all__ = ["CONCURRENCY", "FULL", "Arrival", "Drain", "Report", "displaced", "outage"]

CONCURRENCY = 10
"""Batches of a signal that are under way at once, at most: the default."""
FULL = "full: clients are told to come back"
"""The note in /health/ready."""
_FIRST_FLOOD, _SECOND_FLOOD, _THIRD_FLOOD, _FOURTH_FLOOD = (1 << bit for bit in range(32, 36))  # numbers of spans
_ANSWERS = math.ceil(math.log2(CONCURRENCY))
"""After so many as many batches as ever may be under way."""
_SAMPLE_SECONDS = 0.1
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch that came to the destination."""

    at: float
    """Seconds since the drain began."""
    signal: Signal
    in_flight: int
    """How many batches of the signal it had then, this one included."""
    taken: int
    """How many of the signal it had answered."""


@dataclass(slots=True)
class Drain:
    """How a full queue was emptied."""

    arrivals: list[Arrival] = field(default_factory=list)
    kept_bytes: int = 0
    """Bodies that were in the queue."""
    seconds: float = 0.0
    """From the first batch that came to the last that was answered."""
    full_speed: float = 0.0
    """Bytes a second from when each signal had so many answers that as many as ever may be under way, and one for each
    batch that was at the destination before, to the last."""

    @property
    def speed(self) -> float:
        """Bytes a second."""
        return self.kept_bytes / self.seconds

    @property
    def most_at_once(self) -> dict[Signal, int]:
        """How many batches of each signal were under way, at most."""
        return {
            signal: max(arrival.in_flight for arrival in self.arrivals if arrival.signal is signal)
            for signal in {arrival.signal for arrival in self.arrivals}
        }

    @property
    def ramps(self) -> bool:
        """Whether for each signal one batch went first, and each that was answered let one more go beside it or two."""
        return all(arrival.in_flight <= 2**arrival.taken for arrival in self.arrivals)

    def at_once(self, begin: float, end: float) -> int:
        """How many batches of one signal were under way at most, from `begin` to `end`."""
        return max((arrival.in_flight for arrival in self.arrivals if begin <= arrival.at < end), default=0)


@dataclass(slots=True)
class Report:
    """What came of it. Times are seconds since the clients of the outage began."""

    usual: Drain = field(default_factory=Drain)
    """A queue that was full although the destination was there all the while, and only slow to answer."""
    clients: Result = field(default_factory=Result)
    """Those of the outage."""
    health: list[tuple[float, int, str]] = field(default_factory=list)
    """What /health/ready said all the while: when, status and body."""
    back_at: float = 0.0
    """When the destination came back."""
    empty_at: float = 0.0
    """When the queue was empty."""
    drain: Drain = field(default_factory=Drain)
    restarted: Drain = field(default_factory=Drain)
    """The queue was full once more when the service was killed, and it was started where the destination is there."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    """RssAnon + RssShmem."""
    file: list[tuple[float, int]] = field(default_factory=list)
    """How large the queue's file was."""
    displaced: dict[Signal, int] = field(default_factory=dict)
    """See `displaced`."""
    acknowledged: int = 0
    """Requests, from the outage on."""
    lost: int = 0
    repeated: int = 0

    @property
    def first_refusal(self) -> float:
        """When a client was told for the first time that there was no room."""
        return min(at for at, answer in self.answers if answer in {"503", "UNAVAILABLE"})

    @property
    def answers(self) -> list[tuple[float, str]]:
        """When each request was answered, and how."""
        began = self.clients.ended_at - self.clients.seconds
        return [(sent_at + took - began, answer) for sent_at, took, answer, _ in self.clients.log]

    def account(self, clients: Result, tally: Tally) -> None:
        """Compare what clients were told with what arrived."""
        self.acknowledged += len(clients.acknowledged)
        self.lost += len(set(clients.acknowledged) - tally.arrived.keys())
        self.repeated += sum(times > 1 for times in tally.arrived.values())

    def memory_between(self, begin: float, end: float) -> list[int]:
        return [size for at, size in self.memory if begin <= at < end]


def displaced(log: Sequence[tuple[float, float, str, int]], batches: Sequence[Sequence[int]]) -> int:
    """By how many places a batch came before another that was in the queue earlier for certain, at most.

    A request was there before another for certain if it was acknowledged before the other was sent.

    Args:
        log: of requests of one signal, see `Result`.
        batches: the numbers of requests in each, in the order in which they came.
    """
    place = {number: turn for turn, batch in enumerate(batches) for number in batch}
    known = [(at, at + took, place[number]) for at, took, _, number in log if number in place]
    by_answer = sorted((answered, turn) for _, answered, turn in known)
    answered = [at for at, _ in by_answer]
    last = list(accumulate((turn for _, turn in by_answer), max))
    found = 0
    for sent_at, _, turn in known:
        if before := bisect_left(answered, sent_at):
            found = max(found, last[before - 1] - turn)
    return found


async def outage(
    directory: Path,
    bound: int,
    sent: int,
    *,
    batch_bytes: int,
    filler: int = 10,
    delay: float = 0.05,
    tell: Callable[[str], object] = lambda _: None,
) -> Report:
    """Send `sent` bytes and more into a queue whose file may have `bound`, then let the destination come back.

    Before, the queue is filled once while the destination is there and answers nothing, and drained, to compare with.
    Afterwards it is filled once more, and the service killed and started.
    Requests have about 4.5 kB times `filler`; each answer of the destination takes `delay` seconds.
    """
    report = Report()
    async with Tally() as tally:
        port, endpoint = tally.port, tally.endpoint
    settings: Mapping[str, Mapping[str, Any]] = {
        "exporter": {"endpoint": endpoint, "retry": SOON, "max_batch_bytes": batch_bytes, "timeout": "10m"},
        "queue": {"max_bytes": bound, "wait": "50ms"},
    }
    service = Service(directory, settings)
    async with service:
        plan = Plan(service.port, service.grpc_port, 48, 8, 8, None, 600, 0, filler=filler, every_signal=True)

        async def fill(tally: Tally) -> None:
            # So many answers that the destination is known to be well.
            await flood(directory, replace(plan, first=_FIRST_FLOOD, seconds=1))
            await _empty(service)
            tally.open.clear()
            await flood(directory, replace(plan, first=_SECOND_FLOOD, refusals=1))

        tally = Tally(port)
        async with tally:
            await fill(tally)
            tally.delay = delay

            async def open_it() -> None:
                tally.open.set()

            report.usual = await _drain(service, tally, open_it)
        tell(f"drained while the destination was there: {_speeds(report.usual)}")

        began = time.monotonic()
        watching = asyncio.create_task(_watch(service, directory / "queue" / "data.mdb", began, report))
        sending = replace(plan, first=_THIRD_FLOOD, back_off=False, log=True)
        report.clients = await flood(directory, replace(sending, requests=sent // _body_bytes(filler) + 1))
        tell(f"sent {report.clients.sent_bytes} bytes; answers {report.clients.answers}")

        tally = Tally(port, delay=delay)
        report.back_at = time.monotonic() - began
        async with tally:
            report.drain = await _drain(service, tally, _nothing)
            report.empty_at = time.monotonic() - began
        watching.cancel()
        tell(f"drained after the outage: {_speeds(report.drain)}")
        for signal, batches in tally.batches.items():
            own = [
                request
                for request in report.clients.log
                if request[2] in {"200", "OK"} and signal_of(request[3], every_signal=True) is signal
            ]
            report.displaced[signal] = displaced(own, batches)
        report.account(report.clients, tally)

        clients = await flood(directory, replace(plan, first=_FOURTH_FLOOD, refusals=1))
        service.kill()
        tally = Tally(port, delay=delay)
        async with tally:
            report.restarted = await _drain(service, tally, service.start)
        report.account(clients, tally)
        tell(f"drained after a restart: {_speeds(report.restarted)}")
    return report


async def _nothing() -> None:
    """It goes on by itself."""


async def _empty(service: Service) -> None:
    def nothing_waits(scrape: Scrape) -> bool:
        return all(scrape.books(signal).queued == 0 for signal in Signal)

    await service.settled(nothing_waits, "all is delivered")


async def _drain(service: Service, tally: Tally, begin: Callable[[], Awaitable[None]]) -> Drain:
    """Let it `begin`, and wait until the queue is empty.

    What a destination has that answers nothing yet counts as if it came then.
    """
    drain = Drain()
    before, began = tally.bytes, time.monotonic()
    waiting = {signal: tally.in_flight[signal] for signal in Signal}
    drain.arrivals = [Arrival(0.0, signal, number, 0) for signal in Signal for number in range(1, waiting[signal] + 1)]
    answered: list[tuple[float, int]] = [(0.0, 0)]
    answers = Counter(tally.taken)

    def moved(signal: Signal, *, came: bool) -> None:
        at = time.monotonic() - began
        if came:
            drain.arrivals.append(Arrival(at, signal, tally.in_flight[signal], tally.taken[signal] - answers[signal]))
        else:
            answered.append((at, tally.bytes - before))

    tally.moved = moved
    await begin()
    await _empty(service)
    drain.kept_bytes = tally.bytes - before
    first, (last, _) = drain.arrivals[0].at, answered[-1]
    drain.seconds = last - first
    full = max(
        next(
            # What was at the destination already had been merged and compressed before: that was no part of the drain.
            (a.at for a in drain.arrivals if a.signal is signal and a.taken >= max(waiting[signal], _ANSWERS)),
            last,
        )
        for signal in Signal
    )
    so_far = max(size for at, size in answered if at <= full)
    drain.full_speed = (drain.kept_bytes - so_far) / (last - full) if last > full else 0.0
    return drain


async def _watch(service: Service, file: Path, began: float, report: Report) -> None:
    while True:
        at = time.monotonic() - began
        report.memory.append((at, own_memory(service.pid)))
        report.file.append((at, file.stat().st_size))  # noqa: ASYNC240 - of a file that is in memory
        report.health.append((at, *await service.ask("/health/ready")))
        await asyncio.sleep(_SAMPLE_SECONDS)


def _body_bytes(filler: int) -> int:
    """How large the smallest request is."""
    return min(request_bytes(signal, filler) for signal in Signal)


def _speeds(drain: Drain) -> str:
    return (
        f"{drain.kept_bytes / _MIB:.0f} MiB in {drain.seconds:.1f} s, {drain.speed / _MIB:.0f} MiB/s; "
        f"{drain.full_speed / _MIB:.0f} MiB/s when {CONCURRENCY} batches of each signal may be under way"
    )
