"""What a serialized request holds, item by item, for comparing what was sent with what arrived."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from app.core.request import Signal

__all__ = ["Item", "items_of"]

_POINTS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


@dataclass(frozen=True, slots=True)
class Item:
    """A span, a data point or a log record, by what tells it from others."""

    signal: str
    service: object
    name: object
    """Of the span or the metric, or the log record's body."""
    attributes: dict[str, object]
    span_id: str = ""
    """Of a span, in hex."""
    links: tuple[tuple[str, str], ...] = ()
    """Of a span: the trace and the span that each leads to, in hex."""
    resource: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    """What made a span."""


def items_of(signal: Signal, body: bytes) -> Iterator[Item]:
    """The items of a serialized ``Export*ServiceRequest``.

    Raises:
        DecodeError: it is none.
    """
    match signal:
        case Signal.TRACES:
            return _spans(ExportTraceServiceRequest.FromString(body))
        case Signal.METRICS:
            return _points(ExportMetricsServiceRequest.FromString(body))
        case Signal.LOGS:
            return _records(ExportLogsServiceRequest.FromString(body))


def _spans(request: ExportTraceServiceRequest) -> Iterator[Item]:
    for resource in request.resource_spans:
        made_by = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                links = tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links)
                attributes, span_id = _attributes(span.attributes), span.span_id.hex()
                yield Item("traces", made_by.get("service.name"), span.name, attributes, span_id, links, made_by)


def _points(request: ExportMetricsServiceRequest) -> Iterator[Item]:
    for resource in request.resource_metrics:
        service = _service(resource.resource)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for kind in _POINTS:
                    for point in getattr(metric, kind).data_points:
                        yield Item("metrics", service, metric.name, _attributes(point.attributes))


def _records(request: ExportLogsServiceRequest) -> Iterator[Item]:
    for resource in request.resource_logs:
        service = _service(resource.resource)
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield Item("logs", service, _value(record.body), _attributes(record.attributes))


def _service(resource: Resource) -> object:
    return _attributes(resource.attributes).get("service.name")


def _attributes(attributes: Iterable[KeyValue]) -> dict[str, object]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return None
        case "bytes_value":
            return value.bytes_value.hex()
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case _:
            return getattr(value, kind)
