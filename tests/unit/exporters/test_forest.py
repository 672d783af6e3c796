"""Spans as trees, whatever their ids say."""

import random

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from app.exporters.forest import Node, Trace, plant

Drawn = list[object]


def span(name: str, parent: str = "", start: int = 0, trace: bytes = b"t") -> Span:
    return Span(
        trace_id=trace, span_id=name.encode(), parent_span_id=parent.encode(), name=name, start_time_unix_nano=start
    )


def planted(*spans: Span) -> list[Trace]:
    return plant(ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])]))


def drawn(*spans: Span) -> Drawn:
    """The names of the first trace's spans: a span with children is a list of its name and them."""
    return [_drawn(root) for root in planted(*spans)[0].roots]


def _drawn(node: Node) -> object:
    return [node.span.name, *map(_drawn, node.children)] if node.children else node.span.name


def test_a_span_is_under_its_parent_in_whatever_order_they_come() -> None:
    spans = [span("a"), span("b", "a"), span("c", "b"), span("d", "a")]
    assert drawn(*spans) == [["a", ["b", "c"], "d"]]
    assert drawn(spans[2], spans[0], spans[1], spans[3]) == [["a", ["b", "c"], "d"]]


def test_siblings_roots_and_traces_are_in_the_order_of_their_start() -> None:
    assert drawn(span("a", start=1), span("c", "a", 9), span("b", "a", 5)) == [["a", "b", "c"]]
    assert drawn(span("late", start=9), span("early", start=1)) == ["early", "late"]
    traces = planted(span("x", start=9, trace=b"1"), span("y", start=3, trace=b"2"))
    assert [trace.trace_id for trace in traces] == [b"2", b"1"]


def test_a_span_without_its_parent_is_a_root_that_says_so() -> None:
    [trace] = planted(span("a"), span("b", "elsewhere"), span("c", "b"))
    assert [(root.span.name, root.orphan) for root in trace.roots] == [("a", False), ("b", True)]
    assert drawn(span("a"), span("b", "elsewhere"), span("c", "b")) == ["a", ["b", "c"]]


def test_a_parent_in_another_trace_is_none() -> None:
    assert [len(trace.roots) for trace in planted(span("a", trace=b"1"), span("b", "a", trace=b"2"))] == [1, 1]


@pytest.mark.parametrize(
    ("spans", "tree"),
    [
        ([span("a", "a")], ["a"]),
        ([span("a", "b", 2), span("b", "a", 1)], [["b", "a"]]),
        ([span("a", "c", 1), span("b", "a"), span("c", "b"), span("d", "b", 9)], [["b", ["c", "a"], "d"]]),
        ([span("root"), span("a", "b", 2), span("b", "a", 1)], ["root", ["b", "a"]]),
    ],
    ids=["itself", "two", "three and a branch", "beside a tree"],
)
def test_a_circle_is_cut_at_the_span_that_began_first(spans: list[Span], tree: Drawn) -> None:
    assert drawn(*spans) == tree


def test_a_span_that_came_twice_is_there_twice_and_its_children_once() -> None:
    assert drawn(span("a"), span("a"), span("b", "a")) == [["a", "b"], "a"]


def test_spans_without_ids_are_roots() -> None:
    [trace] = planted(Span(name="x"), Span(name="y"))
    assert [root.span.name for root in trace.roots] == ["x", "y"]
    assert not any(root.orphan for root in trace.roots)


def test_a_trace_spans_services_and_knows_its_times_and_failures() -> None:
    def under(service: str, *spans: Span) -> ResourceSpans:
        name = KeyValue(key="service.name", value=AnyValue(string_value=service))
        return ResourceSpans(resource=Resource(attributes=[name]), scope_spans=[ScopeSpans(spans=spans)])

    failed = Span(
        span_id=b"b",
        parent_span_id=b"a",
        start_time_unix_nano=7,
        end_time_unix_nano=8,
        status=Status(code=Status.STATUS_CODE_ERROR),
    )
    timeless, whole = Span(span_id=b"c"), Span(span_id=b"a", start_time_unix_nano=5, end_time_unix_nano=90)
    [trace] = plant(
        ExportTraceServiceRequest(
            resource_spans=[under("one", failed, timeless), under("two", whole), under("", Span())]
        )
    )
    assert (trace.start, trace.end) == (5, 90)
    assert {(node.service, node.failed) for node in trace.nodes} == {
        ("one", True),
        ("one", False),
        ("two", False),
        ("unknown", False),
    }


def test_every_span_is_in_exactly_one_place_whatever_the_ids() -> None:
    chance = random.Random(7)
    for _ in range(200):
        ids = [chance.choice("abcdef") for _ in range(chance.randrange(1, 12))]
        spans = [span(each, chance.choice(["", "z", *ids]), chance.randrange(4)) for each in ids]
        [trace] = planted(*spans)
        places = list(trace.roots)
        for node in places:
            places += node.children
        assert len(places) == len(spans)
        assert set(places) == set(trace.nodes)


def test_a_chain_may_be_as_long_as_a_batch() -> None:
    [trace] = planted(*(span(str(number), str(number - 1), number) for number in range(5000)))
    assert len(trace.roots) == 1
