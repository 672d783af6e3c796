"""Telemetry that uses what OTLP has: recorded with the SDK, and written down as it has to arrive."""

from collections.abc import Iterable, Mapping, Sequence

from opentelemetry._logs import SeverityNumber
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber as SeverityNumberMessage
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AnyValue as Value

__all__ = [
    "DATA_POINTS",
    "LOG_RECORDS",
    "RESOURCE",
    "SPANS",
    "VIEWS",
    "Counting",
    "expected_logs",
    "expected_metrics",
    "expected_traces",
    "record_logs",
    "record_metrics",
    "record_spans",
]

SPANS, DATA_POINTS, LOG_RECORDS = 3, 6, 3
"""How many items the three functions record."""

EVERY_TYPE: dict[str, Value] = {
    "text": "größer als ASCII, 中文, 🙂",
    "empty": "",
    "yes": True,
    "no": False,
    "smallest": -(2**63),
    "largest": 2**63 - 1,
    "double": 0.1,
    "infinite": float("inf"),
    "bytes": b"\x00\xff",
    "nothing": None,
    "list": ["a", "b"],
    "mixed": [1, "two", 3.0, None, [True]],
    "map": {"inner": {"deep": [1, 2]}, "empty": {}},
}
RESOURCE = Resource({"service.name": "everything", "host.cpus": 4, "host.tags": ["a", "b"]}, "https://schema.example/r")
VIEWS = (View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation()),)

_T = 1_760_000_000_000_000_000  # nanoseconds since the epoch, some time in 2025
_TRACE = 0x0102030405060708090A0B0C0D0E0F10
_REMOTE = SpanContext(
    _TRACE, 0xFFEEDDCCBBAA9988, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("vendor", "x")])
)


class Counting(IdGenerator):
    """Ids that a test can name: span ids count from 1."""

    def __init__(self) -> None:
        self._last = 0

    def generate_trace_id(self) -> int:
        return _TRACE + 1

    def generate_span_id(self) -> int:
        self._last += 1
        return self._last


def record_spans(provider: TracerProvider) -> None:
    tracer = provider.get_tracer("scope.one", "1.2.3", "https://schema.example/s", {"scope.kind": "test"})
    remote = set_span_in_context(NonRecordingSpan(_REMOTE))
    link = Link(SpanContext(_TRACE + 7, 77, is_remote=False, trace_flags=TraceFlags(1)), {"why": "caused"})
    span = tracer.start_span("root", remote, SpanKind.SERVER, EVERY_TYPE, [link], _T)
    span.add_event("first", EVERY_TYPE, _T + 1)
    span.add_event("second", None, _T + 2)
    span.set_status(StatusCode.ERROR, "it broke")
    child = tracer.start_span("child", set_span_in_context(span), SpanKind.CLIENT, start_time=_T + 3)
    child.set_status(StatusCode.OK)
    child.end(_T + 4)
    span.end(_T + 5)
    provider.get_tracer("scope.two").start_span("", kind=SpanKind.PRODUCER, start_time=_T).end(_T)


def record_metrics(provider: MeterProvider) -> None:
    meter = provider.get_meter("scope.one", "1.2.3", "https://schema.example/s", {"scope.kind": "test"})
    meter.create_counter("requests", "1", "How many.").add(3, {"route": "/a"})
    meter.create_up_down_counter("open", "{connection}").add(-2)
    meter.create_histogram("latency", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0]).record(0.25, {"route": "/a"})
    meter.create_histogram("size", "By").record(1.0)
    meter.create_gauge("level").set(0.5, {"tank": 1})

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(7)

    meter.create_observable_counter("seen", [observe])


def record_logs(provider: LoggerProvider) -> None:
    logger = provider.get_logger("scope.one", "1.2.3", "https://schema.example/s", {"scope.kind": "test"})
    logger.emit(
        timestamp=_T,
        observed_timestamp=_T + 1,
        context=set_span_in_context(NonRecordingSpan(_REMOTE)),
        severity_number=SeverityNumber.ERROR2,
        severity_text="Error",
        body="it broke",
        attributes=EVERY_TYPE,
        event_name="device.broke",
    )
    logger.emit(observed_timestamp=_T + 2, body=EVERY_TYPE)
    logger.emit(observed_timestamp=_T + 3)


