"""The concatenation of serialized requests is the serialization of their merge: what batching stands on."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from app.core.request import Signal
from app.queue.contract import Entry
from app.queue.shelf import Shelf

Request = ExportTraceServiceRequest | ExportMetricsServiceRequest | ExportLogsServiceRequest

texts = st.text(max_size=12)
values = st.one_of(
    st.builds(AnyValue, string_value=texts),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, bytes_value=st.binary(max_size=12)),
)
attributes = st.lists(st.builds(KeyValue, key=texts, value=values), max_size=3)
resources = st.builds(Resource, attributes=attributes)
scopes = st.builds(InstrumentationScope, name=texts, attributes=attributes)
times = st.integers(0, 2**64 - 1)

spans = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    name=texts,
    attributes=attributes,
    events=st.lists(st.builds(Span.Event, time_unix_nano=times, name=texts), max_size=2),
)
points = st.builds(NumberDataPoint, time_unix_nano=times, as_int=st.integers(-(2**63), 2**63 - 1))
gauges = st.builds(Gauge, data_points=st.lists(points, max_size=3))
records = st.builds(LogRecord, time_unix_nano=times, body=values, attributes=attributes)

traces = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=resources,
            scope_spans=st.lists(st.builds(ScopeSpans, scope=scopes, spans=st.lists(spans, max_size=3)), max_size=2),
        ),
        max_size=3,
    ),
)
metrics = st.builds(
    ExportMetricsServiceRequest,
    resource_metrics=st.lists(
        st.builds(
            ResourceMetrics,
            resource=resources,
            scope_metrics=st.lists(
                st.builds(
                    ScopeMetrics,
                    scope=scopes,
                    metrics=st.lists(st.builds(Metric, name=texts, gauge=gauges), max_size=2),
                ),
                max_size=2,
            ),
        ),
        max_size=3,
    ),
)
logs = st.builds(
    ExportLogsServiceRequest,
    resource_logs=st.lists(
        st.builds(
            ResourceLogs,
            resource=resources,
            scope_logs=st.lists(
                st.builds(ScopeLogs, scope=scopes, log_records=st.lists(records, max_size=3)), max_size=2
            ),
        ),
        max_size=3,
    ),
)


@given(
    st.one_of(
        st.tuples(st.just(Signal.TRACES), st.lists(traces, min_size=1, max_size=5)),
        st.tuples(st.just(Signal.METRICS), st.lists(metrics, min_size=1, max_size=5)),
        st.tuples(st.just(Signal.LOGS), st.lists(logs, min_size=1, max_size=5)),
    )
)
def test_a_batch_reads_as_the_merge_of_its_requests(drawn: tuple[Signal, list[Request]]) -> None:
    signal, requests = drawn
    merged = type(requests[0])()
    shelf = Shelf(signal)
    for sequence, request in enumerate(requests):
        merged.MergeFrom(request)  # type: ignore[arg-type]
        body = request.SerializeToString()
        shelf.add([Entry(sequence, 1, len(body), 0, body)])
        shelf.count(1)
    batch = shelf.take(1 << 30).request
    assert batch.items == len(requests)
    assert type(merged).FromString(batch.body) == merged
