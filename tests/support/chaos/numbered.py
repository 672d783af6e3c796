"""Requests of numbered items, and which items are in what arrived.

A number is the span's id, the data point's value or the log record's time of observation. Each item also bears a word
that is made of its number, so that an item which was altered on the way is told from one that was sent.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from app.core.request import Signal

__all__ = ["Altered", "numbered", "numbers"]

_ODD: Final = 0x9E37_79B9_7F4A_7C15
_FILLER: Final = "x" * 150


class Altered(AssertionError):
    """An item arrived that is not as any was sent."""


def numbered(signal: Signal, first: int, items: int) -> bytes:
    """A serialized request of `items` items, numbered from `first`."""
    return _MAKERS[signal](range(first, first + items))


def numbers(signal: Signal, body: bytes) -> list[int]:
    """The numbers of the items in a serialized request, in order.

    Raises:
        Altered: an item does not bear the word of its number.
    """
    found = []
    for number, word in _READERS[signal](body):
        if word != _word(signal, number):
            raise Altered(f"{signal.value}: item {number} arrived as {word[:40]!r}")
        found.append(number)
    return found


def _word(signal: Signal, number: int) -> str:
    return f"{signal.value} {number * _ODD % 2**64:016x} {_FILLER}"


def _resource() -> Resource:
    resource = Resource()
    resource.attributes.add(key="service.name").value.string_value = "numbered"
    return resource


def _make_spans(wanted: range) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add(resource=_resource()).scope_spans.add()
    for number in wanted:
        scope.spans.add(
            trace_id=struct.pack(">QQ", 1, number),
            span_id=struct.pack(">Q", number),
            name=_word(Signal.TRACES, number),
            start_time_unix_nano=1_760_000_000_000_000_000,
            end_time_unix_nano=1_760_000_000_000_001_000,
        )
    return request.SerializeToString()


def _make_points(wanted: range) -> bytes:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add(resource=_resource()).scope_metrics.add()
    points = scope.metrics.add(name="numbered").gauge.data_points
    for number in wanted:
        point = points.add(as_int=number, time_unix_nano=1_760_000_000_000_000_000)
        point.attributes.add(key="word").value.string_value = _word(Signal.METRICS, number)
    return request.SerializeToString()


def _make_records(wanted: range) -> bytes:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add(resource=_resource()).scope_logs.add()
    for number in wanted:
        record = scope.log_records.add(observed_time_unix_nano=number, severity_text="INFO")
        record.body.string_value = _word(Signal.LOGS, number)
    return request.SerializeToString()


def _read_spans(body: bytes) -> Iterator[tuple[int, str]]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield int.from_bytes(span.span_id, "big"), span.name


def _read_points(body: bytes) -> Iterator[tuple[int, str]]:
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.gauge.data_points:
                    yield point.as_int, "".join(attribute.value.string_value for attribute in point.attributes)


def _read_records(body: bytes) -> Iterator[tuple[int, str]]:
    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield record.observed_time_unix_nano, record.body.string_value


_MAKERS: Final[dict[Signal, Callable[[range], bytes]]] = {
    Signal.TRACES: _make_spans,
    Signal.METRICS: _make_points,
    Signal.LOGS: _make_records,
}
_READERS: Final[dict[Signal, Callable[[bytes], Iterator[tuple[int, str]]]]] = {
    Signal.TRACES: _read_spans,
    Signal.METRICS: _read_points,
    Signal.LOGS: _read_records,
}
