"""JSON Protobuf Encoding, as a client of OTLP/HTTP sees it: what is sent in JSON, and what arrives of it in protobuf.

Where the OTLP specification deviates from protobuf's JSON mapping, its section "JSON Protobuf Encoding" decides; else
the mapping does ("ProtoJSON").
"""

import json
import math
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.core.request import Signal
from tests.support.gateway import JSON, REQUESTS, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRACES, METRICS, LOGS = Signal
EXAMPLES = Path(__file__).parent / "examples"
TRACE_ID, SPAN_ID = "5B8EFFF798038103D269B633813FC60C", "EEE19B7EC3C1B174"
DEEPEST = (100 - 5) // 2
"""How many arrays a span's attribute may hold, one in the other: parsers of protobuf read 100 messages deep, of which
those down to the value are five, and an array is two."""


async def read(gateway: Gateway, signal: Signal, tree: object) -> Message:
    """What arrives of a request in JSON: `tree`, or a text."""
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    answer, arrived = await gateway.arrives(gateway.post(text, signal=signal, content_type=JSON))
    assert (answer.status, answer.body) == (200, b"{}")
    return REQUESTS[signal].FromString(arrived)


async def read_span(gateway: Gateway, span: object) -> Span:
    request = await read(gateway, TRACES, spans(span))
    assert isinstance(request, ExportTraceServiceRequest)
    return request.resource_spans[0].scope_spans[0].spans[0]


async def read_value(gateway: Gateway, value: object) -> AnyValue:
    return (await read_span(gateway, attribute(value))).attributes[0].value


async def read_metric(gateway: Gateway, metric: object) -> Metric:
    request = await read(gateway, METRICS, {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})
    assert isinstance(request, ExportMetricsServiceRequest)
    return request.resource_metrics[0].scope_metrics[0].metrics[0]


async def read_point(gateway: Gateway, point: object) -> NumberDataPoint:
    return (await read_metric(gateway, {"gauge": {"dataPoints": [point]}})).gauge.data_points[0]


