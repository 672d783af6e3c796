"""A request as lines for people: a span, a data point or a log record each."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.core.request import ExportRequest, Signal
from app.exporters.answer import plain

__all__ = ["lines"]

_ATTRIBUTES_SHOWN = 6
_VALUE_LIMIT = 40
_NAME_LIMIT = 60

_Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint


def lines(request: ExportRequest) -> Iterator[str]:
    """The items of `request` as one line each, without line ends; no character in them controls a terminal.

    Raises:
        DecodeError: the body is no request of that signal.
    """
    match request.signal:
        case Signal.TRACES:
            return _spans(ExportTraceServiceRequest.FromString(request.body))
        case Signal.METRICS:
            return _points(ExportMetricsServiceRequest.FromString(request.body))
        case Signal.LOGS:
            return _records(ExportLogsServiceRequest.FromString(request.body))


def _spans(request: ExportTraceServiceRequest) -> Iterator[str]:
    for resource in request.resource_spans:
        service = _service(resource.resource)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _line(span.start_time_unix_nano, "span", service, *_span(span), _trace(span.trace_id))


def _span(span: Span) -> Iterator[str]:
    yield plain(span.name, _NAME_LIMIT)
    yield _duration(span.end_time_unix_nano - span.start_time_unix_nano)
    if span.status.code == Status.STATUS_CODE_ERROR:
        yield f"ERROR {plain(span.status.message, _NAME_LIMIT)}".rstrip()
    elif span.status.code == Status.STATUS_CODE_OK:
        yield "ok"
    yield _attributes(span.attributes)
    for event in span.events:
        yield f"[{plain(event.name, _NAME_LIMIT)}]"
    if span.links:
        yield f"links={len(span.links)}"


def _points(request: ExportMetricsServiceRequest) -> Iterator[str]:
    for resource in request.resource_metrics:
        service = _service(resource.resource)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                name = plain(metric.name, _NAME_LIMIT)
                unit = plain(metric.unit, _VALUE_LIMIT)
                for point in _points_of(metric):
                    value = f"{_value(point)} {unit}".rstrip()
                    yield _line(point.time_unix_nano, "metric", service, name, value, _attributes(point.attributes))


def _points_of(metric: Metric) -> Iterable[_Point]:
    match metric.WhichOneof("data"):
        case "gauge":
            return metric.gauge.data_points
        case "sum":
            return metric.sum.data_points
        case "histogram":
            return metric.histogram.data_points
        case "exponential_histogram":
            return metric.exponential_histogram.data_points
        case "summary":
            return metric.summary.data_points
        case _:
            return ()


def _value(point: _Point) -> str:
    if isinstance(point, NumberDataPoint):
        return str(point.as_int) if point.WhichOneof("value") == "as_int" else f"{point.as_double:g}"
    return f"count={point.count} sum={point.sum:g}"


def _records(request: ExportLogsServiceRequest) -> Iterator[str]:
    for resource in request.resource_logs:
        service = _service(resource.resource)
        for scope in resource.scope_logs:
            for record in scope.log_records:
                time = record.time_unix_nano or record.observed_time_unix_nano
                yield _line(time, "log", service, *_record(record), _trace(record.trace_id))


def _record(record: LogRecord) -> Iterator[str]:
    yield plain(record.severity_text, _VALUE_LIMIT) or _severity(record.severity_number)
    yield plain(_text(record.body))
    yield _attributes(record.attributes)


def _severity(number: int) -> str:
    names = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
    return names[(number - 1) // 4] if 1 <= number <= 24 else ""


def _line(time_ns: int, kind: str, service: str, *parts: str) -> str:
    columns = (_clock_time(time_ns), f"{kind:6}", f"{service:12}", *(part for part in parts if part))
    return "  ".join(columns).rstrip()


def _clock_time(time_ns: int) -> str:
    """UTC, to the millisecond; a 64-bit number of nanoseconds is before the year 2555."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}.{rest // 10**6:03}"


def _duration(nanoseconds: int) -> str:
    if abs(nanoseconds) >= 10**9:
        return f"{nanoseconds / 1e9:.2f}s"
    return f"{nanoseconds / 1e6:.2f}ms"


def _service(resource: Resource) -> str:
    for attribute in resource.attributes:
        if attribute.key == "service.name":
            return plain(_text(attribute.value), _VALUE_LIMIT)
    return "unknown"


def _trace(trace_id: bytes) -> str:
    return f"trace={trace_id[:16].hex()}" if trace_id else ""


def _attributes(attributes: Iterable[KeyValue]) -> str:
    pairs = [
        f"{plain(attribute.key, _VALUE_LIMIT)}={plain(_text(attribute.value), _VALUE_LIMIT)}"
        for attribute in attributes
    ]
    more = len(pairs) - _ATTRIBUTES_SHOWN
    return " ".join(pairs[:_ATTRIBUTES_SHOWN]) + (f" (+{more})" if more > 0 else "")


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return ""
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "bytes_value":
            return value.bytes_value[:32].hex()
        case "array_value":
            return "[" + ", ".join(_text(item) for item in value.array_value.values[:8]) + "]"
        case "kvlist_value":
            return "{" + ", ".join(f"{pair.key}={_text(pair.value)}" for pair in value.kvlist_value.values[:8]) + "}"
        case _:
            return str(getattr(value, kind))
