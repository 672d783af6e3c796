"""A request that was cut says the same as before; what is not known of it is kept."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import ExportRequest, Signal
from app.core.wire import varint
from app.pipeline.ids import has_wrong_ids
from app.pipeline.split import count, split

Leaf = tuple[object, ...]

REQUESTS: dict[Signal, type[Any]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}


# Requests as bytes, written field by field: in any order, more than once, with fields that nobody knows.


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def padded(number: int, value: bytes) -> bytes:
    """The same with a length that takes more bytes than it needs to, which is valid."""
    length = len(value)
    return varint(number << 3 | 2) + bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14]) + value


def within(number: int, values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(lambda write, value: write(number, value), st.sampled_from([field, field, padded]), values)


def text(number: int) -> st.SearchStrategy[bytes]:
    return within(number, st.text(max_size=6).map(str.encode))


unknown = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda value: varint(800 << 3) + varint(value)),
    st.binary(min_size=8, max_size=8).map(lambda value: varint(801 << 3 | 1) + value),
    st.binary(min_size=4, max_size=4).map(lambda value: varint(802 << 3 | 5) + value),
    within(803, st.binary(max_size=8)),
    st.binary(max_size=4).map(lambda v: varint(804 << 3 | 3) + field(1, v) + b"\x08\x01" + varint(804 << 3 | 4)),
)


def message(*members: st.SearchStrategy[bytes], most: int = 5) -> st.SearchStrategy[bytes]:
    return st.lists(st.one_of(*members, unknown), max_size=most).map(b"".join)


def ids(size: int) -> st.SearchStrategy[bytes]:
    return st.one_of(st.just(b""), st.binary(min_size=size, max_size=size), st.binary(min_size=3, max_size=3))


attribute = message(text(1), within(2, text(1)), most=2)
resource = within(1, message(within(1, attribute), most=2))
scope = within(1, message(text(1), text(2), within(3, attribute), most=2))
link = message(within(1, ids(16)), within(2, ids(8)), most=2)
span = message(within(1, ids(16)), within(2, ids(8)), within(4, ids(8)), text(5), within(13, link))
record = message(text(3), within(6, attribute), within(9, ids(16)), within(10, ids(8)))
exemplar = message(within(4, ids(8)), within(5, ids(16)), most=2)


def point(attributes: int, exemplars: int) -> st.SearchStrategy[bytes]:
    times = st.binary(min_size=8, max_size=8).map(lambda value: varint(3 << 3 | 1) + value)
    return message(times, within(attributes, attribute), within(exemplars, exemplar), most=3)


def data(points: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    temporality = st.integers(0, 2).map(lambda value: b"\x10" + varint(value))
    return message(within(1, points), temporality, most=4)


metric = message(
    text(1),
    text(2),
    text(3),
    within(12, attribute),
    within(5, data(point(7, 5))),
    within(7, data(point(7, 5))),
    within(9, data(point(9, 8))),
    within(10, data(point(1, 11))),
    within(11, data(point(7, 100))),
    most=6,
)


def request(item: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    scopes = message(scope, within(2, item), within(2, item), text(3), most=6)
    resources = message(resource, within(2, scopes), within(2, scopes), text(3), most=5)
    return message(within(1, resources), most=4)


requests = st.one_of(
    st.tuples(st.just(Signal.TRACES), request(span)),
    st.tuples(st.just(Signal.METRICS), request(metric)),
    st.tuples(st.just(Signal.LOGS), request(record)),
)


# What a request says: each item under everything that it is in.


def without(message: Message, *children: str) -> bytes:
    rest = type(message)()
    rest.CopyFrom(message)
    for child in children:
        rest.ClearField(child)
    return rest.SerializeToString(deterministic=True)


def leaves(signal: Signal, body: bytes) -> Iterator[Leaf]:
    request = REQUESTS[signal].FromString(body)
    names = {Signal.TRACES: "spans", Signal.METRICS: "metrics", Signal.LOGS: "log_records"}
    items, containers = names[signal], {Signal.TRACES: "spans", Signal.METRICS: "metrics", Signal.LOGS: "logs"}
    resources, scopes = f"resource_{containers[signal]}", f"scope_{containers[signal]}"
    yield (without(request, resources),)
    for of_resource in getattr(request, resources):
        top = without(of_resource, scopes)
        if not getattr(of_resource, scopes):
            yield (top,)
        for of_scope in getattr(of_resource, scopes):
            middle = (top, without(of_scope, items))
            if not getattr(of_scope, items):
                yield middle
            for item in getattr(of_scope, items):
                if signal is Signal.METRICS:
                    yield from points(middle, item)
                else:
                    yield (*middle, item.SerializeToString(deterministic=True))


def points(above: Leaf, metric: Any) -> Iterator[Leaf]:
    kind = metric.WhichOneof("data")
    if kind is None:
        yield (*above, without(metric))
        return
    data = getattr(metric, kind)
    above = (*above, without(metric, kind), kind, without(data, "data_points"))
    if not data.data_points:
        yield above
    for point in data.data_points:
        yield (*above, point.SerializeToString(deterministic=True))


def number_of_items(signal: Signal, body: bytes) -> int:
    depth = 6 if signal is Signal.METRICS else 3
    return sum(1 for leaf in leaves(signal, body) if len(leaf) == depth)


# The laws.


@given(requests, st.integers(1, 200))
def test_the_parts_together_say_what_the_request_said(drawn: tuple[Signal, bytes], bound: int) -> None:
    signal, body = drawn
    parts = list(split(ExportRequest(signal, body, 0), bound))
    together = b"".join(part.body for part in parts)
    assert list(leaves(signal, together)) == list(leaves(signal, body))
    assert all(part.signal is signal for part in parts)


@given(requests, st.integers(1, 200))
def test_a_part_is_within_the_bound_or_holds_no_more_than_one_item(drawn: tuple[Signal, bytes], bound: int) -> None:
    signal, body = drawn
    for part in split(ExportRequest(signal, body, 0), bound):
        assert len(part.body) <= bound or part.items <= 1
        assert part.items == number_of_items(signal, part.body)


@given(requests)
def test_what_is_within_the_bound_stays_as_it_is(drawn: tuple[Signal, bytes]) -> None:
    signal, body = drawn
    items = count(signal, body)
    whole = [ExportRequest(signal, body, items)] if body else []
    assert list(split(ExportRequest(signal, body, items), max(len(body), 1))) == whole


@given(requests)
def test_items_are_counted_as_a_parse_counts_them(drawn: tuple[Signal, bytes]) -> None:
    signal, body = drawn
    assert count(signal, body) == number_of_items(signal, body)


@given(requests, st.integers(1, 200), st.integers(1, 200))
def test_parts_can_be_cut_again(drawn: tuple[Signal, bytes], first: int, second: int) -> None:
    signal, body = drawn
    parts = [part for half in split(ExportRequest(signal, body, 0), first) for part in split(half, second)]
    together = b"".join(part.body for part in parts)
    assert list(leaves(signal, together)) == list(leaves(signal, body))


@given(requests, requests)
def test_a_merge_says_what_its_requests_said(one: tuple[Signal, bytes], other: tuple[Signal, bytes]) -> None:
    signal = one[0]
    if other[0] is not signal:
        return
    (_, *first), (_, *second) = leaves(signal, one[1]), leaves(signal, other[1])
    _, *both = leaves(signal, one[1] + other[1])
    assert both == first + second


# Ids of a wrong length.


def id_lengths(signal: Signal, body: bytes) -> Iterator[tuple[str, int]]:
    """All ids of a request, wherever they are, by name: found through the descriptors and not by their numbers."""

    def walk(message: Message) -> Iterator[tuple[str, int]]:
        for each, value in message.ListFields():
            values = value if each.is_repeated else [value]
            for inner in values:
                if each.message_type is not None:
                    yield from walk(inner)
                elif each.name in LENGTHS:
                    yield each.name, len(inner)

    return walk(REQUESTS[signal].FromString(body))


LENGTHS = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}


@given(requests)
def test_an_id_of_a_wrong_length_is_found_wherever_it_is(drawn: tuple[Signal, bytes]) -> None:
    signal, body = drawn
    wrong = any(length not in {0, LENGTHS[name]} for name, length in id_lengths(signal, body))
    # A parse forgets an id that another overrides and a choice that was not made; collectors refuse them as well.
    parsed = REQUESTS[signal].FromString(body).SerializeToString()
    assert has_wrong_ids(signal, b"before" + parsed + b"after", 6, 6 + len(parsed)) == wrong
    assert has_wrong_ids(signal, body, 0, len(body)) or not wrong
