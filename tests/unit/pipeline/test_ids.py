"""Whose ids are looked at; tests/model/test_split.py shows that none is overlooked."""

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal
from app.pipeline.ids import has_wrong_ids

RIGHT = {"trace_id": bytes(16), "span_id": bytes(8)}
KINDS = ["gauge", "sum", "histogram", "exponential_histogram"]


def span(link: dict[str, bytes] | None = None, **ids: bytes) -> bytes:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(**(RIGHT | ids))
    if link is not None:
        span.links.add(**link)
    return request.SerializeToString()


def record(**ids: bytes) -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(**(RIGHT | ids))
    return request.SerializeToString()


def exemplar(kind: str, **ids: bytes) -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    getattr(metric, kind).data_points.add().exemplars.add(**(RIGHT | ids))
    return request.SerializeToString()


def wrong(signal: Signal, body: bytes) -> bool:
    return has_wrong_ids(signal, body, 0, len(body))


@pytest.mark.parametrize("ids", [{}, {"trace_id": b""}, {"span_id": b""}, {"trace_id": b"\xff" * 16}])
def test_ids_of_the_right_length_and_empty_ones_are_right(ids: dict[str, bytes]) -> None:
    assert not wrong(Signal.TRACES, span(**ids))
    assert not wrong(Signal.TRACES, span(link=ids))
    assert not wrong(Signal.LOGS, record(**ids))
    for kind in KINDS:
        assert not wrong(Signal.METRICS, exemplar(kind, **ids))


@pytest.mark.parametrize(
    "ids", [{"trace_id": b"abc"}, {"trace_id": bytes(8)}, {"span_id": bytes(16)}, {"span_id": b"a"}]
)
def test_ids_of_another_length_are_wrong(ids: dict[str, bytes]) -> None:
    assert wrong(Signal.TRACES, span(**ids))
    assert wrong(Signal.TRACES, span(link=ids))
    assert wrong(Signal.LOGS, record(**ids))
    for kind in KINDS:
        assert wrong(Signal.METRICS, exemplar(kind, **ids))


def test_a_parent_is_looked_at_too() -> None:
    assert wrong(Signal.TRACES, span(parent_span_id=b"abc"))
    assert not wrong(Signal.TRACES, span(parent_span_id=bytes(8)))


def test_one_among_many_is_found() -> None:
    assert wrong(Signal.TRACES, span() * 1000 + span(trace_id=b"abc") + span() * 1000)
