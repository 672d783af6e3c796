"""Any request, written down in OTLP's JSON encoding by protobuf's own library, is read as that request."""

import base64
import json
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.decode import request_type
from app.receivers.otlp_json import serializing
from app.receivers.shortcut import shortcut_for
from app.receivers.turns import at_once

IDS = {"traceId", "spanId", "parentSpanId"}
INTEGERS = {"timeUnixNano", "startTimeUnixNano", "endTimeUnixNano", "intValue", "asInt", "count", "zeroCount"}
SMALLEST = 32  # a piece holds a number
PIECES = st.integers(SMALLEST, 200) | st.just(1 << 14)
SHORTCUTS = st.sampled_from([0, 16, 64, 200, 1 << 14])
NOT_FINITE = re.compile(rb'"(NaN|-?Infinity)"')
ALIKE = re.compile(rb'"(?!NaN|-?Infinity)-?(?i:nan|inf|infinity|null)"|"-0"|\\u00[2-7]')
MANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.integers(low, high)


SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.text('"\\é€𝄞', max_size=9),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=16),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False) | st.just(math.nan),  # JSON has one NaN
    FieldDescriptor.TYPE_ENUM: whole(32, signed=True),
    FieldDescriptor.TYPE_INT32: whole(32, signed=True),
    FieldDescriptor.TYPE_SINT32: whole(32, signed=True),
    FieldDescriptor.TYPE_UINT32: whole(32, signed=False),
    FieldDescriptor.TYPE_FIXED32: whole(32, signed=False),
    FieldDescriptor.TYPE_INT64: whole(64, signed=True),
    FieldDescriptor.TYPE_SFIXED64: whole(64, signed=True),
    FieldDescriptor.TYPE_UINT64: whole(64, signed=False),
    FieldDescriptor.TYPE_FIXED64: whole(64, signed=False),
}


