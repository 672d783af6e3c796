"""A request that is checked in pieces gets the verdict and the count of one parse, whatever it and the pieces are."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.decode import counting, request_type
from app.receivers.turns import at_once
from tests.support.items import items_of
from tests.support.wire import field, group, varint

NUMBERS = st.integers(0, 2**64 - 1) | st.integers(0, 3)
VALUES = st.binary(max_size=12)
PACKED = st.lists(NUMBERS.map(varint), max_size=8).map(b"".join) | st.binary(max_size=8).map(lambda each: each * 8)
TEXTS = st.text(max_size=40).map(str.encode) | st.text("aé€𝄞", min_size=10, max_size=40).map(str.encode)
STRANGE = st.sampled_from([16, 99, 500, 2**29 - 1])


@st.composite
def unknown_fields(draw: st.DrawFn, numbers: st.SearchStrategy[int] = STRANGE, depth: int = 2) -> bytes:
    number = draw(numbers)
    match draw(st.integers(0, 5 if depth else 4)):
        case 0:
            return varint(number << 3) + varint(draw(NUMBERS))
        case 1:
            return varint(number << 3 | 1) + draw(st.binary(min_size=8, max_size=8))
        case 2:
            return varint(number << 3 | 5) + draw(st.binary(min_size=4, max_size=4))
        case 3 | 4:
            return field(number, draw(VALUES))
    return group(number, b"".join(draw(st.lists(unknown_fields(depth=depth - 1), max_size=3))))


@st.composite
def messages(draw: st.DrawFn, message: Any, depth: int = 7) -> bytes:
    """Bytes of a message that has something in it of everything that the wire format can hold."""
    encoded = b""
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.integers(0, 7)) == 0:
            known = st.sampled_from([each.number for each in message.fields])
            encoded += draw(unknown_fields(STRANGE | known))
            continue
        each = draw(st.sampled_from(list(message.fields)))
        encoded += draw(known_fields(each, depth))
    return encoded


def known_fields(each: FieldDescriptor, depth: int) -> st.SearchStrategy[bytes]:
    inner: st.SearchStrategy[bytes]
    match each.type:
        case FieldDescriptor.TYPE_MESSAGE:
            inner = messages(each.message_type, depth - 1) if depth else st.just(b"")
        case FieldDescriptor.TYPE_STRING:
            inner = TEXTS
        case FieldDescriptor.TYPE_BYTES:
            inner = VALUES
        case _:
            inner = PACKED
    return inner.map(lambda value: field(each.number, value))


def plain(signal: Signal, body: bytes) -> int | None:
    try:
        return sum(1 for _ in items_of(signal, body))
    except DecodeError:
        return None


def walked(signal: Signal, body: bytes, piece: int) -> int | None:
    try:
        return at_once(counting(signal, body, whole=0, piece=piece))
    except InvalidData:
        return None


REQUESTS = st.sampled_from(Signal).flatmap(
    lambda signal: st.tuples(st.just(signal), messages(request_type(signal).DESCRIPTOR))
)
PIECES = st.integers(1, 40)
MANY = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(REQUESTS, PIECES)
def test_fields_of_every_kind_are_judged_and_counted_as_by_one_parse(request: tuple[Signal, bytes], piece: int) -> None:
    assert walked(*request, piece) == plain(*request)


@MANY
@given(REQUESTS, PIECES, st.data())
def test_broken_requests_are_judged_as_by_one_parse(
    request: tuple[Signal, bytes], piece: int, data: st.DataObject
) -> None:
    signal, body = request
    broken = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(broken)))
        broken[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    body = bytes(broken[: data.draw(st.integers(0, len(broken)))]) if data.draw(st.booleans()) else bytes(broken)
    assert walked(signal, body, piece) == plain(signal, body)


@MANY
@given(st.binary(max_size=40), PIECES)
def test_noise_is_judged_as_by_one_parse(body: bytes, piece: int) -> None:
    assert walked(Signal.TRACES, body, piece) == plain(Signal.TRACES, body)
