"""The service for a long time under a steady load, with a destination that goes away now and then."""

import asyncio
import os
import re
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations, count
from math import isnan, nan
from operator import attrgetter
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal
from app.settings import QueueSettings
from tests.support.backend import Backend
from tests.support.exchange import Hang, Success
from tests.support.memory import own_memory
from tests.support.patience import PATIENCE
from tests.support.scrape import Scrape
from tests.support.service import Service

__all__ = ["MAX_BYTES", "Report", "Sample", "Trend", "judged_seconds", "slope", "soak", "trends"]

MAX_BYTES = QueueSettings().max_bytes
"""Of the queue's file; the default."""

_ITEMS = 50
"""In each request."""
_CLIENTS = [(signal, transport) for signal in Signal for transport in ("http", "grpc")]
_FILLER = "x" * 200
_SHORTEST = 60.0
_WARM_UP = 2
"""How many periods pass until everything has found its size, and a third of the next, until their backlog is gone."""
_PEAK_SECONDS = 0.25
_USED = re.compile(r"^otlp_queue_bytes (\S+)$", re.MULTILINE)
_KIB, _MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment, and since the one before."""

    seconds: float
    """Since the beginning."""
    memory_bytes: int
    """RssAnon and RssShmem."""
    descriptors: int
    threads: int
    file_bytes: int
    """The queue's file."""
    used_bytes: int
    """What of it is taken."""
    peak_bytes: int
    """The most that was taken until now."""
    queued_items: int
    p50_ms: float
    """From a request to its success; not a number where there was none."""
    p99_ms: float
    cpu_percent: float
    """Of one core."""
    accepted_per_second: float
    """Items that clients were told are kept."""
    delivered_per_second: float
    failed: int
    """Requests that were refused, or broke, until now."""
    away: bool
    """Whether the destination is."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure changed over the time for which it is judged."""

    name: str
    level: float
    """What it was at first."""
    rise: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether it did not rise; to fall is no fault."""
        return self.rise <= self.allowed


@dataclass(slots=True)
class Report:
    """What came of it."""

    period: int
    """Samples from one outage of the destination to the next."""
    samples: list[Sample] = field(default_factory=list)
    acknowledged: int = 0
    delivered: int = 0
    """Different items that arrived."""
    repeated: int = 0
    """How many times an item arrived again. There is no reason for it: see `soak`."""
    lost: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Of requests that were not acknowledged, what they met."""
    dropped: int = 0
    """Items that the service says it dropped, or refused for good."""


