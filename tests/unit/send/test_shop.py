"""What a shop makes, and batches of it."""

import time
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from app.core.request import Signal
from app.exporters.forest import plant
from app.send.batch import Batches
from app.send.shop import LOG_RECORDS, METRICS, SPANS, Shop
from tests.support.items import Item, items_of

ENCODERS: dict[Signal, Any] = {
    Signal.TRACES: encode_spans,
    Signal.METRICS: encode_metrics,
    Signal.LOGS: encode_logs,
}


def taken(batches: Batches, signal: Signal, items: int) -> list[Item]:
    return list(items_of(signal, ENCODERS[signal](batches.take(items)).SerializeToString()))


@pytest.mark.parametrize(
    ("signal", "names"), [(Signal.TRACES, SPANS), (Signal.METRICS, METRICS), (Signal.LOGS, LOG_RECORDS)]
)
def test_the_first_purchase_is_always_the_same(signal: Signal, names: tuple[str, ...]) -> None:
    items = taken(Batches(signal, Shop()), signal, len(names))
    assert sorted(str(item.name) for item in items) == sorted(names)
    assert {item.service for item in items} == {"web", "checkout", "payment", "mailer"}


@pytest.mark.parametrize("signal", Signal)
def test_a_batch_has_exactly_so_many_items(signal: Signal) -> None:
    batches = Batches(signal, Shop())
    assert [len(taken(batches, signal, items)) for items in (1, 7, 100, 3)] == [1, 7, 100, 3]


def test_traces_have_an_error_a_retry_and_a_link_to_what_caused_them() -> None:
    purchase, mail = plant(encode_spans(Batches(Signal.TRACES, Shop()).take(10)))  # type: ignore[arg-type]
    [page] = purchase.roots
    assert (page.span.name, len(purchase.nodes)) == ("POST /checkout", 9)
    failed = [node.span for node in purchase.nodes if node.span.status.code == Status.STATUS_CODE_ERROR]
    assert [span.name for span in failed] == ["Payment/Charge", "POST card.example/charges"]
    assert [event.name for node in purchase.nodes for event in node.span.events] == ["retry", "exception", "charged"]
    published = next(node.span for node in purchase.nodes if node.span.name == "orders publish")
    [link] = mail.nodes[0].span.links
    assert (link.trace_id, link.span_id) == (published.trace_id, published.span_id)


def test_a_part_of_a_purchase_has_the_parents_of_its_spans() -> None:
    traces = plant(encode_spans(Batches(Signal.TRACES, Shop()).take(6)))  # type: ignore[arg-type]
    assert [(len(trace.roots), len(trace.nodes)) for trace in traces] == [(1, 6)]


def test_only_some_purchases_fail() -> None:
    traces = plant(encode_spans(Batches(Signal.TRACES, Shop()).take(10 + 3 * 8 + 10)))  # type: ignore[arg-type]
    failures = [sum(node.failed for node in trace.nodes) for trace in traces if len(trace.nodes) > 1]
    assert sorted(failures) == [0, 0, 0, 2, 2]


def test_everything_was_before_now_and_after_that_which_caused_it() -> None:
    spans = plant(encode_spans(Batches(Signal.TRACES, Shop()).take(200)))  # type: ignore[arg-type]
    for trace in spans:
        for node in trace.nodes:
            assert 0 < node.span.start_time_unix_nano <= node.span.end_time_unix_nano <= time.time_ns()
            for child in node.children:
                assert child.span.start_time_unix_nano >= node.span.start_time_unix_nano
                assert child.span.end_time_unix_nano <= node.span.end_time_unix_nano


def test_log_records_and_exemplars_belong_to_traces() -> None:
    records = encode_logs(Batches(Signal.LOGS, Shop()).take(12))  # type: ignore[arg-type]
    logs = [record for each in records.resource_logs for record in each.scope_logs[0].log_records]
    assert all(record.trace_id and record.span_id and record.severity_number for record in logs)
    assert {record.severity_text for record in logs} == {"DEBUG", "INFO", "ERROR"}
    metrics = encode_metrics(Batches(Signal.METRICS, Shop()).take(len(METRICS)))  # type: ignore[arg-type]
    [duration] = [
        metric
        for each in metrics.resource_metrics
        for metric in each.scope_metrics[0].metrics
        if metric.name == "http.server.request.duration"
    ]
    assert duration.histogram.data_points[0].exemplars[0].trace_id


def test_data_points_of_many_purchases_are_under_one_resource_and_metric() -> None:
    metrics = encode_metrics(Batches(Signal.METRICS, Shop()).take(20 * len(METRICS)))  # type: ignore[arg-type]
    assert [len(each.scope_metrics) for each in metrics.resource_metrics] == [1] * 4
    names = [metric.name for each in metrics.resource_metrics for metric in each.scope_metrics[0].metrics]
    assert len(names) == len({*METRICS}) + 3  # the use of memory is there for each of four services
