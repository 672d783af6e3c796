"""The SDK of another language in front, a scripted destination behind: what it made is what arrives, field by field."""

from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.items import items_of
from tests.support.leaves import leaves
from tests.support.node import send_with_node
from tests.support.service import Service

KINDS_OF_VALUES = {field.name for field in AnyValue.DESCRIPTOR.fields} - {"string_value_strindex"}


@pytest.mark.needs("node")
@pytest.mark.parametrize("behind", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf", "grpc"])
async def test_what_the_sdk_for_node_made_arrives_field_by_field(
    tmp_path: Path, protocol: str, compression: str, behind: str
) -> None:
    async with Backend() as backend:
        endpoint = backend.grpc_endpoint if behind == "grpc" else backend.http_endpoint
        async with Service(tmp_path, {"exporter": {"endpoint": endpoint, "protocol": behind}}) as service:
            front = f"http://{service.grpc_target}" if protocol == "grpc" else service.http_url
            made = await send_with_node(tmp_path, front, protocol, compression)
            count = {signal: sum(1 for _ in items_of(signal, made[signal])) for signal in Signal}
            scrape = await service.settled(
                lambda scrape: all(scrape.books(signal).sent == count[signal] for signal in Signal), "delivered"
            )
    over = protocol.partition("/")[0]
    for signal in Signal:
        assert scrape.total("otlp_receiver_accepted_items_total", signal=signal.value, transport=over) == count[signal]
        arrived = [request.body for request in backend.taken if request.signal is signal]
        assert leaves(signal, arrived) == leaves(signal, [made[signal]])
    everything_was_made(made)


def everything_was_made(made: dict[Signal, bytes]) -> None:
    """What the comparison is worth: the client made what OTLP has, as far as its SDK can."""
    traces = ExportTraceServiceRequest.FromString(made[Signal.TRACES])
    spans = [span for resource in traces.resource_spans for scope in resource.scope_spans for span in scope.spans]
    [root] = [span for span in spans if span.name == "root"]
    assert {span.kind for span in spans} == set(Span.SpanKind.values()) - {Span.SPAN_KIND_UNSPECIFIED}
    assert {span.status.code for span in spans} == {0, 1, 2}
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == ("0102030405060708090a0b0c0d0e0f10", "ffeeddccbbaa9988")
    assert (root.trace_state, root.flags, root.status.message) == ("vendor=x,other=y", 0x301, "it broke")
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (
        1_760_000_000_123_456_789,
        1_760_000_000_123_456_794,
    )
    assert [(event.name, len(event.attributes)) for event in root.events] == [("first", 13), ("second", 0)]
    assert [(link.trace_state, len(link.attributes)) for link in root.links] == [("l=1", 13), ("vendor=x,other=y", 0)]

    metrics = ExportMetricsServiceRequest.FromString(made[Signal.METRICS])
    kinds = {
        metric.name: metric.WhichOneof("data")
        for resource in metrics.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert kinds == {
        "requests": "sum",
        "paid": "sum",
        "open": "sum",
        "seen": "sum",
        "level": "gauge",
        "latency": "histogram",
        "size": "exponential_histogram",
    }

    logs = ExportLogsServiceRequest.FromString(made[Signal.LOGS])
    records = [item for resource in logs.resource_logs for scope in resource.scope_logs for item in scope.log_records]
    assert {record.body.WhichOneof("value") for record in records} == KINDS_OF_VALUES
    assert {pair.value.WhichOneof("value") for pair in records[0].attributes} == KINDS_OF_VALUES
    assert (records[0].severity_number, records[0].severity_text) == (18, "Error")
    assert (records[0].trace_id, records[0].span_id, records[0].flags) == (root.trace_id, root.parent_span_id, 1)
    assert records[0].event_name == "device.broke"