@cache
def kwargs(message: Descriptor, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """What to make a message with: any of its fields, and of each oneof at most one."""

    @st.composite
    def chosen(draw: st.DrawFn) -> dict[str, Any]:
        given: dict[str, Any] = {}
        taken: set[str] = set()
        for each in draw(st.lists(st.sampled_from(list(message.fields)), max_size=5)):
            group = each.containing_oneof.name if each.containing_oneof is not None else each.name
            if group in taken:
                continue
            taken.add(group)
            value = draw(value_of(each, depth))
            if value is not None:
                given[each.name] = value
        return given

    return chosen()


def value_of(each: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if each.message_type is None:
        value = SCALARS[each.type]
    elif depth:
        value = kwargs(each.message_type, depth - 1)
    else:
        return st.none()
    return st.lists(value, max_size=4) if each.is_repeated else value


REQUESTS = st.sampled_from(Signal).flatmap(
    lambda signal: st.tuples(
        st.just(signal),
        kwargs(request_type(signal).DESCRIPTOR, 8).map(lambda given: request_type(signal)(**given)),
    )
)


@st.composite
def texts(draw: st.DrawFn, message: Message) -> bytes:
    """One of the ways to write `message` down."""
    upper, numbers = draw(st.booleans()), draw(st.booleans())

    def rewritten(value: Any, key: str = "") -> Any:
        match value:
            case dict():
                return {each: rewritten(inner, each) for each, inner in value.items()}
            case list():
                return [rewritten(inner) for inner in value]
            case str() if key in IDS:
                text = base64.b64decode(value).hex()
                return text.upper() if upper else text
            case str() if key in INTEGERS and numbers:
                return int(value)
        return value

    tree = rewritten(MessageToDict(message, use_integers_for_enums=True))
    return json.dumps(tree, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.integers(0, 3))).encode()


@MANY
@given(REQUESTS, PIECES, SHORTCUTS, st.data())
def test_a_request_in_json_is_the_request(
    request: tuple[Signal, Message], piece: int, shortcut: int, data: st.DataObject
) -> None:
    signal, message = request
    body = data.draw(texts(message))
    read = request_type(signal).FromString(at_once(serializing(signal, body, piece=piece, shortcut=shortcut)))
    assert read.SerializeToString() == message.SerializeToString()  # where NaN equals NaN


@MANY
@given(REQUESTS, st.data())
def test_a_request_as_it_is_written_takes_the_shortcut(request: tuple[Signal, Message], data: st.DataObject) -> None:
    signal, message = request
    text = data.draw(texts(message))
    serialized = shortcut_for(message.DESCRIPTOR).read(text)
    if serialized is None:
        assert NOT_FINITE.search(text), "what is finite is not in doubt"
        assert ALIKE.search(text), "nor is what is not, where nothing else looks like it"
        return
    assert request_type(signal).FromString(serialized).SerializeToString() == message.SerializeToString()


def outcome(signal: Signal, body: bytes, piece: int, shortcut: int = 0) -> bytes | None:
    try:
        serialized = at_once(serializing(signal, body, piece=piece, shortcut=shortcut))
    except InvalidData:
        return None
    return request_type(signal).FromString(serialized).SerializeToString()


@MANY
@given(REQUESTS, st.integers(SMALLEST, 200), SHORTCUTS, st.data())
def test_a_broken_request_has_the_same_outcome_in_pieces_and_by_the_shortcut_as_whole(
    request: tuple[Signal, Message], piece: int, shortcut: int, data: st.DataObject
) -> None:
    signal, message = request
    broken = bytearray(data.draw(texts(message)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(broken)))
        inserted = data.draw(
            st.sampled_from([b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"1", b"null", b"\xff"])
        )
        broken[at : at + data.draw(st.integers(0, 3))] = inserted
    assert outcome(signal, bytes(broken), piece, shortcut) == outcome(signal, bytes(broken), 1 << 20)


ODD = [True, False, None, "x", "", "1", "-1", "-", "1e3", "1.0", "NaN", "Infinity", 1.5, -1, 1 << 64, 10**400, [], {}]
ANYTHING = st.sampled_from(ODD) | st.builds(list, st.lists(st.sampled_from(ODD), max_size=2))


@st.composite
def nearly_right(draw: st.DrawFn, message: Message) -> bytes:
    """A way to write `message` down in which one thing is something else, of the kind that comes out of exporters."""
    tree = json.loads(draw(texts(message)))
    places = list(inside(tree))
    if places:
        within, key = draw(st.sampled_from(places))
        within[key] = draw(st.sampled_from(ODD) | st.just(within[key]).map(lambda value: [value]))
        if isinstance(within, dict) and draw(st.booleans()):
            within[draw(st.sampled_from(["new", "intValue", "kind", "flags", "name", "traceId"]))] = draw(ANYTHING)
    return json.dumps(tree).encode()


def inside(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Where there is something in a tree: an object or array, and the key or index."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from inside(value)


def told(signal: Signal, body: bytes, shortcut: int) -> bytes | str:
    """What comes out, or why nothing does."""
    try:
        return at_once(serializing(signal, body, piece=1 << 20, shortcut=shortcut))
    except InvalidData as refusal:
        return str(refusal)


@MANY
@given(REQUESTS, st.data())
def test_the_shortcut_changes_nothing_and_no_refusal_of_what_is_nearly_right(
    request: tuple[Signal, Message], data: st.DataObject
) -> None:
    signal, message = request
    body = data.draw(nearly_right(message))
    assert told(signal, body, 1 << 20) == told(signal, body, 0)


def protobuf_outcome(signal: Signal, tree: Any) -> bytes | None:
    """What protobuf's own mapping makes of it, which takes true and false for doubles."""
    if "true" in json.dumps(tree) or "false" in json.dumps(tree):
        return None
    try:
        return ParseDict(tree, request_type(signal)()).SerializeToString()
    except (ParseError, ValueError, OverflowError):
        return None


def histogram(point: dict[str, Any]) -> Any:
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"histogram": {"dataPoints": [point]}}]}]}]}


