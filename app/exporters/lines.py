"""A request as lines for people: traces as trees, a line for each data point and log record."""

from collections.abc import Iterable, Iterator

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)

from app.core.request import ExportRequest, Signal
from app.exporters.answer import plain
from app.exporters.canvas import Canvas, Piece, Style, cells
from app.exporters.tree import tree_lines
from app.exporters.values import attributes, clock_time, exception, number, quantity, service_name, text_of

__all__ = ["Point", "lines", "points_of", "severity_of", "value_text"]

_NAME_LIMIT = 60
_BODY_LIMIT = 500
_SERVICE_WIDTH = 12
_WORD_WIDTH = 6
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_SEVERITY_STYLES: tuple[Style, ...] = ("dim", "dim", "green", "yellow", "red", "red")
_QUANTILES = 3
_SHORT_ID = 4
"""Bytes of a trace id that tell it from its neighbours."""

Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint


def lines(request: ExportRequest, canvas: Canvas) -> Iterator[str]:
    """The items of `request` as lines without line ends; no character in them controls a terminal, but for colours.

    Raises:
        DecodeError: the body is no request of that signal.
    """
    match request.signal:
        case Signal.TRACES:
            return tree_lines(ExportTraceServiceRequest.FromString(request.body), canvas)
        case Signal.METRICS:
            return _points(ExportMetricsServiceRequest.FromString(request.body), canvas)
        case Signal.LOGS:
            return _records(ExportLogsServiceRequest.FromString(request.body), canvas)


def _points(request: ExportMetricsServiceRequest, canvas: Canvas) -> Iterator[str]:
    for resource in request.resource_metrics:
        service = service_name(resource.resource)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in points_of(metric):
                    yield canvas.line(_point(metric, point, service, canvas))


def _point(metric: Metric, point: Point, service: str, canvas: Canvas) -> Iterator[Piece]:
    name, value = plain(metric.name, _NAME_LIMIT) or "(no name)", value_text(metric, point)
    start = list(_start(point.time_unix_nano, Piece("metric"), service, canvas))
    yield from start
    yield Piece(f"{name}  ", "bold")
    yield Piece(f"{value}  ")
    room = canvas.width - _width(start) - cells(name) - cells(value) - 4
    yield from attributes(point.attributes, room, canvas)


def points_of(metric: Metric) -> Iterable[Point]:
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


def value_text(metric: Metric, point: Point) -> str:
    if point.flags & DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK:
        return "no value"
    if isinstance(point, NumberDataPoint):
        return _number(metric, point)
    facts = [f"count={point.count}"]
    if isinstance(point, SummaryDataPoint) or point.HasField("sum"):
        facts.append(f"sum={quantity(point.sum, metric.unit)}")
        if point.count > 1:
            facts.append(f"avg={quantity(point.sum / point.count, metric.unit)}")
    if isinstance(point, SummaryDataPoint):
        facts += [
            f"p{number(each.quantile * 100)}={quantity(each.value, metric.unit)}"
            for each in point.quantile_values[:_QUANTILES]
        ]
    elif point.count > 1:
        facts += [
            f"{name}={quantity(getattr(point, name), metric.unit)}" for name in ("min", "max") if point.HasField(name)
        ]
    return " ".join(facts)


def _number(metric: Metric, point: NumberDataPoint) -> str:
    match point.WhichOneof("value"):
        case "as_int":
            value: float = point.as_int
        case "as_double":
            value = point.as_double
        case _:
            return "no value"
    delta = metric.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    return f"{'+' if delta and value >= 0 else ''}{quantity(value, metric.unit)}"


def _records(request: ExportLogsServiceRequest, canvas: Canvas) -> Iterator[str]:
    """In the order of their times, because services that talk to each other are read together."""
    records = [
        (record, service_name(resource.resource))
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    for record, service in sorted(records, key=lambda pair: _time(pair[0])):
        yield canvas.line(_record(record, service, canvas))


def _time(record: LogRecord) -> int:
    return record.time_unix_nano or record.observed_time_unix_nano


def _record(record: LogRecord, service: str, canvas: Canvas) -> Iterator[Piece]:
    severity = severity_of(record)
    word = severity._replace(text=canvas.fit(severity.text, _WORD_WIDTH))
    start = list(_start(_time(record), word, service, canvas))
    event, body = plain(record.event_name, _NAME_LIMIT), plain(text_of(record.body), _BODY_LIMIT)
    trace = f"trace {record.trace_id[:_SHORT_ID].hex()}" if record.trace_id else ""
    yield from start
    text = ": ".join(filter(None, [event, body, exception(record.attributes)]))
    yield Piece(f"{text}  " if text else "")
    used = _width(start) + cells(text) + 2 + len(trace)
    others = [pair for pair in record.attributes if not pair.key.startswith("exception.")]
    shown = list(attributes(others, canvas.width - used - 2, canvas))
    yield from shown
    yield Piece(f"{'  ' if shown else ''}{trace}", "dim")


def severity_of(record: LogRecord) -> Piece:
    """The text if it is short, otherwise what its number stands for."""
    text = plain(record.severity_text, _NAME_LIMIT)
    if not 1 <= record.severity_number <= 24:
        return Piece(text or "log")
    level = (record.severity_number - 1) // 4
    return Piece(text if 0 < cells(text) <= _WORD_WIDTH else _SEVERITIES[level], _SEVERITY_STYLES[level])


def _start(time_ns: int, word: Piece, service: str, canvas: Canvas) -> Iterator[Piece]:
    yield Piece(clock_time(time_ns), "dim")
    yield Piece(f"  {word.text}{' ' * (_WORD_WIDTH - cells(word.text))}  ", word.style)
    yield Piece(f"{service}{' ' * max(0, _SERVICE_WIDTH - cells(service))}  ", canvas.service(service))


def _width(pieces: Iterable[Piece]) -> int:
    return sum(cells(piece.text) for piece in pieces)
