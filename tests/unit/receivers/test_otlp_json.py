import gc
import json
import math
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.decode import request_type
from app.receivers.otlp_json import forecast, read_json, serializing
from app.receivers.turns import at_once

# How many characters are parsed at once, and by the shortcut: all of them, fewer than almost everything has, or none.
WAYS = {
    "whole": {"piece": 1 << 14, "shortcut": 0},
    "in pieces": {"piece": 32, "shortcut": 0},
    "by the shortcut": {"piece": 1 << 14, "shortcut": 1 << 14},
    "in pieces by the shortcut": {"piece": 32, "shortcut": 64},
}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request: pytest.FixtureRequest) -> dict[str, int]:
    return dict(request.param)


def read(signal: Signal, body: bytes | Any, way: dict[str, int]) -> Message:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request_type(signal).FromString(at_once(serializing(signal, text, **way)))


def read_span(span: Any, way: dict[str, int]) -> Span:
    request = read(Signal.TRACES, {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}, way)
    assert isinstance(request, ExportTraceServiceRequest)
    return request.resource_spans[0].scope_spans[0].spans[0]


def read_value(value: Any, way: dict[str, int]) -> AnyValue:
    return read_span({"attributes": [{"key": "k", "value": value}]}, way).attributes[0].value


def read_metric(metric: Any, way: dict[str, int]) -> Metric:
    request = read(Signal.METRICS, {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}, way)
    assert isinstance(request, ExportMetricsServiceRequest)
    return request.resource_metrics[0].scope_metrics[0].metrics[0]


def read_point(point: Any, way: dict[str, int]) -> NumberDataPoint:
    return read_metric({"gauge": {"dataPoints": [point]}}, way).gauge.data_points[0]


def refused(body: bytes | Any, way: dict[str, int], signal: Signal = Signal.TRACES) -> str:
    with pytest.raises(InvalidData) as refusal:
        read(signal, body, way)
    assert refusal.value.reason == "invalid"
    return str(refusal.value)


def span_refused(span: Any, way: dict[str, int]) -> str:
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{}, span]}]}]}).encode()
    message = refused(body, way)
    before = "the body is not an ExportTraceServiceRequest: resourceSpans[0].scopeSpans[0].spans[1]"
    assert message.startswith(before)
    return message.removeprefix(before).removeprefix(".")


SPAN = {
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "eee19b7ec3c1b174",
    "parentSpanId": "eEe19b7ec3c1b173",
    "traceState": "a=b",
    "flags": 257,
    "name": "I'm a server span",
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": 1544712661000000000,
    "kind": 2,
    "attributes": [
        {"key": "string", "value": {"stringValue": '€ 𝄞 " \\ \n'}},
        {"key": "integer", "value": {"intValue": "-9223372036854775808"}},
        {"key": "double", "value": {"doubleValue": 0.5}},
        {"key": "boolean", "value": {"boolValue": True}},
        {"key": "bytes", "value": {"bytesValue": "AAH/"}},
        {"key": "array", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {}, {"intValue": 1}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}}},
        {"key": "empty", "value": {}},
        {"key": "absent"},
    ],
    "droppedAttributesCount": 1,
    "events": [{"timeUnixNano": "1", "name": "e", "attributes": [{"key": "k", "value": {"boolValue": False}}]}, {}],
    "links": [{"traceId": "00ff", "spanId": "ff", "flags": 1}],
    "status": {"message": "no", "code": 2},
}


def expected_span() -> Span:
    span = Span(
        trace_id=bytes.fromhex("5B8EFFF798038103D269B633813FC60C"),
        span_id=bytes.fromhex("eee19b7ec3c1b174"),
        parent_span_id=bytes.fromhex("eee19b7ec3c1b173"),
        trace_state="a=b",
        flags=257,
        name="I'm a server span",
        start_time_unix_nano=1544712660000000000,
        end_time_unix_nano=1544712661000000000,
        kind=Span.SPAN_KIND_SERVER,
        dropped_attributes_count=1,
    )
    span.attributes.add(key="string").value.string_value = '€ 𝄞 " \\ \n'
    span.attributes.add(key="integer").value.int_value = -(1 << 63)
    span.attributes.add(key="double").value.double_value = 0.5
    span.attributes.add(key="boolean").value.bool_value = True
    span.attributes.add(key="bytes").value.bytes_value = b"\0\1\xff"
    values = span.attributes.add(key="array").value.array_value.values
    values.add(string_value="a")
    values.add()
    values.add(int_value=1)
    span.attributes.add(key="map").value.kvlist_value.values.add(key="a").value.string_value = "b"
    span.attributes.add(key="empty").value.SetInParent()
    span.attributes.add(key="absent")
    span.events.add(time_unix_nano=1, name="e").attributes.add(key="k").value.bool_value = False
    span.events.add()
    span.links.add(trace_id=b"\0\xff", span_id=b"\xff", flags=1)
    span.status.message, span.status.code = "no", Status.STATUS_CODE_ERROR
    return span