def judged_seconds(samples: Sequence[Sample], period: int) -> float:
    """For how long figures are judged: from the end of the warm-up, two periods and a third, on.

    A period is so many samples. A soak of less than a minute, or of four periods, tells nothing: 0.
    """
    if samples[-1].seconds < _SHORTEST or len(samples) < 2 * _WARM_UP * period:
        return 0.0
    return samples[-1].seconds - samples[_WARM_UP * period + period // 3].seconds


def trends(samples: Sequence[Sample], period: int) -> list[Trend]:
    """What has to be flat, and how it changed in `judged_seconds`; nothing where these are none.

    What is compared is the lowest value of each period, without its first third, in which the backlog of an outage is
    delivered. An outage and other work on the machine make a figure higher for a while; what grows raises the lowest
    value too.
    """
    seconds = judged_seconds(samples, period)
    if not seconds:
        return []
    third = period // 3
    periods = [
        samples[begin + third : begin + period] for begin in range(_WARM_UP * period, len(samples) - period + 1, period)
    ]

    def lowest(figure: Callable[[Sample], float]) -> list[tuple[float, float]]:
        """Of each period, with the middle of its time."""
        found = [(median(sample.seconds for sample in each), [figure(sample) for sample in each]) for each in periods]
        return [(at, min(known)) for at, values in found if (known := [value for value in values if not isnan(value)])]

    def fitted(name: str, figure: Callable[[Sample], float], allowed: Callable[[float], float]) -> Trend:
        points = lowest(figure)
        level = points[0][1] if points else nan
        return Trend(name, level, slope(points) * seconds, allowed(level))

    def counted(name: str) -> Trend:
        """Not one more: what grows by one in all that time grows by hundreds in a month."""
        (_, first), *_, (_, last) = lowest(attrgetter(name))
        return Trend(name, first, last - first, 0)

    largest = max(samples[-1].peak_bytes, 1)
    return [
        fitted("memory_bytes", lambda s: s.memory_bytes, lambda level: min(0.02 * level, _MIB * seconds / 600)),
        counted("descriptors"),
        counted("threads"),
        # As large as it would be if the largest backlog of all had been there before: pages are used again.
        fitted(
            "file_bytes",
            lambda s: s.file_bytes * largest / max(s.peak_bytes, 1),
            lambda level: max(0.05 * level, 256 * _KIB),
        ),
        fitted("used_bytes", lambda s: s.used_bytes, lambda _: max(0.02 * largest, 256 * _KIB)),
        fitted("p50_ms", lambda s: s.p50_ms, lambda level: 0.25 * level),
    ]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By how much a figure rises in a second, by Theil and Sen: the median of the slopes between any two points.

    Two of ten points may be anything and do not change it by much.
    """
    slopes = [(after - before) / (later - at) for (at, before), (later, after) in combinations(points, 2)]
    return median(slopes) if slopes else nan


async def soak(
    directory: Path, seconds: float, rate: float, interval: float, tell: Callable[[Sample], None] = lambda _: None
) -> Report:
    """Load a service for `seconds` with `rate` items a second, and look at it every `interval` seconds.

    Its queue is in `directory`. Its destination is away for the last sixth of each minute, or of a fifth of the time.
    Before it goes it takes nothing any more until each answer that it gave was heard, so that nothing has a reason to
    arrive twice.
    """
    report = Report(max(6, round(min(60, seconds / 5) / interval)))
    async with Backend() as backend:
        exporter = {"endpoint": backend.http_endpoint}
        books = _Books(backend, report)

        def heard(scrape: Scrape) -> bool:
            books.balance()
            return sum(scrape.books(signal).sent for signal in Signal) == report.delivered

        async with Service(directory, {"exporter": exporter}) as service:
            observer = _Observer(service, directory / "queue" / "data.mdb", books)
            async with _Clients(service, rate, books), observer:
                began = time.monotonic()
                gone = False
                while time.monotonic() - began < seconds:
                    away = len(report.samples) % report.period >= report.period * 5 // 6
                    if away and not gone:
                        backend.otherwise = Hang()
                        await service.settled(heard, "every answer was heard")
                        await backend.stop()
                    elif gone and not away:
                        backend.otherwise = Success()
                        await backend.start()
                    gone = away
                    await asyncio.sleep(interval)
                    report.samples.append(await observer.look(time.monotonic() - began, away=away))
                    tell(report.samples[-1])
            backend.otherwise = Success()
            await backend.start()
            scrape = await service.settled(
                lambda s: all(s.books(signal).queued == 0 for signal in Signal), "all is delivered"
            )
            report.dropped = sum(scrape.books(signal).dropped + scrape.books(signal).dead for signal in Signal)
        books.balance()
    report.lost = sum(len(numbers) for numbers in books.acknowledged.values())
    return report


class _Books:
    """What was acknowledged or arrived, by identity, until it did both; and a bit for each item that arrived."""

    def __init__(self, backend: Backend, report: Report) -> None:
        self._backend = backend
        self.report = report
        self.acknowledged: dict[Signal, set[int]] = {signal: set() for signal in Signal}
        self._arrived: dict[Signal, set[int]] = {signal: set() for signal in Signal}
        self._ever = bytearray()
        self.latencies: list[float] = []
        """Of the requests that were acknowledged since these were taken."""

    def acknowledge(self, signal: Signal, numbers: range, seconds: float) -> None:
        self.report.acknowledged += len(numbers)
        self.latencies.append(seconds)
        self.acknowledged[signal].update(numbers)

    def balance(self) -> None:
        """Take in what the destination took since, and let it go, so that nothing but the bits grows here."""
        taken = self._backend.taken.copy()
        for record in (self._backend.taken, self._backend.requests, self._backend.abandoned):
            record.clear()
        for request in taken:
            for number in _numbers_in(request.signal, request.body):
                if self._is_new(number):
                    self.report.delivered += 1
                    self._arrived[request.signal].add(number)
                else:
                    self.report.repeated += 1
        for signal in Signal:
            both = self.acknowledged[signal] & self._arrived[signal]
            self.acknowledged[signal] -= both
            self._arrived[signal] -= both

    def _is_new(self, number: int) -> bool:
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._ever):
            self._ever.extend(bytes(place + 1 - len(self._ever) + _MIB))
        new = not self._ever[place] & bit
        self._ever[place] |= bit
        return new


class _Clients:
    """One for each signal and transport; each sends its next request when it is time and the last one was answered."""

    def __init__(self, service: Service, rate: float, books: _Books) -> None:
        self._service = service
        self._interval = _ITEMS * len(_CLIENTS) / rate
        self._books = books
        self._numbers = count(1, _ITEMS)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        for signal, transport in _CLIENTS:
            run = self._run_http if transport == "http" else self._run_grpc
            self._tasks.append(asyncio.create_task(run(signal)))
            await asyncio.sleep(self._interval / len(_CLIENTS))  # one after the other

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _run_http(self, signal: Signal) -> None:
        url, headers = self._service.http_url + signal.path, {"Content-Type": "application/x-protobuf"}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def send(body: bytes) -> str | None:
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    return None if answer.status == 200 else str(answer.status)

            await self._run(signal, send)

    async def _run_grpc(self, signal: Signal) -> None:
        async with grpc.aio.insecure_channel(self._service.grpc_target) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(signal.method)

            async def send(body: bytes) -> str | None:
                try:
                    await call(body, timeout=PATIENCE)
                except grpc.aio.AioRpcError as error:
                    return error.code().name
                return None

            await self._run(signal, send)

    async def _run(self, signal: Signal, send: Callable[[bytes], Awaitable[str | None]]) -> None:
        """`send` returns what was wrong, None if the request was acknowledged."""
        due = time.monotonic()
        while not self._stop.is_set():
            first = next(self._numbers)
            body = _make(signal, first)
            began = time.monotonic()
            try:
                wrong = await send(body)
            except (aiohttp.ClientError, OSError) as error:
                wrong = type(error).__name__
            now = time.monotonic()
            if wrong is None:
                self._books.acknowledge(signal, range(first, first + _ITEMS), now - began)
            else:
                self._books.report.failed[wrong] += 1
            due = max(due + self._interval, now)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), due - now)


class _Observer:
    """Looks at the service from outside, and at its metrics."""

    def __init__(self, service: Service, file: Path, books: _Books) -> None:
        self._service = service
        self._file = file
        self._books = books
        self._last = (time.monotonic(), self._cpu_seconds(), 0, 0)
        self._peak = 0

    async def __aenter__(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        """Look more often for how much the queue holds: the file follows the most of it."""
        while True:
            _, text = await self._service.ask("/metrics")
            if found := _USED.search(text):
                self._peak = max(self._peak, int(float(found[1])))
            await asyncio.sleep(_PEAK_SECONDS)

    async def look(self, seconds: float, *, away: bool) -> Sample:
        return self._compare(await self._service.law(), seconds, away=away)

    def _compare(self, scrape: Scrape, seconds: float, *, away: bool) -> Sample:
        self._books.balance()
        report, process = self._books.report, Path(f"/proc/{self._service.pid}")
        (then, cpu, acknowledged, delivered), self._last = (
            self._last,
            (time.monotonic(), self._cpu_seconds(), report.acknowledged, report.delivered),
        )
        passed = self._last[0] - then
        used = int(scrape.total("otlp_queue_bytes"))
        self._peak = max(self._peak, used)
        latencies, self._books.latencies = self._books.latencies, []
        cuts = quantiles(latencies, n=100) if len(latencies) > 1 else [nan] * 99
        return Sample(
            seconds=round(seconds, 2),
            memory_bytes=own_memory(self._service.pid),
            descriptors=len([*(process / "fd").iterdir()]),
            threads=int(re.findall(r"Threads:\s+(\d+)", (process / "status").read_text())[0]),
            file_bytes=self._file.stat().st_size,
            used_bytes=used,
            peak_bytes=self._peak,
            queued_items=sum(scrape.books(signal).queued for signal in Signal),
            p50_ms=round(cuts[49] * 1000, 2),
            p99_ms=round(cuts[98] * 1000, 2),
            cpu_percent=round(100 * (self._last[1] - cpu) / passed, 1),
            accepted_per_second=round((report.acknowledged - acknowledged) / passed, 1),
            delivered_per_second=round((report.delivered - delivered) / passed, 1),
            failed=report.failed.total(),
            away=away,
        )

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._service.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _make(signal: Signal, first: int) -> bytes:
    """A request of numbered items, from `first`."""
    numbers = range(first, first + _ITEMS)
    match signal:
        case Signal.TRACES:
            traces = ExportTraceServiceRequest()
            spans = traces.resource_spans.add().scope_spans.add().spans
            for number in numbers:
                span = spans.add(trace_id=bytes(15) + b"1", span_id=struct.pack(">Q", number), name=_FILLER)
                span.start_time_unix_nano, span.end_time_unix_nano = number, number + 1
            return traces.SerializeToString()
        case Signal.METRICS:
            metrics = ExportMetricsServiceRequest()
            metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name=_FILLER)
            for number in numbers:
                metric.gauge.data_points.add(time_unix_nano=number, as_double=number)
            return metrics.SerializeToString()
        case Signal.LOGS:
            logs = ExportLogsServiceRequest()
            records = logs.resource_logs.add().scope_logs.add().log_records
            for number in numbers:
                records.add(time_unix_nano=number).body.string_value = _FILLER
            return logs.SerializeToString()


def _numbers_in(signal: Signal, body: bytes) -> Iterator[int]:
    match signal:
        case Signal.TRACES:
            for traces in ExportTraceServiceRequest.FromString(body).resource_spans:
                for span in traces.scope_spans[0].spans:
                    yield span.start_time_unix_nano
        case Signal.METRICS:
            for metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for point in metrics.scope_metrics[0].metrics[0].gauge.data_points:
                    yield point.time_unix_nano
        case Signal.LOGS:
            for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                for record in logs.scope_logs[0].log_records:
                    yield record.time_unix_nano