async def read_record(gateway: Gateway, record: object) -> LogRecord:
    request = await read(gateway, LOGS, {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    assert isinstance(request, ExportLogsServiceRequest)
    return request.resource_logs[0].scope_logs[0].log_records[0]


async def refused(gateway: Gateway, tree: object, signal: Signal = TRACES) -> str:
    """Why a request in JSON is refused with 400; nothing of it is accepted."""
    before = await gateway.accepted()
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    answer = await gateway.post(text, signal=signal, content_type=JSON)
    assert (answer.status, answer.headers["content-type"]) == (400, JSON)
    assert await gateway.accepted() == before
    status = json.loads(answer.body)
    assert status.keys() <= {field.json_name for field in Status.DESCRIPTOR.fields}
    return str(status["message"])


def spans(span: object) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def attribute(value: object) -> dict[str, Any]:
    return {"attributes": [{"key": "k", "value": value}]}


@pytest.mark.parametrize(
    ("name", "signal"), [("trace", TRACES), ("metrics", METRICS), ("logs", LOGS), ("events", LOGS)]
)
async def test_the_specifications_own_examples_are_read(gateway: Gateway, name: str, signal: Signal) -> None:
    """JSON Protobuf Encoding: "For JSON payload examples see: OTLP JSON request examples"."""
    text = (EXAMPLES / f"{name}.json").read_bytes()
    by_protobuf = ParseDict(json.loads(text, object_hook=with_ids_in_base64), REQUESTS[signal]())
    assert await read(gateway, signal, text) == by_protobuf


def with_ids_in_base64(tree: dict[str, Any]) -> dict[str, Any]:
    """An object as protobuf's own library reads it."""
    ids = tree.keys() & {"traceId", "spanId", "parentSpanId"}
    return tree | {key: b64encode(bytes.fromhex(tree[key])).decode() for key in ids}


# Ids.


@pytest.mark.parametrize("case", [str.upper, str.lower, str.title], ids=["upper", "lower", "mixed"])
async def test_ids_of_spans_and_links_are_hex_in_either_case(gateway: Gateway, case: Any) -> None:
    """JSON Protobuf Encoding: traceId and spanId are case-insensitive hex, in all messages, and not base64."""
    trace_id, span_id = case(TRACE_ID), case(SPAN_ID)
    link = {"traceId": trace_id, "spanId": span_id}
    span = await read_span(gateway, {**link, "parentSpanId": span_id, "links": [link]})
    assert {span.trace_id, span.links[0].trace_id} == {bytes.fromhex(TRACE_ID)}
    assert {span.span_id, span.parent_span_id, span.links[0].span_id} == {bytes.fromhex(SPAN_ID)}


async def test_ids_of_log_records_and_exemplars_are_hex(gateway: Gateway) -> None:
    """JSON Protobuf Encoding: hex for these fields in all OTLP Protobuf messages."""
    ids = {"traceId": TRACE_ID, "spanId": SPAN_ID}
    record = await read_record(gateway, ids)
    exemplar = (await read_point(gateway, {"exemplars": [{**ids, "asInt": 1}]})).exemplars[0]
    for message in (record, exemplar):
        assert (message.trace_id.hex(), message.span_id.hex()) == (TRACE_ID.lower(), SPAN_ID.lower())


@pytest.mark.parametrize("absent", ["", None])
async def test_an_empty_id_is_none(gateway: Gateway, absent: str | None) -> None:
    """JSON Protobuf Encoding: a root span has no parent, which some clients write as an empty string."""
    assert await read_span(gateway, {"name": "root", "parentSpanId": absent}) == Span(name="root")


@pytest.mark.parametrize("key", ["traceId", "spanId", "parentSpanId"])
@pytest.mark.parametrize("wrong", ["W47/95gDgQPSabYzgT/GDA==", "abc", "zz", "0xab", 12, True, ["ab"]])
async def test_an_id_that_is_not_hex_is_refused_by_its_name(gateway: Gateway, key: str, wrong: object) -> None:
    """JSON Protobuf Encoding: ids are not base64. Bad Data: 400, with what is wrong."""
    assert key in await refused(gateway, spans({key: wrong}))


# Numbers.


@pytest.mark.parametrize("number", [0, 1, 1_544_712_660_000_000_000, 2**53 + 1, 2**64 - 1])
@pytest.mark.parametrize("written", [int, str])
async def test_an_unsigned_64_bit_integer_is_a_number_or_a_string(gateway: Gateway, number: int, written: Any) -> None:
    """JSON Protobuf Encoding: 64-bit integers are decimal strings, and numbers are accepted too."""
    assert (await read_span(gateway, {"startTimeUnixNano": written(number)})).start_time_unix_nano == number


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("written", [int, str])
async def test_a_signed_64_bit_integer_is_a_number_or_a_string(gateway: Gateway, number: int, written: Any) -> None:
    """JSON Protobuf Encoding: 64-bit integers are decimal strings, and numbers are accepted too."""
    value = await read_value(gateway, {"intValue": written(number)})
    assert (value.WhichOneof("value"), value.int_value) == ("int_value", number)
    assert (await read_point(gateway, {"asInt": written(number)})).as_int == number


async def test_integers_in_arrays_are_numbers_or_strings(gateway: Gateway) -> None:
    """JSON Protobuf Encoding: 64-bit integers; they are mixed by those who write what fits as a number."""
    point = {"count": "3", "sum": 4.5, "bucketCounts": ["1", 2, "0"], "explicitBounds": [0, "2.5"]}
    histogram = (await read_metric(gateway, {"histogram": {"dataPoints": [point]}})).histogram.data_points[0]
    assert (histogram.count, histogram.sum) == (3, 4.5)
    assert (list(histogram.bucket_counts), list(histogram.explicit_bounds)) == ([1, 2, 0], [0.0, 2.5])


@pytest.mark.parametrize("written", [1.0, "1", "1.0", "1e0", "10e-1"])
async def test_an_integer_may_be_written_as_a_number_without_fraction(gateway: Gateway, written: object) -> None:
    """ProtoJSON: 1.0 is the integer 1."""
    assert (await read_span(gateway, {"flags": written})).flags == 1


@pytest.mark.parametrize("wrong", ["", "x", "0x1", "1 ", "1.5", 1.5, -1, "-1", 2**64, str(2**64), True, [], {}])
async def test_what_is_no_integer_of_the_fields_range_is_refused(gateway: Gateway, wrong: object) -> None:
    """ProtoJSON: decimal strings or numbers. Bad Data: 400, with what is wrong."""
    assert "startTimeUnixNano" in await refused(gateway, spans({"startTimeUnixNano": wrong}))


@pytest.mark.parametrize("number", [0.0, 0.1, -1.5, 1e308, 5e-324])
@pytest.mark.parametrize("written", [float, repr])
async def test_a_double_is_a_number_or_a_string(gateway: Gateway, number: float, written: Any) -> None:
    """ProtoJSON: doubles are numbers, and strings are accepted too."""
    assert (await read_point(gateway, {"asDouble": written(number)})).as_double == number
    assert (await read_value(gateway, {"doubleValue": written(number)})).double_value == number


@pytest.mark.parametrize(
    ("written", "number"), [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf)], ids=str
)
async def test_doubles_that_are_not_finite_are_strings(gateway: Gateway, written: str, number: float) -> None:
    """ProtoJSON: "NaN", "Infinity" and "-Infinity"."""
    for read_double in (
        (await read_point(gateway, {"asDouble": written})).as_double,
        (await read_value(gateway, {"doubleValue": written})).double_value,
    ):
        assert read_double == number or (math.isnan(read_double) and math.isnan(number))


@pytest.mark.parametrize("wrong", [b"NaN", b"Infinity", b"-Infinity", b'"nan"', b'"inf"', b"1e999", b'"x"', b'""'])
async def test_what_is_no_double_is_refused(gateway: Gateway, wrong: bytes) -> None:
    """ProtoJSON: JSON itself has no such numbers. Bad Data: 400."""
    body = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asDouble":%b}]}}]}]}]}' % wrong
    assert await refused(gateway, body, METRICS)


# Enums.


async def test_enums_are_integers(gateway: Gateway) -> None:
    """JSON Protobuf Encoding: values of enum fields MUST be encoded as integer values."""
    span = await read_span(gateway, {"kind": 2, "status": {"code": 2}})
    assert (span.kind, span.status.code) == (2, 2)
    assert (await read_record(gateway, {"severityNumber": 17})).severity_number == 17
    metric = await read_metric(gateway, {"sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [{}]}})
    assert (metric.sum.aggregation_temporality, metric.sum.is_monotonic) == (2, True)


async def test_an_enum_value_of_a_newer_version_is_kept(gateway: Gateway) -> None:
    """Future Versions and Interoperability; ProtoJSON: unknown enum values are kept as they are."""
    assert (await read_span(gateway, {"kind": 77})).kind == 77


@pytest.mark.parametrize("wrong", ["SPAN_KIND_SERVER", "server", "2", 1.5, True])
async def test_the_name_of_an_enum_value_is_refused(gateway: Gateway, wrong: object) -> None:
    """JSON Protobuf Encoding: only integer enum values are allowed; the name strings MUST NOT be used."""
    assert "kind" in await refused(gateway, spans({"kind": wrong}))


# Bytes and text.


@pytest.mark.parametrize("written", ["+/8=", "+/8", "-_8=", "-_8"])
async def test_bytes_are_base64_of_either_alphabet_padded_or_not(gateway: Gateway, written: str) -> None:
    """ProtoJSON: standard or URL-safe base64, with or without paddings, are accepted."""
    assert (await read_value(gateway, {"bytesValue": written})).bytes_value == b"\xfb\xff"


@pytest.mark.parametrize("wrong", ["a", "ab!=", "é", 5, []])
async def test_bytes_that_are_not_base64_are_refused(gateway: Gateway, wrong: object) -> None:
    """ProtoJSON: bytes are base64. Bad Data: 400, with what is wrong."""
    assert "bytesValue" in await refused(gateway, spans(attribute({"bytesValue": wrong})))


async def test_text_is_unicode_however_it_is_escaped(gateway: Gateway) -> None:
    """ProtoJSON: strings are those of JSON (RFC 8259, 7)."""
    body = json.dumps(spans({"name": "X"})).encode().replace(b"X", b'\\u20ac \\ud834\\udd1e \\" \\\\ \\n \xe2\x82\xac')
    request = await read(gateway, TRACES, body)
    assert isinstance(request, ExportTraceServiceRequest)
    assert request.resource_spans[0].scope_spans[0].spans[0].name == '€ 𝄞 " \\ \n €'


# Names, and what is not there.


async def test_unknown_names_are_ignored_at_every_level(gateway: Gateway) -> None:
    """JSON Protobuf Encoding: receivers MUST ignore fields with unknown names, as if they were not there."""
    unknown: dict[str, Any] = {"new": {"deep": [1, {"er": None}]}, "newer": [[]], "newest": "x", "": 1}
    span = {"name": "n", "status": {"code": 1, **unknown}, "attributes": [{"key": "k", **unknown}], **unknown}
    tree = {
        "resourceSpans": [{"scopeSpans": [{"spans": [span], **unknown}], "resource": unknown, **unknown}],
        **unknown,
    }
    expected = ExportTraceServiceRequest()
    resource = expected.resource_spans.add()
    resource.resource.SetInParent()
    read_back = resource.scope_spans.add().spans.add(name="n")
    read_back.status.code = 1  # type: ignore[assignment]  # an enum takes an integer
    read_back.attributes.add(key="k")
    assert await read(gateway, TRACES, tree) == expected


async def test_original_field_names_are_unknown_names(gateway: Gateway) -> None:
    """JSON Protobuf Encoding: keys are lowerCamelCase; original field names are not valid."""
    span = {"name": "n", "trace_id": TRACE_ID, "start_time_unix_nano": "1", "TraceId": TRACE_ID, "Name": "m"}
    assert await read_span(gateway, span) == Span(name="n")


async def test_null_is_as_if_absent(gateway: Gateway) -> None:
    """ProtoJSON: null is accepted for all fields and is as the default."""
    keys = ["traceId", "name", "kind", "startTimeUnixNano", "attributes", "events", "status", "flags"]
    assert await read_span(gateway, dict.fromkeys(keys)) == Span()


async def test_defaults_and_absent_fields_are_the_same(gateway: Gateway) -> None:
    """ProtoJSON: fields without presence have their defaults."""
    span = {"name": "", "kind": 0, "startTimeUnixNano": "0", "attributes": [], "droppedAttributesCount": 0}
    assert await read_span(gateway, span) == await read_span(gateway, {}) == Span()


@pytest.mark.parametrize(
    ("signal", "body"),
    [
        *((signal, b"{}") for signal in Signal),
        *((signal, b'{"unknown":[{}]}') for signal in Signal),
        (TRACES, b'{"resourceSpans":[]}'),
        (METRICS, b'{"resourceMetrics":null}'),
        (LOGS, b'{"resourceLogs":[{}]}'),
        (TRACES, b'{"resourceSpans":[{"scopeSpans":[{}]}]}'),
        (METRICS, b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{}}]}]}]}'),
        (LOGS, b'{"resourceLogs":[{"resource":{},"scopeLogs":[{"scope":{},"logRecords":[]}]}]}'),
    ],
)
async def test_a_request_without_telemetry_succeeds_and_goes_nowhere(
    gateway: Gateway, signal: Signal, body: bytes
) -> None:
    """Full Success: an empty request SHOULD succeed. Empty Telemetry Envelopes: receivers MAY ignore them."""
    before = await gateway.accepted(), len(gateway.backend.requests)
    answer = await gateway.post(body, signal=signal, content_type=JSON)
    assert (answer.status, answer.body) == (200, b"{}")
    assert (await gateway.accepted(), len(gateway.backend.requests)) == before


