"""Requests of numbered items, and which items are in what arrived, each as it was sent or not.

A number is the span's id, the data point's value or the log record's time of observation. All else of an item is made
of its number too: so what was altered on the way, in the item, its metric, its scope or its resource, is told from
what was sent. Even numbers are of another resource than odd ones.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.core.request import Signal

__all__ = ["altered", "numbered", "numbers"]

_ODD: Final = 0x9E37_79B9_7F4A_7C15
_FILLER: Final = "x" * 60
_TIME: Final = 1_760_000_000_000_000_000
_REQUESTS: Final[dict[Signal, Callable[[], Any]]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
_FIELDS: Final = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
}
"""Where resources, their scopes and what those hold are."""

Shells = tuple[bytes, ...]
"""What an item is in, serialized, from the outside to the inside: each without what it holds."""


def numbered(signal: Signal, first: int, items: int) -> bytes:
    """A serialized request of `items` items, numbered from `first`."""
    request = _REQUESTS[signal]()
    for parity in {number % 2: None for number in range(first, first + items)}:
        wanted = [number for number in range(first, first + items) if number % 2 == parity]
        resources, scopes, held = _FIELDS[signal]
        resource = getattr(request, resources).add(schema_url=f"https://schemas.example/resource/{parity}")
        resource.resource.attributes.extend([_text("service.name", "numbered"), _text("host.name", f"host-{parity}")])
        resource.resource.dropped_attributes_count = 3
        scope = getattr(resource, scopes).add(schema_url="https://schemas.example/scope")
        scope.scope.name, scope.scope.version = "numbers", "1.2"
        scope.scope.attributes.append(_text("kind", "scope"))
        getattr(scope, held).extend(_made(signal, wanted))
    serialized: bytes = request.SerializeToString(deterministic=True)
    return serialized


def numbers(signal: Signal, body: bytes) -> list[int]:
    """The numbers of the items in a serialized request, in order."""
    return [_number(item) for _, item in _apart(signal, body)]


def altered(signal: Signal, body: bytes) -> list[int]:
    """The numbers of the items in a serialized request that are not, or not in what, they were sent."""
    found = []
    for shells, item in _apart(signal, body):
        number = _number(item)
        if shells != _shells(signal, number % 2) or _serialized(item) != _serialized(_item(signal, number)):
            found.append(number)
    return found


def _apart(signal: Signal, body: bytes) -> Iterator[tuple[Shells, Message]]:
    """Each item and what it is in."""
    resources, scopes, held = _FIELDS[signal]
    request = _REQUESTS[signal]()
    request.ParseFromString(body)
    for resource in getattr(request, resources):
        outer = _shell(resource, scopes)
        for scope in getattr(resource, scopes):
            inner = _shell(scope, held)
            for item in getattr(scope, held):
                if signal is Signal.METRICS:
                    points = list(item.gauge.data_points)
                    shell = _serialized(_without_points(item))
                    yield from (((outer, inner, shell), point) for point in points)
                else:
                    yield (outer, inner), item


def _shell(message: Message, field: str) -> bytes:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField(field)
    return _serialized(copy)


def _without_points(metric: Metric) -> Metric:
    copy = Metric()
    copy.CopyFrom(metric)
    copy.gauge.ClearField("data_points")
    return copy


@cache
def _shells(signal: Signal, parity: int) -> Shells:
    """What items whose number has that remainder by two are in."""
    return next(shells for shells, _ in _apart(signal, numbered(signal, parity, 1)))


def _serialized(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _number(item: Message) -> int:
    match item:
        case Span():
            return int.from_bytes(item.span_id, "big")
        case NumberDataPoint():
            return item.as_int
        case LogRecord():
            return item.observed_time_unix_nano
        case _:
            raise TypeError(f"{type(item).__name__} has no number")


def _made(signal: Signal, wanted: Iterable[int]) -> list[Message]:
    """What a scope holds for these numbers."""
    if signal is not Signal.METRICS:
        return [_item(signal, number) for number in wanted]
    metric = Metric(name="numbered", description="the numbers", unit="{number}")
    metric.gauge.data_points.extend(_point(number) for number in wanted)
    return [metric]


def _item(signal: Signal, number: int) -> Message:
    match signal:
        case Signal.TRACES:
            return _span(number)
        case Signal.METRICS:
            return _point(number)
        case Signal.LOGS:
            return _record(number)


def _span(number: int) -> Span:
    span = Span(
        trace_id=_trace(number),
        span_id=struct.pack(">Q", number),
        trace_state=f"numbered={number}",
        parent_span_id=struct.pack(">Q", number + 1),
        flags=1,
        name=_word(Signal.TRACES, number),
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=_TIME + number,
        end_time_unix_nano=_TIME + number + 1000,
        attributes=_attributes(number),
        dropped_attributes_count=number % 5,
    )
    span.events.add(time_unix_nano=_TIME, name="event", attributes=[_text("of", str(number))])
    span.links.add(trace_id=_trace(number + 1), span_id=struct.pack(">Q", number), flags=1)
    span.status.code, span.status.message = number % 3, "status"  # type: ignore[assignment]  # an enum's value
    return span


def _point(number: int) -> NumberDataPoint:
    point = NumberDataPoint(
        as_int=number,
        start_time_unix_nano=_TIME,
        time_unix_nano=_TIME + number,
        attributes=[_text("word", _word(Signal.METRICS, number)), *_attributes(number)],
    )
    point.exemplars.add(time_unix_nano=_TIME, as_double=number / 8, trace_id=_trace(number))
    return point


def _record(number: int) -> LogRecord:
    record = LogRecord(
        time_unix_nano=_TIME + number,
        observed_time_unix_nano=number,
        severity_number=number % 24 + 1,  # type: ignore[arg-type]  # an enum's value
        severity_text="INFO",
        attributes=_attributes(number),
        flags=1,
        trace_id=_trace(number),
        span_id=struct.pack(">Q", number + 1),
        event_name="numbered",
    )
    record.body.string_value = _word(Signal.LOGS, number)
    return record


def _attributes(number: int) -> list[KeyValue]:
    """One of each kind of value."""
    whole, part, truth, raw, several = (KeyValue(key=key) for key in ("int", "double", "bool", "bytes", "array"))
    whole.value.int_value, part.value.double_value = -number, number / 4
    truth.value.bool_value, raw.value.bytes_value = number % 2 == 0, struct.pack(">Q", number)
    several.value.array_value.values.add(string_value="in an array")
    return [_text("text", f"värde {number}"), whole, part, truth, raw, several]


def _text(key: str, value: str) -> KeyValue:
    attribute = KeyValue(key=key)
    attribute.value.string_value = value
    return attribute


def _trace(number: int) -> bytes:
    return struct.pack(">QQ", 1, number)


def _word(signal: Signal, number: int) -> str:
    return f"{signal.value} {number * _ODD % 2**64:016x} {_FILLER}"
