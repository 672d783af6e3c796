import json
import math
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from app.core.request import Signal
from app.receivers.decode import request_type
from app.receivers.mapping import Plan
from app.receivers.otlp_json import serializing
from app.receivers.shape import DEPTH
from app.receivers.shortcut import shortcut_for
from app.receivers.tree import LEVELS
from app.receivers.turns import at_once

EXPORTERS = Path(__file__).parent / "exporters"  # what the SDK for Node.js 2.12.0 sent
EXAMPLES = Path(__file__).parents[2] / "conformance" / "examples"
WRITTEN = {
    **{f"{signal.value} of Node.js": (signal, EXPORTERS / f"node-{signal.value}.json") for signal in Signal},
    "traces of the specification": (Signal.TRACES, EXAMPLES / "trace.json"),
    "metrics of the specification": (Signal.METRICS, EXAMPLES / "metrics.json"),
    "logs of the specification": (Signal.LOGS, EXAMPLES / "logs.json"),
    "events of the specification": (Signal.LOGS, EXAMPLES / "events.json"),
}


def read(kind: Any, text: str) -> Any:
    """The message of type `kind` that comes out, None where `text` is in doubt."""
    serialized = shortcut_for(kind.DESCRIPTOR).read(text.encode())
    return None if serialized is None else kind.FromString(serialized)


@pytest.mark.parametrize(("signal", "path"), WRITTEN.values(), ids=WRITTEN.keys())
def test_what_exporters_write_is_not_in_doubt(signal: Signal, path: Path) -> None:
    body = path.read_bytes()
    serialized = shortcut_for(request_type(signal).DESCRIPTOR).read(body)
    assert serialized == at_once(serializing(signal, body, shortcut=0)) != b""


@pytest.mark.parametrize(
    ("signal", "name", "container", "size"),
    [(Signal.TRACES, "traces", "spans", 600), (Signal.LOGS, "logs", "logRecords", 900)],
)
def test_of_many_items_all_but_the_last_few_take_the_shortcut(
    signal: Signal, name: str, container: str, size: int
) -> None:
    document = json.loads((EXPORTERS / f"node-{name}.json").read_bytes())
    ((_, [resource]),) = document.items()
    [scope] = resource["scopeSpans" if signal is Signal.TRACES else "scopeLogs"]
    items = scope[container] = scope[container] * size
    for separators in ((",", ":"), (", ", " : "), (" ,\r\n\t", ":")):
        body = json.dumps(document, separators=separators).encode()
        assert len(body) > 300_000
        expected = at_once(serializing(signal, body, shortcut=0))
        serialized, filled = counting_fills(signal, body)
        assert request_type(signal).FromString(serialized) == request_type(signal).FromString(expected)
        assert filled < len(items) // 10