def test_a_span_comes_out_with_everything_it_has(way: dict[str, int]) -> None:
    assert read_span(SPAN, way) == expected_span()


def test_layout_and_escapes_do_not_matter(way: dict[str, int]) -> None:
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}], "schemaUrl": "u"}]}
    plain = read(Signal.TRACES, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), way)
    assert read(Signal.TRACES, json.dumps(body, indent=8).encode(), way) == plain
    assert read(Signal.TRACES, b" \r\n\t" + json.dumps(body).encode() + b" \n" * 50, way) == plain


def test_metrics_come_out_with_everything_they_have(way: dict[str, int]) -> None:
    exemplar = {
        "filteredAttributes": [{"key": "a"}],
        "timeUnixNano": "1",
        "asInt": "-1",
        "spanId": "0A",
        "traceId": "0b",
    }
    histogram = read_metric(
        {
            "name": "h",
            "unit": "s",
            "histogram": {
                "aggregationTemporality": 2,
                "dataPoints": [
                    {
                        "count": "3",
                        "sum": 0,
                        "bucketCounts": ["1", 2, "0"],
                        "explicitBounds": [1, 2.5],
                        "exemplars": [exemplar],
                    },
                    {},
                ],
            },
        },
        way,
    ).histogram
    assert histogram.aggregation_temporality == 2
    point, empty = histogram.data_points
    assert (point.count, point.HasField("sum"), point.HasField("min")) == (3, True, False)
    assert not empty.HasField("sum")
    assert list(point.bucket_counts) == [1, 2, 0]
    assert list(point.explicit_bounds) == [1, 2.5]
    assert (point.exemplars[0].as_int, point.exemplars[0].span_id, point.exemplars[0].trace_id) == (-1, b"\n", b"\x0b")
    exponential = read_metric(
        {
            "exponentialHistogram": {
                "dataPoints": [{"scale": -3, "positive": {"offset": -1, "bucketCounts": ["18446744073709551615"]}}]
            }
        },
        way,
    ).exponential_histogram.data_points[0]
    assert (exponential.scale, exponential.positive.offset) == (-3, -1)
    assert list(exponential.positive.bucket_counts) == [(1 << 64) - 1]
    assert exponential.HasField("positive")
    assert not exponential.HasField("negative")
    summary = read_metric({"summary": {"dataPoints": [{"quantileValues": [{"quantile": 0.5, "value": 7}]}]}}, way)
    assert summary.summary.data_points[0].quantile_values[0].value == 7
    total = read_metric({"sum": {"isMonotonic": True}}, way)
    assert total.sum.is_monotonic


def test_log_records_come_out_with_everything_they_have(way: dict[str, int]) -> None:
    record = {
        "severityNumber": 9,
        "severityText": "INFO",
        "body": {"stringValue": "b"},
        "traceId": "ab",
        "spanId": "cd",
    }
    request = read(Signal.LOGS, {"resourceLogs": [{"scopeLogs": [{"logRecords": [record], "scope": {}}]}]}, way)
    assert isinstance(request, ExportLogsServiceRequest)
    scope = request.resource_logs[0].scope_logs[0]
    assert scope.HasField("scope")
    log = scope.log_records[0]
    assert (log.severity_number, log.severity_text, log.body.string_value) == (9, "INFO", "b")
    assert (log.trace_id, log.span_id) == (b"\xab", b"\xcd")


