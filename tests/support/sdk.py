"""A client: the OpenTelemetry SDK for Python, which remembers what it sent."""

import asyncio
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import grpc
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from app.core.request import Signal

__all__ = ["TRANSPORTS", "Sdk", "Transport", "finished_span"]

Transport = Literal["grpc", "grpc+gzip", "http", "http+gzip"]
TRANSPORTS: tuple[Transport, ...] = ("grpc", "grpc+gzip", "http", "http+gzip")


class Sdk:
    """Providers of all three signals with one resource, over one transport.

    `sent` has, by signal, each request as the SDK serialized it, in the order in which they were acknowledged.
    Leaving sends what is left.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        http_url: str,
        grpc_target: str,
        resource: Resource,
        ids: IdGenerator | None = None,
        views: Sequence[View] = (),
    ) -> None:
        self.sent: dict[Signal, list[bytes]] = {signal: [] for signal in Signal}
        over, _, gzip = transport.partition("+")
        spans: GrpcSpanExporter | HttpSpanExporter
        metrics: GrpcMetricExporter | HttpMetricExporter
        logs: GrpcLogExporter | HttpLogExporter
        if over == "grpc":
            target = f"http://{grpc_target}"
            squeezed = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
            spans = GrpcSpanExporter(target, compression=squeezed)
            metrics = GrpcMetricExporter(target, compression=squeezed)
            logs = GrpcLogExporter(target, compression=squeezed)
        else:
            compression = Compression.Gzip if gzip else Compression.NoCompression
            spans = HttpSpanExporter(http_url + Signal.TRACES.path, compression=compression)
            metrics = HttpMetricExporter(http_url + Signal.METRICS.path, compression=compression)
            logs = HttpLogExporter(http_url + Signal.LOGS.path, compression=compression)
        self.tracers = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
        self.tracers.add_span_processor(BatchSpanProcessor(_Spans(spans, self.sent[Signal.TRACES].append)))
        reader = PeriodicExportingMetricReader(_Metrics(metrics, self.sent[Signal.METRICS].append), math.inf)
        self.meters = MeterProvider([reader], resource, shutdown_on_exit=False, views=views)
        self.loggers = LoggerProvider(resource, shutdown_on_exit=False)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(_Logs(logs, self.sent[Signal.LOGS].append)))

    async def flush(self) -> None:
        """Send what waits, and wait for the answers."""
        for provider in (self.tracers, self.meters, self.loggers):
            assert await asyncio.to_thread(provider.force_flush), provider

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.flush()
        for provider in (self.tracers, self.meters, self.loggers):
            await asyncio.to_thread(provider.shutdown)


class _Spans(SpanExporter):
    def __init__(self, exporter: SpanExporter, remember: Callable[[bytes], None]) -> None:
        self._exporter = exporter
        self._remember = remember

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._remember(encode_spans(spans).SerializeToString())
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Metrics(MetricExporter):
    def __init__(self, exporter: MetricExporter, remember: Callable[[bytes], None]) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter = exporter
        self._remember = remember

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        result = self._exporter.export(metrics_data, timeout_millis, **kwargs)
        if result is MetricExportResult.SUCCESS:
            self._remember(encode_metrics(metrics_data).SerializeToString())
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis, **kwargs)


class _Logs(LogRecordExporter):
    def __init__(self, exporter: GrpcLogExporter | HttpLogExporter, remember: Callable[[bytes], None]) -> None:
        self._exporter = exporter
        self._remember = remember

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        result = self._exporter.export(batch)
        if result is LogRecordExportResult.SUCCESS:
            self._remember(encode_logs(batch).SerializeToString())
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def finished_span() -> ReadableSpan:
    """A span as an exporter is given one."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.get_tracer("test").start_span("one").end()
    (span,) = kept.get_finished_spans()
    return span
