"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("200ms", 0.2),
        ("50us", 50e-6),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1m30s", 90.0),
        ("1h0m1.5s", 3601.5),
        (".5s", 0.5),
        (" 2S ", 2.0),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_a_number_in_python_is_seconds_already() -> None:
    assert parse_duration(2) == 2.0
    assert parse_duration(0.25) == 0.25


@pytest.mark.parametrize("text", ["30", "1.5"])
def test_a_bare_number_is_told_to_take_a_unit(text: str) -> None:
    with pytest.raises(ValueError, match=rf"'{text}' is not a duration; a number needs its unit; write {text}s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["30x", "", "s", "-5s", "1s 2", "30 s", "1d", "inf", "True"])
def test_what_is_no_duration_is_told_how_one_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write 30s, 500ms or 5m"):
        parse_duration(text)


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), "9" * 400 + "s"])
def test_a_duration_is_finite_and_not_negative(value: object) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.2, "200ms"),
        (0.0015, "1.5ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (30, "30s"),
        (90, "1m30s"),
        (300, "5m"),
        (3600, "1h"),
        (3661, "1h1m1s"),
        (61.5, "61.5s"),
        (1e-9, "0.000000001s"),
    ],
)
def test_a_duration_is_written_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e9, allow_nan=False))
def test_a_duration_that_is_written_and_read_is_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 << 20),
        ("3.5MiB", 3584 << 10),
        ("4KiB", 4096),
        ("4 kib", 4096),
        ("1GB", 10**9),
        ("2GiB", 2 << 30),
        ("1TiB", 1 << 40),
        ("1000", 1000),
        ("12b", 12),
        ("0", 0),
        ("1.6777216e+07", 1 << 24),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_number_in_python_is_bytes_already() -> None:
    assert parse_size(4096) == 4096


@pytest.mark.parametrize("text", ["64M", "64 Mi", "MiB", "", "-1", "1.5.2MiB", "True"])
def test_what_is_no_size_is_told_how_one_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write 64MiB, 512KiB or a number of bytes"):
        parse_size(text)


@pytest.mark.parametrize("value", [-1, "1e999", "9000000TiB", True])
def test_a_size_has_bounds(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(value)


def test_a_size_is_whole_bytes() -> None:
    with pytest.raises(ValueError, match=r"'0\.0001KiB' is not a whole number of bytes"):
        parse_size("0.0001KiB")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1000, "1000"),
        (1024, "1KiB"),
        (3584 << 10, "3.5MiB"),
        ((12345 << 20) + (1 << 18), "12345.25MiB"),
        (100 << 20, "100MiB"),
        (1 << 40, "1TiB"),
        ((1 << 20) + 1, "1048577"),
    ],
)
def test_a_size_is_written_short(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(min_value=0, max_value=1 << 50))
def test_a_size_that_is_written_and_read_is_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == size