async def test_a_request_is_read_with_the_number_of_its_items() -> None:
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN, {}]}, {}]}, {"scopeSpans": [{"spans": [{}]}]}]}
    request = await read_json(Signal.TRACES, json.dumps(body).encode())
    assert (request.signal, request.items) == (Signal.TRACES, 3)
    assert (
        ExportTraceServiceRequest.FromString(request.body).resource_spans[0].scope_spans[0].spans[0] == expected_span()
    )


async def test_a_large_request_is_read_in_pieces() -> None:
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN] * 100}]}, {"resource": {}}]}
    request = await read_json(Signal.TRACES, json.dumps(body).encode())
    assert request.items == 100
    message = ExportTraceServiceRequest.FromString(request.body)
    assert all(span == expected_span() for span in message.resource_spans[0].scope_spans[0].spans)
    assert message.resource_spans[1].HasField("resource")


@pytest.mark.parametrize("body", [b"{}", b'{"resourceSpans":[]}', b'{"resourceSpans":null}', b'{"partialSuccess":{}}'])
async def test_an_empty_request_holds_nothing(body: bytes) -> None:
    request = await read_json(Signal.TRACES, body)
    assert (request.body, request.items) == (b"", 0)


def test_null_is_as_if_absent(way: dict[str, int]) -> None:
    span = {"name": None, "kind": None, "attributes": None, "status": None, "traceId": None, "flags": 1}
    assert read_span(span, way) == Span(flags=1)


def test_empty_objects_are_there(way: dict[str, int]) -> None:
    assert read_span({"status": {}}, way).HasField("status")
    assert read_span({"status": {"code": None, "unknown": 1}}, way).HasField("status")
    assert read_value({"arrayValue": {}}, way).HasField("array_value")
    assert read_value({"arrayValue": {"values": []}}, way).HasField("array_value")
    assert read_value({"kvlistValue": {"values": None}}, way).HasField("kvlist_value")
    assert (
        read_value({"arrayValue": {"values": [{"arrayValue": {}}]}}, way).array_value.values[0].HasField("array_value")
    )
    assert read_metric({"histogram": {"dataPoints": []}}, way).HasField("histogram")
    exponential: Any = {"dataPoints": [{"positive": {"bucketCounts": []}}]}
    assert (
        read_metric({"exponentialHistogram": exponential}, way)
        .exponential_histogram.data_points[0]
        .HasField("positive")
    )


def test_values_that_are_zero_are_there(way: dict[str, int]) -> None:
    assert read_value({"intValue": 0}, way).WhichOneof("value") == "int_value"
    assert read_value({"stringValue": ""}, way).WhichOneof("value") == "string_value"
    assert read_value({"boolValue": False}, way).WhichOneof("value") == "bool_value"
    assert read_value({"doubleValue": 0}, way).WhichOneof("value") == "double_value"
    assert read_value({"bytesValue": ""}, way).WhichOneof("value") == "bytes_value"
    assert read_value({}, way).WhichOneof("value") is None


def test_unknown_fields_are_ignored(way: dict[str, int]) -> None:
    known = {"name": "n", "kind": 1}
    unknown = {"a": 1, "b": [1, [2, {"c": []}], "x" * 99], "d": {"e": {"f": [{}] * 20}}, "name ": 5, "": None}
    assert read_span(unknown | known | {"z": [[]]}, way) == read_span(known, way)


def test_names_are_lower_camel_case_and_no_other(way: dict[str, int]) -> None:
    assert read_span({"trace_id": "ab", "TraceId": "ab", "start_time_unix_nano": 5}, way) == Span()


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        (5, 5),
        ("5", 5),
        (1.0, 1),
        (1e3, 1000),
        ("18446744073709551615", 2**64 - 1),
        (2**64 - 1, 2**64 - 1),
        ("007", 7),
        ("1e3", 1000),
        ("1E+3", 1000),
        ("1.0", 1),
        ("1.5e1", 15),
        ("10e-1", 1),
        ("-0.0", 0),
        ("0e999999999", 0),
        ("1." + "0" * 60, 1),
        ("9007199254740993.0", 9007199254740993),
        ("9007199254740993e0", 9007199254740993),
        ("18446744073709551615.0", 2**64 - 1),
        ("1844674407370955161.5e1", 2**64 - 1),
    ],
)
def test_integers_are_numbers_or_strings(value: Any, number: int, way: dict[str, int]) -> None:
    assert read_span({"startTimeUnixNano": value}, way).start_time_unix_nano == number


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-",
        "1.5",
        "1e-1",
        "1e400",
        "1e999999999",
        "1e-999999999",
        "1e99999999999999999999",
        "18446744073709551616",
        "18446744073709551615.5",
        "18446744073709551616.0",
        "1e20",
        "1.",
        ".5e1",
        "1e",
        "1e3 ",
        "1_0e3",
        "1e٣",
        "Infinity",
        "NaN",
        " 1",
        "1 ",
        "+1",
        "1_0",
        "0x1",
        "٣",
        "x",
        "9" * 50,
        True,
        1.5,
        1e300,
        -1,
        "-1",
        2**64,
        [],
        [1],
        {},
        {"a": 1},
    ],
)
def test_what_is_no_integer_of_its_range_is_refused(value: Any, way: dict[str, int]) -> None:
    assert span_refused({"startTimeUnixNano": value}, way).startswith("startTimeUnixNano: ")


