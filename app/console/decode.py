"""Requests as a page shows them: text of bounded length, whatever a client sent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1 import trace_pb2

from app.exporters.answer import plain
from app.exporters.lines import points_of, severity_of, value_text
from app.exporters.values import exception, service_name, text_of

__all__ = ["Attributes", "Event", "Link", "Point", "Record", "Span", "cost_of", "points_in", "records_in", "spans_in"]

_NAME_LIMIT = 200
_VALUE_LIMIT = 2000
_ATTRIBUTES = 64
_DETAILS = 32
"""Events of a span that are kept, and links."""
_OBJECT_COST = 200
"""Bytes that Python takes for an object around a text, more or less."""
_KINDS: Mapping[int, str] = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}

Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in a span. `failure` is the exception that it tells of, if it does."""

    time_ns: int
    name: str
    failure: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Link:
    """Another span, in hexadecimal, that a span names."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """A span. Ids are in hexadecimal, times in nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    service: str
    kind: str
    scope: str
    start_ns: int
    end_ns: int
    failed: bool
    message: str
    """What its status says."""
    attributes: Attributes
    resource: Attributes
    events: tuple[Event, ...]
    links: tuple[Link, ...]
    left_out: int
    """Attributes, events and links beyond what is kept."""
    cost: int
    """Bytes that it takes in memory, more or less, without its resource, which it has in common with others."""

    @property
    def duration_ns(self) -> int:
        return max(0, self.end_ns - self.start_ns)


@dataclass(frozen=True, slots=True)
class Point:
    """A data point."""

    time_ns: int
    service: str
    metric: str
    kind: str
    value: str
    attributes: Attributes

    @property
    def cost(self) -> int:
        """Bytes that it takes in memory, more or less."""
        return _row_cost(self.attributes, self.service, self.metric, self.kind, self.value)


@dataclass(frozen=True, slots=True)
class Record:
    """A log record."""

    time_ns: int
    service: str
    severity: str
    level: int
    """0 is unknown, then TRACE is 1 … FATAL is 6."""
    body: str
    attributes: Attributes
    trace_id: str

    @property
    def cost(self) -> int:
        """Bytes that it takes in memory, more or less."""
        return _row_cost(self.attributes, self.service, self.severity, self.body, self.trace_id)


def spans_in(body: bytes) -> Iterator[Span]:
    """The spans of a request for traces."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service, about = service_name(resource.resource), _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(span, service, about, _scope(scope.scope))


def points_in(body: bytes) -> Iterator[Point]:
    """The data points of a request for metrics."""
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        service = service_name(resource.resource)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = (metric.WhichOneof("data") or "").replace("_", " ")
                name = plain(metric.name, _NAME_LIMIT) or "(no name)"
                for point in points_of(metric):
                    value = value_text(metric, point)
                    yield Point(point.time_unix_nano, service, name, kind, value, _attributes(point.attributes))


def records_in(body: bytes) -> Iterator[Record]:
    """The records of a request for logs."""
    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        service = service_name(resource.resource)
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield _record(record, service)


def _span(span: trace_pb2.Span, service: str, resource: Attributes, scope: str) -> Span:
    attributes = _attributes(span.attributes)
    events = tuple(
        Event(
            event.time_unix_nano,
            plain(event.name, _NAME_LIMIT),
            exception(event.attributes),
            _attributes(event.attributes),
        )
        for event in span.events[:_DETAILS]
    )
    links = tuple(
        Link(link.trace_id[:16].hex(), link.span_id[:8].hex(), _attributes(link.attributes))
        for link in span.links[:_DETAILS]
    )
    name, message = plain(span.name, _NAME_LIMIT) or "(no name)", plain(span.status.message, _VALUE_LIMIT)
    left_out = (
        max(0, len(span.attributes) - _ATTRIBUTES)
        + max(0, len(span.events) - _DETAILS)
        + max(0, len(span.links) - _DETAILS)
    )
    texts = name, message, service, scope, *(text for event in events for text in (event.name, event.failure))
    kept = [attributes, *(event.attributes for event in events), *(link.attributes for link in links)]
    return Span(
        trace_id=span.trace_id[:16].hex(),
        span_id=span.span_id[:8].hex(),
        parent_id=span.parent_span_id[:8].hex(),
        name=name,
        service=service,
        kind=_KINDS.get(span.kind, ""),
        scope=scope,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        message=message,
        attributes=attributes,
        resource=resource,
        events=events,
        links=links,
        left_out=left_out,
        cost=sum(map(len, texts)) + sum(map(cost_of, kept)) + _OBJECT_COST * (3 + len(events) + len(links)),
    )


def _record(record: LogRecord, service: str) -> Record:
    time_ns = record.time_unix_nano or record.observed_time_unix_nano
    text = _clip(text_of(record.body))
    told = ": ".join(filter(None, [plain(record.event_name, _NAME_LIMIT), text, exception(record.attributes)]))
    level = (record.severity_number + 3) // 4 if 1 <= record.severity_number <= 24 else 0
    trace_id = record.trace_id[:16].hex()
    attributes = _attributes(record.attributes)
    return Record(time_ns, service, severity_of(record).text, level, told, attributes, trace_id)


def _scope(scope: InstrumentationScope) -> str:
    return plain(" ".join(filter(None, [scope.name, scope.version])), _NAME_LIMIT)


def _attributes(pairs: Sequence[KeyValue]) -> Attributes:
    return tuple((plain(pair.key, _NAME_LIMIT), _clip(text_of(pair.value))) for pair in pairs[:_ATTRIBUTES])


def _row_cost(attributes: Attributes, *texts: str) -> int:
    return sum(map(len, texts)) + _OBJECT_COST * (1 + len(texts)) + cost_of(attributes)


def cost_of(attributes: Iterable[tuple[str, str]]) -> int:
    """Bytes that attributes take in memory, more or less."""
    return sum(len(key) + len(value) + _OBJECT_COST for key, value in attributes)


def _clip(text: str) -> str:
    """At most so many characters, of which none but line ends and tabs control anything."""
    kept = text[:_VALUE_LIMIT]
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in kept)
    return kept if len(text) <= _VALUE_LIMIT else f"{kept}…"