RIGHT = {
    "bucketCounts": whole(64, signed=False).flatmap(lambda n: st.sampled_from([n, str(n)])) | st.just(3.0),
    "explicitBounds": st.floats(allow_nan=False, allow_infinity=False) | whole(70, signed=True) | st.just("0.5"),
}
UNREADABLE = [b"1e999", b"NaN", b"-Infinity", b"01", b"+1", b"1_0", b"", b"1,", b'"', b'"1,2"', b"1 1", b"[", b"nul"]


@MANY
@given(st.sampled_from(sorted(RIGHT)), PIECES, SHORTCUTS, st.data())
def test_of_numbers_that_are_nearly_all_right_comes_what_protobufs_mapping_makes_of_them(
    key: str, piece: int, shortcut: int, data: st.DataObject
) -> None:
    numbers = data.draw(st.lists(RIGHT[key] | st.integers(0, 9), max_size=60))
    if data.draw(st.booleans()):
        numbers.insert(data.draw(st.integers(0, len(numbers))), data.draw(st.sampled_from(ODD)))
    tree = histogram({key: numbers})
    separators = data.draw(st.sampled_from([(",", ":"), (" ,\n ", " : ")]))
    body = json.dumps(tree, separators=separators).encode()
    assert outcome(Signal.METRICS, body, piece, shortcut) == protobuf_outcome(Signal.METRICS, tree)


@MANY
@given(st.sampled_from([*sorted(RIGHT), "unknown"]), st.integers(SMALLEST, 200), SHORTCUTS, st.data())
def test_numbers_of_which_one_is_none_have_the_same_outcome_in_pieces_and_by_the_shortcut_as_whole(
    key: str, piece: int, shortcut: int, data: st.DataObject
) -> None:
    numbers = [b"%d" % each for each in data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=60))]
    numbers.insert(data.draw(st.integers(0, len(numbers))), data.draw(st.sampled_from(UNREADABLE)))
    body = json.dumps(histogram({key: ["X"]})).encode().replace(b'"X"', b",".join(numbers))
    assert outcome(Signal.METRICS, body, piece, shortcut) == outcome(Signal.METRICS, body, 1 << 20)


def integer_outcome(text: str) -> int | None:
    body = json.dumps({"resourceSpans": [{"resource": {"attributes": [{"value": {"intValue": text}}]}}]}).encode()
    try:
        serialized = at_once(serializing(Signal.TRACES, body, piece=1 << 14))
    except InvalidData:
        return None
    value = request_type(Signal.TRACES).FromString(serialized).resource_spans[0].resource.attributes[0].value  # type: ignore[attr-defined]
    return int(value.int_value)


DIGITS = st.text("0123456789", min_size=1, max_size=20)
SIGN = st.sampled_from(["", "", "-"])
DECIMALS = st.builds(
    lambda sign, whole, fraction, exponent: sign + whole + fraction + exponent,
    SIGN,
    DIGITS,
    st.just("") | st.builds(".{}".format, DIGITS | st.just("0")),
    st.just("")
    | st.builds("{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 400)),
)


@MANY
@given(DECIMALS)
def test_a_quoted_integer_of_any_form_is_taken_exactly_where_it_is_whole_and_in_range(text: str) -> None:
    number = Fraction(text)
    fits = number.denominator == 1 and -(1 << 63) <= number < 1 << 63
    assert integer_outcome(text) == (int(number) if fits else None)


@MANY
@given(DECIMALS | st.text("0123456789.eE+-", min_size=1, max_size=8))
def test_a_quoted_integer_that_a_double_holds_is_what_protobufs_mapping_makes_of_it(text: str) -> None:
    """Protobuf's own reads what is not all digits as a double, and takes forms that JSON does not have ("1.", "+1")."""
    assume(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text))
    assume(math.isinf(float(text)) or Fraction(float(text)) == Fraction(text))
    try:
        expected = ParseDict({"intValue": text}, AnyValue()).int_value
    except ParseError:
        expected = None
    assert integer_outcome(text) == expected