def test_ranges_are_those_of_the_field(way: dict[str, int]) -> None:
    assert read_value({"intValue": -(1 << 63)}, way).int_value == -(1 << 63)
    assert "attributes[0].value.intValue: " in span_refused({"attributes": [{"value": {"intValue": 1 << 63}}]}, way)
    assert read_span({"flags": (1 << 32) - 1}, way).flags == (1 << 32) - 1
    assert span_refused({"flags": 1 << 32}, way) == "flags: 4294967296 is out of the field's range"
    assert span_refused({"flags": "4294967296"}, way) == "flags: '4294967296' is out of the field's range"


def test_enums_are_integers_only(way: dict[str, int]) -> None:
    assert read_span({"kind": 3.0}, way).kind == 3
    assert read_span({"kind": 77}, way).kind == 77
    assert span_refused({"kind": "SPAN_KIND_SERVER"}, way) == "kind: 'SPAN_KIND_SERVER' is not an integer"
    assert span_refused({"kind": "2"}, way) == "kind: '2' is not an integer"
    assert span_refused({"kind": 1 << 31}, way) == "kind: 2147483648 is out of the field's range"
    assert span_refused({"kind": True}, way) == "kind: true is not an integer"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (0.5, 0.5),
        ("0.5", 0.5),
        ("-1e3", -1000.0),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        (-0.0, -0.0),
    ],
)
def test_doubles_are_numbers_or_strings(value: Any, number: float, way: dict[str, int]) -> None:
    assert read_point({"asDouble": value}, way).as_double == number


def test_not_a_number_is_a_double(way: dict[str, int]) -> None:
    assert math.isnan(read_point({"asDouble": "NaN"}, way).as_double)


@pytest.mark.parametrize(
    "value", ["", "nan", "inf", "+Infinity", "1_0", " 1", "1.", ".5", "0x1", "1e999", True, [], {}, 10**400]
)
def test_what_is_no_double_is_refused(value: Any, way: dict[str, int]) -> None:
    body = json.dumps(
        {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [{"asDouble": value}]}}]}]}]}
    )
    where = "resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0].asDouble: "
    message = refused(body.encode(), way | {"piece": max(way["piece"], 1 << 10)}, Signal.METRICS)
    assert where in message
    assert len(message) < 300


@pytest.mark.parametrize(
    "value", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"01", b"+1", b".5", b"1.", b"1e", b"--1"]
)
def test_numbers_that_json_does_not_have_are_refused(value: bytes, way: dict[str, int]) -> None:
    body = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asDouble":%b}]}}]}]}]}' % value
    refused(body, way, Signal.METRICS)


def test_ids_are_hex_of_either_case(way: dict[str, int]) -> None:
    assert read_span({"traceId": "", "spanId": "aAbBcC"}, way) == Span(span_id=b"\xaa\xbb\xcc")


@pytest.mark.parametrize("key", ["traceId", "spanId", "parentSpanId"])
@pytest.mark.parametrize("value", ["xyz", "abc", "ab cd", "0x", "éé", 12, ["ab"], {}, True])
def test_ids_that_are_not_hex_are_refused(key: str, value: Any, way: dict[str, int]) -> None:
    assert span_refused({key: value}, way).endswith(" is not hex") or not isinstance(value, str | int)


