"""Instrumented services: the OpenTelemetry SDK, with what it would export kept in memory."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanKind, set_span_in_context
from opentelemetry.util.types import AttributeValue

__all__ = ["Attributes", "Clock", "Memory", "Service"]

Attributes = Mapping[str, AttributeValue]
_MS = 1_000_000


class Clock:
    """The time of a story that is told afterwards: it ends about now."""

    def __init__(self, ms: int, scale: float = 1.0) -> None:
        """A story of `ms` milliseconds, slower or faster by `scale`."""
        self._scale = scale
        self._start_ns = time.time_ns() - int(ms * scale) * _MS

    def at(self, ms: float) -> int:
        """The time of this millisecond, in nanoseconds since the epoch."""
        return self._start_ns + int(ms * self._scale * _MS)

    def between(self, begin: float, end: float) -> tuple[int, int]:
        """The times of these milliseconds."""
        return self.at(begin), self.at(end)

    def seconds(self, ms: float) -> float:
        """How long so many milliseconds take here."""
        return ms * self._scale / 1000


class Memory:
    """What services would have exported since they were last asked."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.readers: list[InMemoryMetricReader] = []
        self.span_processor = SimpleSpanProcessor(self._spans)
        self.log_processor = SimpleLogRecordProcessor(self._logs)

    def spans(self) -> list[ReadableSpan]:
        """In the order of their start."""
        spans = sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        self._spans.clear()
        return spans

    def log_records(self) -> list[ReadableLogRecord]:
        """In the order of their time."""
        records = sorted(self._logs.get_finished_logs(), key=lambda record: record.log_record.timestamp or 0)
        self._logs.clear()
        return records

    def metrics(self) -> MetricsData:
        """The state of every instrument now."""
        data = [reader.get_metrics_data() for reader in self.readers]
        return MetricsData([resource for each in data if each for resource in each.resource_metrics])


class Service:
    """One instrumented service, which remembers in `memory`."""

    def __init__(self, name: str, version: str, memory: Memory) -> None:
        resource = Resource(
            {"service.name": name, "service.version": version, "service.instance.id": f"{name}-{os.getpid()}"}
        )
        tracers = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        tracers.add_span_processor(memory.span_processor)
        loggers = LoggerProvider(resource, shutdown_on_exit=False)
        loggers.add_log_record_processor(memory.log_processor)
        memory.readers.append(InMemoryMetricReader())
        meters = MeterProvider([memory.readers[-1]], resource, shutdown_on_exit=False)
        self._tracer = tracers.get_tracer("shop.instrumentation", "1.0")
        self._logger = loggers.get_logger("shop.instrumentation", "1.0")
        self.meter = meters.get_meter("shop.instrumentation", "1.0")

    @contextmanager
    def span(
        self,
        name: str,
        times: tuple[int, int],
        attributes: Attributes,
        *,
        kind: SpanKind,
        parent: Span | None = None,
        links: list[Link] | None = None,
    ) -> Iterator[Span]:
        """A span from and to these nanoseconds since the epoch."""
        span = self._tracer.start_span(
            name,
            context=set_span_in_context(parent) if parent else Context(),
            kind=kind,
            attributes=attributes,
            links=links,
            start_time=times[0],
        )
        assert isinstance(span, Span)  # noqa: S101 - all are sampled
        yield span
        span.end(times[1])

    def log(
        self,
        severity: SeverityNumber,
        body: str,
        time_ns: int,
        span: Span,
        attributes: Attributes | None = None,
    ) -> None:
        """Write a log record within `span`."""
        self._logger.emit(
            timestamp=time_ns,
            observed_timestamp=time_ns,
            context=set_span_in_context(span),
            severity_number=severity,
            severity_text=severity.name,
            body=body,
            attributes=dict(attributes or {}),
        )
