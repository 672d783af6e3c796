import pytest
from google.protobuf.message import DecodeError

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.decode import counting, request_type
from app.receivers.turns import at_once
from tests.support.wire import field, group, nested_values, varint

TINY = 8


def walk(body: bytes, signal: Signal = Signal.TRACES, piece: int = TINY) -> int:
    return at_once(counting(signal, body, whole=0, piece=piece))


def in_span(fields: bytes) -> bytes:
    return field(1, field(2, field(2, fields)))


def in_metric(fields: bytes) -> bytes:
    return field(1, field(2, field(2, fields)))


def in_attribute(value: bytes) -> bytes:
    """The value of an attribute of a resource: four messages down."""
    return field(1, field(1, field(1, field(2, value))))


def refused(body: bytes, signal: Signal = Signal.TRACES, piece: int = TINY) -> str:
    """The message of a refusal in which the library concurs."""
    with pytest.raises(DecodeError):
        request_type(signal).FromString(body)
    with pytest.raises(InvalidData) as refusal:
        walk(body, signal, piece)
    return str(refusal.value)


def taken(body: bytes, signal: Signal = Signal.TRACES, piece: int = TINY) -> int:
    request_type(signal).FromString(body)
    return walk(body, signal, piece)


def test_an_empty_request_holds_nothing() -> None:
    assert taken(b"") == 0


def test_spans_are_counted_across_pieces() -> None:
    scope = field(2, field(5, b"a name")) * 10
    assert taken(field(1, field(2, scope) * 3) * 2) == 60


def test_a_span_larger_than_a_piece_counts_once() -> None:
    assert taken(in_span(field(9, field(1, b"key") + field(2, b"")) * 20)) == 1


@pytest.mark.parametrize("member", [5, 7, 9, 10, 11])
def test_data_points_of_each_kind_are_counted(member: int) -> None:
    assert taken(in_metric(field(member, field(1, field(3, b"unknown")) * 7)), Signal.METRICS) == 7


def test_the_points_of_the_last_kind_of_data_count_as_protobuf_has_it() -> None:
    gauge, total = field(5, field(1, b"") * 5), field(7, field(1, b"") * 3)
    assert taken(in_metric(gauge + gauge), Signal.METRICS) == 10
    assert taken(in_metric(gauge + total), Signal.METRICS) == 3
    assert taken(in_metric(gauge + total + gauge), Signal.METRICS) == 5
    assert taken(in_metric(gauge + total + gauge), Signal.METRICS, piece=20) == 5


def test_strings_are_cut_between_characters() -> None:
    for text in ("a" * 50, "é" * 50, "€" * 50, "𝄞" * 50):
        for piece in range(16, 24):
            assert taken(in_span(field(5, text.encode())), piece=piece) == 1


@pytest.mark.parametrize("text", [b"\xff", b"\x80" * 9, b"\xed\xa0\x80", "€".encode()[:2]])
def test_invalid_utf8_is_found_in_a_large_string_where_it_is(text: bytes) -> None:
    where = refused(in_span(field(5, b"a" * 5000 + text + b"a" * 5000)), piece=1024)
    near = int(where.partition("near byte ")[2].partition(":")[0])
    assert 5012 - 64 <= near <= 5021
    assert "UTF-8" in where


def test_a_string_without_characters_is_refused() -> None:
    assert "UTF-8" in refused(in_span(field(5, b"\x80" * 100)))


def test_packed_numbers_are_cut_between_numbers() -> None:
    bounds = field(7, b"\1\2\3\4\5\6\7\x08" * 20)
    counts = field(8, field(2, varint(2**63) * 20 + varint(1) * 50))
    for piece in range(16, 40):
        assert taken(in_metric(field(9, field(1, bounds))), Signal.METRICS, piece) == 1
        assert taken(in_metric(field(10, field(1, counts))), Signal.METRICS, piece) == 1


def test_packed_numbers_that_are_cut_short_are_refused() -> None:
    assert "near byte" in refused(in_metric(field(9, field(1, field(7, b"x" * 157)))), Signal.METRICS)
    assert "near byte" in refused(in_metric(field(10, field(1, field(8, field(2, b"\x81" * 60))))), Signal.METRICS)


def test_bytes_and_unknown_fields_are_not_looked_into() -> None:
    assert taken(in_span(field(1, b"\xff" * 100) + field(99, b"\xff" * 100) + varint(99 << 3) + varint(2**64 - 1))) == 1


@pytest.mark.parametrize("piece", [TINY, 1 << 16])
def test_messages_nest_as_deep_as_protobuf_reads(piece: int) -> None:
    deepest = in_attribute(nested_values(48))
    assert taken(deepest, piece=piece) == 0
    assert "nest deeper than 100" in refused(in_attribute(nested_values(49)), piece=piece)


def test_messages_of_more_than_a_piece_nest_no_deeper() -> None:
    assert taken(in_attribute(nested_values(48, field(1, b"a" * 99)))) == 0
    assert "nest deeper than 100" in refused(in_attribute(nested_values(60, field(1, b"a" * 99))))


def groups(levels: int) -> bytes:
    inner = b""
    for _ in range(levels):
        inner = group(99, inner)
    return inner


def test_groups_are_unknown_fields_that_nest() -> None:
    numbers = varint(97 << 3) + varint(300) + varint(96 << 3 | 1) + b"8" * 8 + varint(95 << 3 | 5) + b"4444"
    inside = field(98, b"\xff" * 9) + numbers + b"\x00\x00"
    assert taken(in_span(group(99, inside * 3)) + groups(100)) == 1
    assert taken(in_span(groups(97))) == 1
    refused(groups(101))
    refused(in_span(groups(98)))


@pytest.mark.parametrize(
    "body",
    [
        group(99, b"")[:2],
        varint(99 << 3 | 3) + b"\x0c",
        varint(99 << 3 | 3) + b"\x0a\x20" + varint(99 << 3 | 4),
        b"\x0c",
        b"\x03\x04",
        b"\x03" + field(2, b"a" * 20) + b"\x04",
    ],
    ids=["open", "other end", "too long", "only an end", "group 0", "large group 0"],
)
def test_broken_groups_are_refused(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x80\x80\x80\x80\x80\x00",
        b"\x0e",
        b"\x0f",
        b"\x02\x00",
        b"\x02\x10" + b"a" * 16,
        b"\x8a\x80\x80\x80\x10\x00",
        b"\x8a\x80\x80\x80\x80\x00\x00",
        b"\x8a",
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x08",
        b"\x09abc",
        b"\x0dabc",
    ],
)
@pytest.mark.parametrize("piece", [1, 1 << 16])
def test_broken_fields_are_refused(body: bytes, piece: int) -> None:
    refused(body, piece=piece)
    refused(field(1, body), piece=piece)


def test_numbers_may_be_longer_than_they_need_to_be() -> None:
    assert taken(b"\x8a\x80\x80\x80\x00\x82\x80\x80\x80\x00\x0a\x00", piece=1) == 0
    assert taken(b"\x08" + b"\xff" * 9 + b"\x01", piece=1) == 0


def test_a_refusal_says_what_and_near_which_byte() -> None:
    broken = field(1, field(2, field(2, field(5, b"a name")) * 200 + b"\x0f"))
    where = refused(broken, piece=512)
    assert where.startswith("ExportTraceServiceRequest is not valid protobuf near byte ")
    assert len(broken) - 128 < int(where.split("near byte ")[1].split(":")[0]) < len(broken)