@pytest.mark.parametrize("value", ["+/8=", "+/8", "-_8"])
def test_bytes_are_base64_of_either_alphabet(value: str, way: dict[str, int]) -> None:
    assert read_value({"bytesValue": value}, way).bytes_value == b"\xfb\xff"


@pytest.mark.parametrize("value", ["a", "é", "ab c", "ab!=", "====", "a=bc", 5, []])
def test_bytes_that_are_not_base64_are_refused(value: Any, way: dict[str, int]) -> None:
    assert span_refused({"attributes": [{"value": {"bytesValue": value}}]}, way).startswith(
        "attributes[0].value.bytesValue: "
    )


@pytest.mark.parametrize("value", [1, 1.5, True, [], {}])
def test_strings_are_strings(value: Any, way: dict[str, int]) -> None:
    assert span_refused({"name": value}, way).startswith("name: ")


@pytest.mark.parametrize("value", ["true", 1, 0, [], {}])
def test_booleans_are_true_or_false(value: Any, way: dict[str, int]) -> None:
    assert span_refused({"attributes": [{"value": {"boolValue": value}}]}, way).startswith(
        "attributes[0].value.boolValue: "
    )


def test_half_of_a_surrogate_pair_is_no_text(way: dict[str, int]) -> None:
    assert read_span({"name": "\U0001d11e"}, way).name == "𝄞"
    assert span_refused({"name": "\ud834"}, way) == "name: '\\ud834' has half of a surrogate pair"
    keys = {"resourceSpans": [{"resource": {"entityRefs": [{"idKeys": ["a", "\ud834"]}]}}]}
    assert "resourceSpans[0].resource.entityRefs[0].idKeys" in refused(keys, way)
    keys["resourceSpans"][0]["resource"]["entityRefs"][0]["idKeys"].insert(1, "a" * 200)
    assert "idKeys[2]: '\\ud834' has half of a surrogate pair" in refused(keys, way)


@pytest.mark.parametrize("value", [5, "x", True, {}, {"a": 1}, {"attributes": []}, {"a": ["x" * 99]}])
def test_arrays_are_arrays(value: Any, way: dict[str, int]) -> None:
    assert span_refused({"attributes": value}, way).startswith("attributes: ")


@pytest.mark.parametrize("value", [5, "x", True, [], [{}], ["x" * 99]])
def test_objects_are_objects(value: Any, way: dict[str, int]) -> None:
    assert span_refused({"status": value}, way).startswith("status: ")


@pytest.mark.parametrize("value", [None, 5, "x", [], [["x" * 99]]])
def test_items_of_arrays_are_what_they_should_be(value: Any, way: dict[str, int]) -> None:
    assert span_refused({"attributes": [{}, value]}, way).startswith("attributes[1]: ")


@pytest.mark.parametrize("value", [None, "x", [], {}, {"a": "x" * 99}, ["x" * 99]])
def test_items_of_arrays_of_numbers_are_numbers(value: Any, way: dict[str, int]) -> None:
    point: Any = {"histogram": {"dataPoints": [{"bucketCounts": [1, 2, value]}]}}
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [point]}]}]}
    assert ".histogram.dataPoints[0].bucketCounts[2]: " in refused(body, way, Signal.METRICS)
    point["histogram"]["dataPoints"][0] = {"bucketCounts": value or 5}
    if not isinstance(value, list):
        assert ".histogram.dataPoints[0].bucketCounts: " in refused(body, way, Signal.METRICS)


def test_items_of_arrays_of_numbers_are_in_their_range(way: dict[str, int]) -> None:
    point: Any = {"histogram": {"dataPoints": [{"bucketCounts": [1] * 50 + [1 << 64, 1]}]}}
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [point]}]}]}
    assert ".bucketCounts[50]: 18446744073709551616 is out of the field's range" in refused(body, way, Signal.METRICS)


@pytest.mark.parametrize("wrong", [b"01", b"1e", b"--1", b"1 1", b'"1'])
def test_what_is_no_number_among_many_is_no_json(wrong: bytes, way: dict[str, int]) -> None:
    point = b'{"histogram":{"dataPoints":[{"bucketCounts":[%b]}]}}' % b",".join([b"1"] * 50 + [wrong] + [b"1"] * 50)
    body = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[%b]}]}]}' % point
    assert "the body is not JSON near character" in refused(body, way, Signal.METRICS)


