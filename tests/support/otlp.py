"""Requests of OTLP that a test writes in a line."""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

__all__ = ["NOW_NS", "gauges", "log_records", "pairs", "span", "spans"]

NOW_NS = 1_760_000_000_000_000_000  # 2025-10-09 08:53:20 UTC
_MS = 1_000_000


def pairs(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


def span(
    name: str = "work",
    *,
    trace: int = 1,
    number: int = 1,
    parent: int = 0,
    begin_ms: int = 0,
    ms: int = 10,
    error: str | None = None,
    attributes: Mapping[str, str] | None = None,
    events: Sequence[Span.Event] = (),
    links: Sequence[Span.Link] = (),
) -> Span:
    """A span whose ids are made of numbers, 0 is none; it begins so long after `NOW_NS`."""
    start = NOW_NS + begin_ms * _MS
    status = None if error is None else Status(code=Status.STATUS_CODE_ERROR, message=error)
    return Span(
        trace_id=trace.to_bytes(16, "big") if trace else b"",
        span_id=number.to_bytes(8, "big") if number else b"",
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start,
        end_time_unix_nano=start + ms * _MS,
        status=status,
        attributes=pairs(attributes or {}),
        events=events,
        links=links,
    )


def spans(service: str, *members: Span) -> bytes:
    """A request for traces of one service."""
    scope = ScopeSpans(scope=InstrumentationScope(name="by.hand", version="1"), spans=members)
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=_resource(service), scope_spans=[scope])]
    ).SerializeToString()


def gauges(service: str, values: Mapping[str, float], attributes: Mapping[str, str] | None = None) -> bytes:
    """A request for metrics of one service: a gauge of each name."""
    metrics = [
        Metric(
            name=name,
            gauge=Gauge(
                data_points=[
                    NumberDataPoint(as_double=value, time_unix_nano=NOW_NS, attributes=pairs(attributes or {}))
                ]
            ),
        )
        for name, value in values.items()
    ]
    scope = ScopeMetrics(metrics=metrics)
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=_resource(service), scope_metrics=[scope])]
    ).SerializeToString()


def log_records(service: str, *records: LogRecord) -> bytes:
    """A request for logs of one service."""
    scope = ScopeLogs(log_records=records)
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=_resource(service), scope_logs=[scope])]
    ).SerializeToString()


def _resource(service: str) -> Resource:
    return Resource(attributes=pairs({"service.name": service, "service.version": "1.2.3"}))