def expected_traces() -> list[ResourceSpans]:
    root = SpanMessage(
        trace_id=_TRACE.to_bytes(16),
        span_id=(1).to_bytes(8),
        trace_state="vendor=x",
        parent_span_id=bytes.fromhex("ffeeddccbbaa9988"),
        flags=0x300,  # the parent's being remote is known, and it is
        name="root",
        kind=SpanMessage.SPAN_KIND_SERVER,
        start_time_unix_nano=_T,
        end_time_unix_nano=_T + 5,
        attributes=_pairs(EVERY_TYPE),
        events=[
            SpanMessage.Event(time_unix_nano=_T + 1, name="first", attributes=_pairs(EVERY_TYPE)),
            SpanMessage.Event(time_unix_nano=_T + 2, name="second"),
        ],
        links=[
            SpanMessage.Link(
                trace_id=(_TRACE + 7).to_bytes(16),
                span_id=(77).to_bytes(8),
                attributes=_pairs({"why": "caused"}),
                flags=0x100,
            )
        ],
        status=Status(code=Status.STATUS_CODE_ERROR, message="it broke"),
    )
    child = SpanMessage(
        trace_id=_TRACE.to_bytes(16),
        span_id=(2).to_bytes(8),
        trace_state="vendor=x",
        parent_span_id=(1).to_bytes(8),
        flags=0x100,
        name="child",
        kind=SpanMessage.SPAN_KIND_CLIENT,
        start_time_unix_nano=_T + 3,
        end_time_unix_nano=_T + 4,
        status=Status(code=Status.STATUS_CODE_OK),
    )
    nameless = SpanMessage(
        trace_id=(_TRACE + 1).to_bytes(16),
        span_id=(3).to_bytes(8),
        flags=0x100,
        kind=SpanMessage.SPAN_KIND_PRODUCER,
        start_time_unix_nano=_T,
        end_time_unix_nano=_T,
        status=Status(),
    )
    return [
        ResourceSpans(
            resource=_resource(),
            schema_url="https://schema.example/r",
            scope_spans=[
                ScopeSpans(scope=_scope_one(), schema_url="https://schema.example/s", spans=[child, root]),
                ScopeSpans(scope=InstrumentationScope(name="scope.two"), spans=[nameless]),
            ],
        )
    ]


def expected_metrics() -> list[ResourceMetrics]:
    """As they arrive, but for times and for exemplars, which the SDK chooses."""
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    route = _pairs({"route": "/a"})
    latency = HistogramDataPoint(
        attributes=route, count=1, sum=0.25, bucket_counts=[0, 1, 0], explicit_bounds=[0.1, 1.0], min=0.25, max=0.25
    )
    size = ExponentialHistogramDataPoint(count=1, sum=1.0, scale=20, min=1.0, max=1.0)
    size.positive.offset = -1
    size.positive.bucket_counts.append(1)
    size.negative.bucket_counts.append(0)
    metrics = [
        Metric(
            name="requests",
            unit="1",
            description="How many.",
            sum=Sum(
                is_monotonic=True,
                aggregation_temporality=cumulative,
                data_points=[NumberDataPoint(as_int=3, attributes=route)],
            ),
        ),
        Metric(
            name="open",
            unit="{connection}",
            sum=Sum(aggregation_temporality=cumulative, data_points=[NumberDataPoint(as_int=-2)]),
        ),
        Metric(
            name="latency", unit="s", histogram=Histogram(aggregation_temporality=cumulative, data_points=[latency])
        ),
        Metric(
            name="size",
            unit="By",
            exponential_histogram=ExponentialHistogram(aggregation_temporality=cumulative, data_points=[size]),
        ),
        Metric(name="level", gauge=Gauge(data_points=[NumberDataPoint(as_double=0.5, attributes=_pairs({"tank": 1}))])),
        Metric(
            name="seen",
            sum=Sum(is_monotonic=True, aggregation_temporality=cumulative, data_points=[NumberDataPoint(as_int=7)]),
        ),
    ]
    scope = ScopeMetrics(scope=_scope_one(), schema_url="https://schema.example/s", metrics=metrics)
    return [ResourceMetrics(resource=_resource(), schema_url="https://schema.example/r", scope_metrics=[scope])]


def expected_logs() -> list[ResourceLogs]:
    records = [
        LogRecord(
            time_unix_nano=_T,
            observed_time_unix_nano=_T + 1,
            severity_number=SeverityNumberMessage.SEVERITY_NUMBER_ERROR2,
            severity_text="Error",
            body=_value("it broke"),
            attributes=_pairs(EVERY_TYPE),
            flags=1,
            trace_id=_TRACE.to_bytes(16),
            span_id=bytes.fromhex("ffeeddccbbaa9988"),
            event_name="device.broke",
        ),
        LogRecord(observed_time_unix_nano=_T + 2, body=_value(EVERY_TYPE)),
        LogRecord(observed_time_unix_nano=_T + 3, body=AnyValue()),
    ]
    scope = ScopeLogs(scope=_scope_one(), schema_url="https://schema.example/s", log_records=records)
    return [ResourceLogs(resource=_resource(), schema_url="https://schema.example/r", scope_logs=[scope])]


def _resource() -> ResourceMessage:
    return ResourceMessage(attributes=_pairs({"service.name": "everything", "host.cpus": 4, "host.tags": ["a", "b"]}))


def _scope_one() -> InstrumentationScope:
    return InstrumentationScope(name="scope.one", version="1.2.3", attributes=_pairs({"scope.kind": "test"}))


def _pairs(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: Value) -> AnyValue:  # noqa: PLR0911 - a case for each type
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case Mapping():
            return AnyValue(kvlist_value=KeyValueList(values=_pairs(value)))
        case Sequence():
            return AnyValue(array_value=ArrayValue(values=[_value(each) for each in value]))