def test_members_of_a_choice_exclude_each_other(way: dict[str, int]) -> None:
    both = {"attributes": [{"value": {"stringValue": "a", "intValue": 1}}]}
    assert span_refused(both, way) == "attributes[0].value: stringValue and intValue exclude each other"
    large = {
        "attributes": [{"value": {"stringValue": "a" * 99, "arrayValue": {"values": [{"stringValue": "b" * 99}]}}}]
    }
    assert span_refused(large, way) == "attributes[0].value: stringValue and arrayValue exclude each other"
    assert read_value({"stringValue": "a", "intValue": None}, way).string_value == "a"
    metric: Any = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {}, "sum": {}}]}]}]}
    assert "gauge and sum exclude each other" in refused(metric, way, Signal.METRICS)


def test_a_key_that_is_there_twice_is_refused(way: dict[str, int]) -> None:
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a","kind":1,"name":"b"}]}]}]}'
    assert "spans[0]: 'name' is there twice" in refused(body, way)
    body = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a"}]}}],"resourceSpans":[{"schemaUrl":"a"}]}'
    assert "the request: 'resourceSpans' is there twice" in refused(body, way)


def test_a_key_that_nobody_knows_may_be_there_twice(way: dict[str, int]) -> None:
    body = b'{"resourceSpans":[{"new":1,"schemaUrl":"a","new":2}],"new":{"a":1,"a":2},"new":"' + b"b" * 40 + b'"}'
    assert read(Signal.TRACES, body, way) == read(Signal.TRACES, b'{"resourceSpans":[{"schemaUrl":"a"}]}', way)


BROKEN = {
    "nothing": b"",
    "space": b"   ",
    "a mark": b'\xef\xbb\xbf{"resourceSpans":[]}',
    "UTF-16": '{"resourceSpans":[]}'.encode("utf-16"),
    "invalid UTF-8": b'{"resourceSpans":[{"schemaUrl":"\xff"}]}',
    "an array": b"[]",
    "a number": b"5",
    "a string": b'"' + b"a" * 99 + b'"',
    "cut short": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a name',
    "left open": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a name"}]}]}',
    "something after": b'{"resourceSpans":[{"schemaUrl":"a long enough address"}]} x',
    "two": b'{"resourceSpans":[{"schemaUrl":"a long enough address"}]}{}',
    "a comma at the end": b'{"resourceSpans":[{"schemaUrl":"a long enough address"},]}',
    "a comma after members": b'{"resourceSpans":[{"schemaUrl":"a long enough address",}]}',
    "no comma": b'{"resourceSpans":[{"schemaUrl":"a long enough address"} {}]}',
    "no comma between members": b'{"resourceSpans":[{"schemaUrl":"a long enough address" "a":1}]}',
    "no colon": b'{"resourceSpans"                      [{"schemaUrl":"a long enough address"}]}',
    "no value": b'{"resourceSpans":                                                        }',
    "no key": b'{                         :[{"schemaUrl":"a long enough address"}]}',
    "a key without quotes": b'{resourceSpans                       :[{"schemaUrl":"a long enough address"}]}',
    "an open key": b'{"resourceSpans                       :[',
    "the wrong end": b'{"resourceSpans":[{"schemaUrl":"a long enough address"}}}',
    "a comment": b'{"resourceSpans":[/* a comment that is long enough */]}',
    "a line break in a string": b'{"resourceSpans":[{"schemaUrl":"a long enough\naddress that has to be large"}]}',
    "a word": b'{"resourceSpans":[nothing that could ever be a value of some kind or other]}',
    "a large number": b'{"resourceSpans":%b}' % (b"1" * 5000),
    "a backslash": b'{"resourceSpans":[{"schemaUrl":"a long enough \\x address that has to be large"}]}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_not_json_is_refused_with_what_and_where(body: bytes, way: dict[str, int]) -> None:
    message = refused(body, way)
    assert "near character" in message or "near byte" in message or "the request: " in message
    assert len(message) < 300


def arrays(levels: int, innermost: str) -> bytes:
    value = '{"arrayValue":{"values":[' * levels + innermost + "]}}" * levels
    return b'{"resourceSpans":[{"resource":{"attributes":[{"value":%b}]}}]}' % value.encode()


@pytest.mark.parametrize("innermost", ["", '{"stringValue":"%s"}' % ("a" * 99)], ids=["nothing", "a string"])
async def test_values_nest_as_deep_as_protobuf_reads(innermost: str, way: dict[str, int]) -> None:
    deepest = (100 - 4) // 2
    assert read(Signal.TRACES, arrays(deepest, innermost), way).ByteSize()
    assert (await read_json(Signal.TRACES, arrays(deepest, innermost))).items == 0
    for levels in (deepest + 1, 99, 150, 5000, 100_000):
        message = refused(arrays(levels, innermost), way)
        assert "deep" in message
        assert len(message) < 2000


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"":', b'{"resourceSpans":['])
@pytest.mark.parametrize("depth", [500, 100_000])
def test_bodies_that_nest_without_an_end_are_refused(opening: bytes, depth: int, way: dict[str, int]) -> None:
    refused(opening * depth, way)
    refused(b'{"unknown":' + opening * depth, way)


def test_long_strings_and_keys_are_read(way: dict[str, int]) -> None:
    assert read_span({"name": "é€" * 50_000, "x" * 50_000: "y" * 50_000}, way).name == "é€" * 50_000


UNFIT = {
    "an enum out of range": (Signal.TRACES, b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":2147483648}]}]}]}'),
    "an integer out of range": (Signal.TRACES, b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"flags":"-1"}]}]}]}'),
    "half a surrogate pair": (Signal.TRACES, b'{"resourceSpans":[{"schemaUrl":"\\ud800"}]}'),
    "a count out of range": (
        Signal.METRICS,
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":[1,-1]}]}}]}]}]}',
    ),
    "a key twice": (Signal.TRACES, b'{"resourceSpans":[],"resourceSpans":[]}'),
    "no enum": (Signal.TRACES, b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SERVER"}]}]}]}'),
    "no JSON": (Signal.TRACES, b'{"resourceSpans":[{'),
    "no UTF-8": (Signal.TRACES, b'{"resourceSpans":"\xff"}'),
}