def counting_fills(signal: Signal, body: bytes) -> tuple[bytes, int]:
    """What comes of `body`, and how many objects were read the long way."""
    fills = 0

    def profile(frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal fills
        fills += event == "call" and frame.f_code is Plan.fill.__code__

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        return at_once(serializing(signal, body)), fills
    finally:
        sys.setprofile(before)


def test_an_array_of_objects_is_read_up_to_its_end_or_to_that_of_the_text() -> None:
    resource, attributes = shortcut_for(Resource.DESCRIPTOR), Resource.DESCRIPTOR.fields_by_name["attributes"]
    part = Resource()
    part.attributes.add(key="é")
    part.attributes.add(key="]")
    serialized = part.SerializeToString()
    assert resource.read_items(attributes, '{"key":"é"}, {"key":"]"}', 3) == (serialized, 2, 24)
    assert resource.read_items(attributes, '{"key":"é"},{"key":"]"} ]},{"key":"a"}', 3) == (serialized, 2, 24)
    assert resource.read_items(attributes, "{}]", 3) == (b"\n\0", 1, 2)
    assert resource.read_items(attributes, '{"key":"a"},{"key":', 3) is None
    assert resource.read_items(attributes, '{"key":"a"},{"key":[]', 3) is None
    assert resource.read_items(attributes, '{"key":"a"},5]', 3) is None
    assert resource.read_items(attributes, "{}", DEPTH - LEVELS - 1) is not None
    assert resource.read_items(attributes, "{}", DEPTH - LEVELS) is None


NOT_SEEN: dict[str, tuple[Any, str]] = {
    "no JSON": (Span, '{"name":"a"'),
    "no object": (Span, "[]"),
    "a number": (Span, "5"),
    "nothing": (Span, ""),
    "NaN": (NumberDataPoint, '{"asDouble":NaN}'),
    "an infinite number": (NumberDataPoint, '{"asDouble":1e999}'),
    "half of a surrogate pair": (Span, '{"name":"\\ud834"}'),
    "a known key twice": (Span, '{"name":"a","name":"b"}'),
    "an unknown key twice": (Span, '{"new":1,"name":"a","new":2}'),
    "a key twice with a colon less": (Span, '{"name":"a\\u003A","name":"b"}'),
    "a key twice with colons hidden": (Span, '{"name":"\\u003a","kind":1,"kind":1}'),
    "a number for a name": (Span, '{"name":5}'),
    "a number that may have been an integer": (AnyValue, '{"intValue":-9223372036854775809}'),
    "an integer with a point": (Span, '{"flags":1.0}'),
    "an integer out of range": (Span, '{"flags":4294967296}'),
    "an integer far out of range": (Span, '{"flags":"%s"}' % ("9" * 40)),
    "an integer out of every range": (Span, '{"startTimeUnixNano":18446744073709551616}'),
    "an integer with an exponent": (Span, '{"startTimeUnixNano":"1e3"}'),
    "no number for an integer": (Span, '{"startTimeUnixNano":"NaN"}'),
    "no number in small letters": (AnyValue, '{"doubleValue":"nan"}'),
    "no number with a sign": (AnyValue, '{"doubleValue":"-NaN"}'),
    "an infinite number in short": (AnyValue, '{"doubleValue":"-Inf"}'),
    "an infinite number in escapes": (AnyValue, '{"doubleValue":"I\\u004e\\u0046"}'),
    "an infinite number in quotes": (AnyValue, '{"doubleValue":"1e400"}'),
    "a negative zero in quotes": (AnyValue, '{"doubleValue":"-0"}'),
    "null in quotes": (Span, '{"status":"null"}'),
    "null in quotes for an integer": (Span, '{"flags":"Null"}'),
    "null in quotes beside null": (Span, '{"name":null,"flags":"null"}'),
    "true for an integer": (Span, '{"flags":true}'),
    "a name for an enum": (Span, '{"kind":"SPAN_KIND_SERVER"}'),
    "digits in quotes for an enum": (Span, '{"kind":"1"}'),
    "true for an enum": (Span, '{"kind":true}'),
    "true for a double": (AnyValue, '{"doubleValue":true}'),
    "one for true": (AnyValue, '{"boolValue":1}'),
    "an id that is no hex": (Span, '{"traceId":"xy"}'),
    "an array for an id": (Span, '{"traceId":[]}'),
    "bytes that are no base64": (AnyValue, '{"bytesValue":"é"}'),
    "two of a choice": (AnyValue, '{"stringValue":"a","intValue":1}'),
    "two of another choice": (Metric, '{"name":"a","gauge":{},"sum":{}}'),
    "an array for an object": (Span, '{"status":[]}'),
    "a text for an object": (Span, '{"status":""}'),
    "an object for an array": (Span, '{"attributes":{}}'),
    "a text for an array": (Span, '{"attributes":""}'),
    "null in an array": (Span, '{"attributes":[null]}'),
    "a text for an array of numbers": (HistogramDataPoint, '{"bucketCounts":""}'),
    "an object for an array of numbers": (HistogramDataPoint, '{"explicitBounds":{}}'),
    "true in an array of integers": (HistogramDataPoint, '{"bucketCounts":[1,true]}'),
    "true in an array of doubles": (HistogramDataPoint, '{"explicitBounds":[1,true]}'),
    "null in an array of numbers": (HistogramDataPoint, '{"explicitBounds":[1,null]}'),
    "a large number in an array of integers": (HistogramDataPoint, '{"bucketCounts":[1,18446744073709551616]}'),
}


@pytest.mark.parametrize(("kind", "text"), NOT_SEEN.values(), ids=NOT_SEEN.keys())
def test_what_is_not_seen_to_be_right_is_in_doubt(kind: Any, text: str) -> None:
    assert read(kind, text) is None


def test_messages_nest_as_deep_as_there_are_types_and_no_deeper() -> None:
    def nested(levels: int) -> str:
        return '{"arrayValue":{"values":[' * levels + "{}" + "]}}" * levels

    assert read(AnyValue, nested(LEVELS // 2)) is not None
    assert read(AnyValue, nested(LEVELS // 2 + 1)) is None
    assert read(AnyValue, nested(LEVELS // 2).replace("{}", '{"arrayValue":""}')) is None
    assert read(AnyValue, nested(LEVELS // 2).replace("{}", '{"arrayValue":null}')) is not None
    assert read(AnyValue, '{"new":' + "[" * 100 + "]" * 100 + "}") == AnyValue()
    assert read(AnyValue, '{"new":' + "[" * 5000 + "]" * 5000 + "}") is None


def test_unknown_keys_and_null_are_as_if_absent() -> None:
    text = '{"new":{"name":[{}]},"name":"a","kind":null,"status":null,"links":null,"traceId":null,"old":null}'
    assert read(Span, text) == Span(name="a")
    assert read(HistogramDataPoint, '{"bucketCounts":null,"sum":null}') == HistogramDataPoint()


def test_empty_objects_are_there_in_whatever_is_there() -> None:
    assert read(Span, '{"status":{}}').HasField("status")
    assert read(Span, '{"status":{"code":null,"new":1}}').HasField("status")
    assert read(AnyValue, '{"arrayValue":{"values":[]}}').HasField("array_value")
    assert read(AnyValue, '{"kvlistValue":{}}').HasField("kvlist_value")
    assert len(read(ScopeSpans, '{"spans":[{},{"new":[]}]}').spans) == 2


def test_numbers_come_in_every_form_that_is_exact() -> None:
    assert read(Span, '{"startTimeUnixNano":"18446744073709551615"}').start_time_unix_nano == (1 << 64) - 1
    assert read(Span, '{"startTimeUnixNano":18446744073709551615}').start_time_unix_nano == (1 << 64) - 1
    assert read(AnyValue, '{"intValue":-9223372036854775808}').int_value == -1 << 63
    assert read(AnyValue, '{"intValue":"-5"}').int_value == -5
    assert read(AnyValue, '{"doubleValue":5}').double_value == 5
    assert read(AnyValue, '{"doubleValue":"-Infinity"}').double_value == float("-inf")
    assert math.copysign(1, read(AnyValue, '{"doubleValue":"-0.0"}').double_value) == -1
    assert read(NumberDataPoint, '{"asDouble":"NaN","attributes":[{"key":"-05:00"}]}').attributes[0].key == "-05:00"
    assert (
        read(AnyValue, '{"doubleValue":123456789012345678901234567890}').double_value
        == 123456789012345678901234567890.0
    )
    point = read(HistogramDataPoint, '{"bucketCounts":["1","2"],"explicitBounds":[1,0.00001,1e-7],"sum":0}')
    assert (list(point.bucket_counts), list(point.explicit_bounds)) == ([1, 2], [1, 1e-5, 1e-7])
    assert point.HasField("sum")
    point = read(HistogramDataPoint, '{"bucketCounts":[1,2],"explicitBounds":[1,"0.5"],"min":"NaN"}')
    assert (list(point.bucket_counts), list(point.explicit_bounds)) == ([1, 2], [1, 0.5])


def test_texts_and_keys_are_what_their_escapes_say() -> None:
    assert read(Span, '{"n\\u0061me":"\\u0061\\n\\ud83d\\ude00"}') == Span(name="a\n😀")
    assert read(Span, '{"status":null,"name":"\\u00e9\\u001f"}') == Span(name="é\x1f")
    assert read(Span, '{"name":"null"}') == Span(name="null")
    assert read(AnyValue, '{"bytesValue":"null"}') == AnyValue(bytes_value=b"\x9e\xe9e")


def test_colons_in_texts_do_not_matter() -> None:
    assert read(Span, '{"name" : "a : b", "traceState": ":\\":\\u0022:"}') == Span(name="a : b", trace_state=':":":')