@pytest.mark.parametrize(
    "span",
    [
        {"attributes": {"key": "k"}},
        {"attributes": "k"},
        {"attributes": [1]},
        {"status": []},
        {"name": 1},
        {"name": {}},
        {"attributes": [{"key": "k", "value": "v"}]},
        {"attributes": [{"key": "k", "value": {"boolValue": "true"}}]},
        {"attributes": [{"key": "k", "value": {"stringValue": "a", "intValue": 1}}]},
    ],
    ids=json.dumps,
)
async def test_a_value_of_another_type_is_refused_by_its_place(gateway: Gateway, span: object) -> None:
    """ProtoJSON: each type has its JSON. Bad Data: 400, with what is wrong."""
    assert "resourceSpans[0].scopeSpans[0].spans[0]" in await refused(gateway, spans(span))


# AnyValue.


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"stringValue": ""}, "string_value"),
        ({"boolValue": False}, "bool_value"),
        ({"intValue": 0}, "int_value"),
        ({"intValue": "0"}, "int_value"),
        ({"doubleValue": 0}, "double_value"),
        ({"bytesValue": ""}, "bytes_value"),
        ({"arrayValue": {}}, "array_value"),
        ({"arrayValue": {"values": []}}, "array_value"),
        ({"kvlistValue": {}}, "kvlist_value"),
        ({"kvlistValue": {"values": []}}, "kvlist_value"),
        ({}, None),
        ({"stringValue": None}, None),
    ],
    ids=json.dumps,
)
async def test_an_empty_value_keeps_its_type(gateway: Gateway, value: object, kind: str | None) -> None:
    """ProtoJSON: the members of a oneof have presence; an AnyValue without one is an empty value."""
    span = await read_span(gateway, attribute(value))
    assert span.attributes[0].HasField("value")
    assert span.attributes[0].value.WhichOneof("value") == kind
    body = (await read_record(gateway, {"body": value})).body
    assert body.WhichOneof("value") == kind