@pytest.mark.parametrize(("signal", "body"), UNFIT.values(), ids=UNFIT.keys())
def test_nothing_of_what_was_refused_is_left_to_the_collector(signal: Signal, body: bytes, way: dict[str, int]) -> None:
    """Which comes after so many objects, whatever their bytes: a text of 4 MiB would wait with dozens of others."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):  # the first time leaves what is made once
            with suppress(InvalidData):  # pytest.raises would keep the traceback
                read(signal, body, way)
            left = gc.collect()
    finally:
        gc.enable()
    assert left == 0


async def test_what_reading_holds_is_told_and_may_put_an_end_to_it() -> None:
    held: list[tuple[int, int]] = []
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN] * 300}]}], "more": "😀"}, ensure_ascii=False)
    request = await read_json(Signal.TRACES, body.encode(), lambda *sizes: held.append(sizes))
    *reading, end = held
    (text,) = {each for each, _ in reading}
    assert text // len(body) == 4, "one character is beyond the Basic Multilingual Plane"
    serialized = [each for _, each in reading]
    assert serialized == sorted(serialized)
    assert serialized[0] == 0 < serialized[-1] <= len(request.body)
    assert end == (0, len(request.body))

    def refuse(_text: int, serialized: int) -> None:
        if serialized:
            raise MemoryError

    with pytest.raises(MemoryError):
        await read_json(Signal.TRACES, body.encode(), refuse)


async def test_it_is_known_beforehand_how_much_it_takes_to_read_a_text() -> None:
    spans = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN] * 300}]}]})
    assert forecast(spans.encode()) == (len(spans), len(spans)), "protobuf is shorter"
    assert forecast(f"{spans} é".encode())[0] > 4 * len(spans), "what is beyond ASCII may make all of it wide"
    point = {"bucketCounts": [1] * 50_000, "explicitBounds": [1] * 50_000}
    numbers = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"histogram": {"dataPoints": [point]}}]}]}]}
    body = json.dumps(numbers, separators=(",", ":")).encode()
    outcome = len((await read_json(Signal.METRICS, body)).body)
    assert forecast(body) == (len(body), pytest.approx(outcome, rel=0.001))
    assert outcome > 3 * len(body)
