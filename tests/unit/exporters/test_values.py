"""Times, quantities and attributes as people read them."""

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from app.exporters.canvas import Canvas, cells
from app.exporters.values import attribute, attributes, clock_time, duration, exception, quantity, text_of

US, MS, S = 10**3, 10**6, 10**9


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def pairs(**values: str) -> list[KeyValue]:
    return [KeyValue(key=key, value=text(value)) for key, value in values.items()]


def shown(room: int, **values: str) -> str:
    return "".join(piece.text for piece in attributes(pairs(**values), room, Canvas()))


@pytest.mark.parametrize(
    ("nanoseconds", "written"),
    [
        (0, "0ns"),
        (1, "1ns"),
        (999, "999ns"),
        (1 * US, "1µs"),
        (350 * US, "350µs"),
        (7_123_456, "7.12ms"),
        (12_345_678, "12.3ms"),
        (812 * MS, "812ms"),
        (999_960_000, "1s"),
        (1_500 * MS, "1.5s"),
        (59_980 * MS, "1m00s"),
        (125 * S, "2m05s"),
        (3_599_700 * MS, "1h00m"),
        (12_000 * S, "3h20m"),
        (3 * 86_400 * S + 3_600 * S, "3d01h"),
        (2**64, "213503d23h"),
        (-1_500 * MS, "-1.5s"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(nanoseconds: int, written: str) -> None:
    assert duration(nanoseconds) == written


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (7, "", "7"),
        (7.0, "1", "7"),
        (0.25, "", "0.25"),
        (1 / 3, "1", "0.333333"),
        (1e300, "1", "1e+300"),
        (1234567.0, "", "1234567"),
        (0.25, "s", "250ms"),
        (1500, "ms", "1.5s"),
        (350, "us", "350µs"),
        (85, "ns", "85ns"),
        (0, "s", "0s"),
        (-2.5, "s", "-2.5s"),
        (1e20, "s", "1e+20 s"),
        (512, "By", "512B"),
        (1536, "By", "1.5KiB"),
        (300 * 2**20, "By", "300MiB"),
        (2**31, "By", "2GiB"),
        (2**43, "By", "8TiB"),
        (-2048, "By", "-2KiB"),
        (45.5, "%", "45.5%"),
        (7, "{request}", "7 request"),
        (7, "By/s", "7 By/s"),
        (7, "\x1b[2J", "7 ?[2J"),
        (float("nan"), "s", "nan s"),
        (float("inf"), "By", "infTiB"),
    ],
)
def test_a_quantity_is_told_with_its_unit(value: float, unit: str, written: str) -> None:
    assert quantity(value, unit) == written


def test_a_time_is_told_to_the_millisecond() -> None:
    assert clock_time(1_760_000_000_123_456_789) == "08:53:20.123"
    assert clock_time(2**64 - 1) == "23:34:33.709"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (text("a b"), "a b"),
        (AnyValue(bool_value=True), "true"),
        (AnyValue(bool_value=False), "false"),
        (AnyValue(int_value=-(2**63)), "-9223372036854775808"),
        (AnyValue(double_value=0.1), "0.1"),
        (AnyValue(double_value=float("nan")), "nan"),
        (AnyValue(bytes_value=b"\x00\xff"), "00ff"),
        (AnyValue(array_value=ArrayValue(values=[text("a"), AnyValue(int_value=1)])), "[a, 1]"),
        (AnyValue(kvlist_value=KeyValueList(values=pairs(a="b"))), "{a=b}"),
        (AnyValue(), ""),
    ],
    ids=repr,
)
def test_a_value_of_every_kind_is_told(value: AnyValue, written: str) -> None:
    assert text_of(value) == written


def test_an_attribute_is_found_by_its_key_and_made_plain() -> None:
    assert attribute(pairs(a="1", b="\x1b[2J"), "b") == "?[2J"
    assert attribute(pairs(a="1"), "b") == ""


def test_an_exception_needs_not_say_everything() -> None:
    both = {"exception.type": "a.b.C", "exception.message": "m\nn"}
    assert exception(pairs(**both)) == "C: m n"
    assert [exception(pairs(**{key: value})) for key, value in both.items()] == ["C", "m n"]
    assert exception([]) == ""


@pytest.mark.parametrize(
    ("room", "line"),
    [
        (100, "first=1 second=2 third=3"),
        (24, "first=1 second=2 third=3"),
        (23, "first=1 second=2 +1"),
        (18, "first=1 +2"),
        (9, "+3"),
        (2, "+3"),
        (1, ""),
        (0, ""),
        (-5, ""),
    ],
)
def test_as_many_attributes_are_shown_as_fit(room: int, line: str) -> None:
    assert shown(room, first="1", second="2", third="3") == line
    assert len(line) <= max(room, 0)


def test_a_long_value_is_cut_where_some_of_it_fits() -> None:
    assert shown(20, statement="SELECT everything", next="1") == "statement=SELECT… +1"
    assert shown(18, statement="SELECT everything", next="1") == "+2"
    assert shown(200, statement="x" * 100) == "statement=" + "x" * 59 + "…"


def test_wide_characters_take_their_room() -> None:
    line = shown(12, k="中文中文中文")
    assert line == "k=中文中文…"
    assert cells(line) == 11


def test_without_attributes_nothing_is_shown() -> None:
    assert shown(100) == ""
