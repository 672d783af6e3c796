"""Bodies made to be dear: each is checked whole, costs at most 128 MiB, and leaves the loop its turns."""

import pytest

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.decode import read_protobuf
from app.receivers.otlp_json import read_json
from tests.support.bombs import many
from tests.support.cost import cost_of
from tests.support.wire import field, group, nested_values, varint

MIB = 1 << 20
UNKNOWN = varint(99 << 3) + b"\0"


def in_attribute(value: bytes) -> bytes:
    return field(1, field(1, field(1, field(2, value))))


def in_metric(data: bytes) -> bytes:
    return field(1, field(2, field(2, data)))


PROTOBUF: dict[str, tuple[Signal, bytes, int]] = {
    "spans": (Signal.TRACES, field(1, field(2, many(field(2, b""), 16 * MIB))), 8 * MIB),
    "resources": (Signal.TRACES, many(field(1, b"")), 0),
    "scopes": (Signal.TRACES, many(field(1, field(2, b""))), 0),
    "attributes": (Signal.TRACES, field(1, field(2, field(2, many(field(9, b""))))), 1),
    "maps": (Signal.TRACES, in_attribute(field(6, many(field(1, b"")))), 0),
    "nested maps": (Signal.TRACES, in_attribute(nested_values(40, field(6, many(field(1, b""))))), 0),
    "deep maps": (Signal.TRACES, field(1, field(1, many(field(1, field(2, nested_values(40)))))), 0),
    "metrics": (Signal.METRICS, field(1, field(2, many(field(2, field(5, b""))))), 0),
    "points": (Signal.METRICS, in_metric(field(5, many(field(1, b"")))), MIB // 2),
    "buckets": (Signal.METRICS, in_metric(field(10, field(1, field(8, field(2, many(b"\1", 16 * MIB)))))), 1),
    "log records": (Signal.LOGS, field(1, field(2, many(field(2, b"")))), MIB // 2),
    "unknown fields": (Signal.TRACES, many(UNKNOWN), 0),
    "a group": (Signal.TRACES, group(99, many(UNKNOWN)), 0),
    "groups": (Signal.TRACES, many(group(99, b"")), 0),
    "a string": (Signal.TRACES, field(1, field(3, many("é".encode(), 16 * MIB))), 0),
}


@pytest.mark.parametrize(("signal", "body", "items"), PROTOBUF.values(), ids=PROTOBUF.keys())
def test_a_bomb_in_protobuf_is_bounded(signal: Signal, body: bytes, items: int) -> None:
    cost = cost_of(read_protobuf, signal, body)
    assert cost.result == items
    assert cost.growth < 128 * MIB
    assert cost.longest_turn < 0.1


def around(before: bytes, item: bytes, size: int = MIB // 2) -> bytes:
    """JSON that opens with `before`, has `item` again and again, and closes what was opened."""
    closing = bytes({ord("{"): ord("}"), ord("["): ord("]")}[each] for each in reversed(before) if each in b"{[")
    return before + b",".join([item] * (size // (len(item) + 1))) + closing


SPANS = b'{"resourceSpans":[{"scopeSpans":[{"spans":['
ATTRIBUTES = b'{"resourceSpans":[{"resource":{"attributes":['
POINT = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"explicitBounds":['
JSON: dict[str, tuple[Signal, bytes, int]] = {
    "spans": (Signal.TRACES, around(SPANS, b"{}", 4 * MIB), 4 * MIB // 3),
    "resources": (Signal.TRACES, around(b'{"resourceSpans":[', b"{}"), 0),
    "attributes": (Signal.TRACES, around(ATTRIBUTES, b'{"value":{}}'), 0),
    "bounds": (Signal.METRICS, around(POINT, b"1"), 1),
    "unknown objects": (Signal.TRACES, around(b'{"x":[', b"{}"), 0),
    "unknown arrays": (Signal.TRACES, around(b'{"x":[', b"[]"), 0),
    "unknown keys": (Signal.TRACES, around(b'{"x":{', b'"":{}'), 0),
    "unknown nesting": (Signal.TRACES, around(b'{"x":[', b'{"":' * 90 + b"0" + b"}" * 90), 0),
    "a string": (Signal.TRACES, b'{"resourceSpans":[{"schemaUrl":"%b\xf0\x9d\x84\x9e"}]}' % many(b"x"), 0),
    "space": (Signal.TRACES, many(b" ") + b"{}", 0),
}


@pytest.mark.parametrize(("signal", "body", "items"), JSON.values(), ids=JSON.keys())
def test_a_bomb_in_json_is_bounded(signal: Signal, body: bytes, items: int) -> None:
    cost = cost_of(read_json, signal, body)
    assert not isinstance(cost.result, Exception)
    assert cost.result.items == items
    assert cost.growth < 128 * MIB
    assert cost.longest_turn < 0.1


@pytest.mark.parametrize(
    "body", [b"[" * 4 * MIB, many(b'{"x":'), many(b'{"resourceSpans":['), b'{"x":' + b"1" * 4 * MIB]
)
def test_what_nests_or_goes_on_without_an_end_is_refused_in_time(body: bytes) -> None:
    cost = cost_of(read_json, Signal.TRACES, body)
    assert isinstance(cost.result, InvalidData)
    assert cost.growth < 128 * MIB
    assert cost.longest_turn < 0.1
