"""The service for a long time under a steady load, with a destination that goes away now and then."""

import asyncio
import os
import re
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from math import isnan, nan
from pathlib import Path
from statistics import fmean, linear_regression, quantiles

import aiohttp
import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.memory import own_memory
from tests.support.patience import PATIENCE
from tests.support.scrape import Scrape
from tests.support.service import Service

__all__ = ["JUDGED", "Report", "Sample", "Trend", "soak", "trends"]

_ITEMS = 50
"""In each request."""
_CLIENTS = [(signal, transport) for signal in Signal for transport in ("http", "grpc")]
_FILLER = "x" * 200
_SHORTEST = 60.0
_MIB = 1 << 20


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
    queued_items: int
    p50_ms: float
    """From a request to its success; not a number where there was none."""
    p99_ms: float
    cpu_percent: float
    """Of one core."""
    accepted_per_second: float
    """Items that clients were told are kept."""
    delivered_per_second: float
    refused: int
    """Requests."""
    away: bool
    """Whether the destination is."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How the lowest values of a figure changed over the time for which it is judged."""

    name: str
    mean: float
    rise: float
    """The slope of the line of least squares, times the time."""
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
    lost: int = 0
    refused: int = 0


JUDGED: dict[str, tuple[float, float]] = {
    "memory_bytes": (0.05, 2 * _MIB),
    "descriptors": (0.05, 2),
    "threads": (0.05, 3),  # pools fill up by and by
    "file_bytes": (0.25, 4 * _MIB),  # as large as the largest backlog until now
    "p50_ms": (0.5, 5),
}
"""Which figures have to be flat: they may rise by a part of their mean, or by so much, whichever is more."""


def trends(samples: Sequence[Sample], period: int) -> list[Trend]:
    """How the lowest value of each period changed, after two periods in which everything finds its size.

    An outage and other work on the machine make a figure higher for a while; what grows raises the lowest value too.
    A period is so many samples. A soak of less than a minute, or of four periods, tells nothing, and has none.
    """
    if samples[-1].seconds < _SHORTEST or len(samples) < 4 * period:
        return []
    found = []
    for name, (part, least) in JUDGED.items():
        lowest = []
        for first in range(2 * period, len(samples) - period + 1, period):
            seen = [float(getattr(sample, name)) for sample in samples[first : first + period]]
            lowest.append((samples[first].seconds, min((value for value in seen if not isnan(value)), default=nan)))
        times, values = zip(*lowest, strict=True)
        rise = linear_regression(times, values).slope * (times[-1] - times[0])
        mean = fmean(values)
        found.append(Trend(name, mean, rise, max(part * mean, least)))
    return found


async def soak(
    directory: Path, seconds: float, rate: float, interval: float, tell: Callable[[Sample], None] = lambda _: None
) -> Report:
    """Load a service for `seconds` with `rate` items a second, and look at it every `interval` seconds.

    Its queue is in `directory`. Its destination is away for the last sixth of each minute, or of a fifth of the time.
    """
    report = Report(max(6, round(min(60, seconds / 5) / interval)))
    async with Backend() as backend:
        exporter = {"endpoint": backend.http_endpoint}
        books = _Books(backend, report)
        async with Service(directory, {"exporter": exporter}) as service:
            observer = _Observer(service, directory / "queue" / "data.mdb", books)
            async with _Clients(service, rate, books):
                began = time.monotonic()
                while time.monotonic() - began < seconds:
                    away = len(report.samples) % report.period >= report.period * 5 // 6
                    await (backend.stop() if away else backend.start())
                    await asyncio.sleep(interval)
                    report.samples.append(await observer.look(time.monotonic() - began, away=away))
                    tell(report.samples[-1])
            await backend.start()
            await service.settled(lambda s: all(s.books(signal).queued == 0 for signal in Signal), "all is delivered")
        books.balance()
    report.lost = sum(len(numbers) for numbers in books.acknowledged.values())
    return report


class _Books:
    """What was acknowledged or arrived, by identity, until it did both."""

    def __init__(self, backend: Backend, report: Report) -> None:
        self._backend = backend
        self.report = report
        self.acknowledged: dict[Signal, set[int]] = {signal: set() for signal in Signal}
        self._arrived: dict[Signal, set[int]] = {signal: set() for signal in Signal}
        self.latencies: list[float] = []
        """Of the requests that were acknowledged since these were taken."""

    def acknowledge(self, signal: Signal, numbers: range, seconds: float) -> None:
        self.report.acknowledged += len(numbers)
        self.latencies.append(seconds)
        self.acknowledged[signal].update(numbers)

    def balance(self) -> None:
        """Take in what the destination took since, and let it go, so that nothing grows here."""
        taken = self._backend.taken.copy()
        for record in (self._backend.taken, self._backend.requests, self._backend.abandoned):
            record.clear()
        for request in taken:
            numbers = list(_numbers_in(request.signal, request.body))
            self.report.delivered += len(numbers)
            self._arrived[request.signal].update(numbers)
        for signal in Signal:
            both = self.acknowledged[signal] & self._arrived[signal]
            self.acknowledged[signal] -= both
            self._arrived[signal] -= both


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

            async def send(body: bytes) -> bool:
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    return answer.status == 200

            await self._run(signal, send)

    async def _run_grpc(self, signal: Signal) -> None:
        async with grpc.aio.insecure_channel(self._service.grpc_target) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(signal.method)

            async def send(body: bytes) -> bool:
                await call(body, timeout=PATIENCE)
                return True

            await self._run(signal, send)

    async def _run(self, signal: Signal, send: Callable[[bytes], Awaitable[bool]]) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            first = next(self._numbers)
            body = _make(signal, first)
            began = time.monotonic()
            try:
                taken = await send(body)
            except (aiohttp.ClientError, OSError, grpc.aio.AioRpcError):
                taken = False
            now = time.monotonic()
            if taken:
                self._books.acknowledge(signal, range(first, first + _ITEMS), now - began)
            else:
                self._books.report.refused += 1
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
        latencies, self._books.latencies = self._books.latencies, []
        cuts = quantiles(latencies, n=100) if len(latencies) > 1 else [nan] * 99
        return Sample(
            seconds=round(seconds, 2),
            memory_bytes=own_memory(self._service.pid),
            descriptors=len([*(process / "fd").iterdir()]),
            threads=int(re.findall(r"Threads:\s+(\d+)", (process / "status").read_text())[0]),
            file_bytes=self._file.stat().st_size,
            used_bytes=int(scrape.total("otlp_queue_bytes")),
            queued_items=sum(scrape.books(signal).queued for signal in Signal),
            p50_ms=round(cuts[49] * 1000, 2),
            p99_ms=round(cuts[98] * 1000, 2),
            cpu_percent=round(100 * (self._last[1] - cpu) / passed, 1),
            accepted_per_second=round((report.acknowledged - acknowledged) / passed, 1),
            delivered_per_second=round((report.delivered - delivered) / passed, 1),
            refused=report.refused,
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
