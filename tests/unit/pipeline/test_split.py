"""The cuts that people ask about; tests/model/test_split.py has the laws."""

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import ExportRequest, Signal
from app.pipeline.split import count, is_divisible, split
from tests.support.load import identities, spans_request
from tests.support.payload import one_item


def test_a_request_of_many_spans_is_cut_into_few_parts() -> None:
    body = spans_request(1, 30_000)
    parts = list(split(ExportRequest(Signal.TRACES, body, 30_000), 1 << 20))
    assert len(parts) == -(-len(body) // (1 << 20))
    assert sum(part.items for part in parts) == 30_000
    assert list(identities(part.body for part in parts)) == list(range(1, 30_001))


def test_each_part_has_the_resource_the_scope_and_their_schema_urls() -> None:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add(schema_url="of the resource")
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = resource.scope_spans.add(schema_url="of the scope")
    scope.scope.name = "library"
    for number in range(10):
        scope.spans.add(name=f"span {number}")
    parts = list(split(ExportRequest(Signal.TRACES, request.SerializeToString(), 10), 120))
    assert len(parts) > 2
    for part in parts:
        (of_resource,) = ExportTraceServiceRequest.FromString(part.body).resource_spans
        (of_scope,) = of_resource.scope_spans
        assert of_resource.schema_url == "of the resource"
        assert of_resource.resource == resource.resource
        assert of_scope.schema_url == "of the scope"
        assert of_scope.scope == scope.scope


def test_a_metric_is_cut_at_its_data_points_and_stays_what_it_is() -> None:
    request = ExportMetricsServiceRequest()
    metric = (
        request.resource_metrics.add().scope_metrics.add().metrics.add(name="requests", unit="1", description="all")
    )
    metric.sum.aggregation_temporality = 2  # type: ignore[assignment]  # cumulative
    metric.sum.is_monotonic = True
    for number in range(10):
        metric.sum.data_points.add(as_int=number)
    parts = list(split(ExportRequest(Signal.METRICS, request.SerializeToString(), 10), 60))
    assert len(parts) > 2
    points = []
    for part in parts:
        (piece,) = ExportMetricsServiceRequest.FromString(part.body).resource_metrics[0].scope_metrics[0].metrics
        assert (piece.name, piece.unit, piece.description) == ("requests", "1", "all")
        assert (piece.sum.aggregation_temporality, piece.sum.is_monotonic) == (2, True)
        points += [point.as_int for point in piece.sum.data_points]
    assert points == list(range(10))


def test_an_item_above_the_bound_is_a_part_of_its_own() -> None:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for size in (10, 5000, 10):
        scope.spans.add(name="x" * size)
    parts = list(split(ExportRequest(Signal.TRACES, request.SerializeToString(), 3), 1000))
    assert [part.items for part in parts] == [1, 1, 1]
    assert [len(part.body) > 1000 for part in parts] == [False, True, False]


@pytest.mark.parametrize("signal", Signal)
def test_items_are_counted(signal: Signal) -> None:
    assert count(signal, b"") == 0
    assert count(signal, one_item(signal) * 3) == 3


def test_what_is_not_protobuf_is_an_error() -> None:
    with pytest.raises(ValueError, match="cut short"):
        list(split(ExportRequest(Signal.TRACES, b"\x0a", 1), 10))


def test_what_cannot_be_cut_with_profit_is_not_divisible() -> None:
    many = ExportRequest(Signal.TRACES, spans_request(1, 100), 100)
    assert is_divisible(many, 1000)
    assert not is_divisible(many, len(many.body))
    assert not is_divisible(ExportRequest(Signal.TRACES, b"\x0a", 1), 10)
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="k" * 10_000)
    for _ in range(100):
        resource.scope_spans.add().spans.add(name="a")
    assert not is_divisible(ExportRequest(Signal.TRACES, request.SerializeToString(), 100), 10_050)