async def test_values_of_all_types_nest(gateway: Gateway) -> None:
    """JSON Protobuf Encoding of AnyValue, ArrayValue and KeyValueList."""
    values = [{"stringValue": "a"}, {}, {"intValue": "1"}, {"kvlistValue": {"values": [{"key": "k", "value": {}}]}}]
    expected = AnyValue()
    array = expected.array_value.values
    array.add(string_value="a")
    array.add()
    array.add(int_value=1)
    array.add().kvlist_value.values.add(key="k").value.SetInParent()
    assert await read_value(gateway, {"arrayValue": {"values": values}}) == expected


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"stringValue": "in the middle"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return value


async def test_values_nest_as_deep_as_parsers_of_protobuf_read(gateway: Gateway) -> None:
    """OTLP/HTTP Request: what is taken in JSON can be read by whoever gets it in protobuf."""
    value = await read_value(gateway, nested(DEEPEST))
    for _ in range(DEEPEST):
        (value,) = value.array_value.values
    assert value.string_value == "in the middle"


@pytest.mark.parametrize("levels", [DEEPEST + 1, 300])
async def test_values_that_nest_deeper_are_refused(gateway: Gateway, levels: int) -> None:
    """Bad Data: what cannot be decoded is 400."""
    assert "deep" in await refused(gateway, spans(attribute(nested(levels))))


async def test_brackets_without_an_end_are_refused(gateway: Gateway) -> None:
    """Bad Data: what cannot be decoded is 400, and costs nothing else."""
    for opening in (b"[", b'{"a":', b'{"resourceSpans":['):
        assert await refused(gateway, opening * 2000)
