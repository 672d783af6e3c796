"""Numbers and times for people."""

from math import inf

import pytest

from app.console.words import ago, bound, clock, count, date, per_second, percent, plural, seconds, several, size

NOW = 1_760_000_000 * 10**9


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (9999, "9999"),
        (12_345, "12.3k"),
        (999_999, "1M"),
        (4_560_000, "4.56M"),
        (7_000_000_000, "7G"),
        (1.25, "1.2"),
    ],
)
def test_large_numbers_have_three_digits(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0/s"), (0.01, "< 0.1/s"), (0.34, "0.3/s"), (9.94, "9.9/s"), (123.4, "123/s")]
)
def test_a_rate_is_never_none_of_something(value: float, text: str) -> None:
    assert per_second(value) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0 %"), (0.001, "< 1 %"), (0.5, "50 %"), (1, "100 %")])
def test_a_share_is_never_none_of_something(share: float, text: str) -> None:
    assert percent(share) == text


def test_bytes_and_durations_have_the_unit_that_suits_them() -> None:
    assert size(3 << 20) == "3MiB"
    assert [seconds(value) for value in (0, 0.025, 90)] == ["0s", "25ms", "1m30s"]
    assert [bound(value) for value in (0.005, inf)] == ["≤\N{NO-BREAK SPACE}5ms", ">\N{NO-BREAK SPACE}30s"]


def test_a_time_is_told_from_now_and_in_full() -> None:
    assert [ago(NOW - after, NOW) for after in (0, 12 * 10**9)] == ["just now", "12s ago"]
    assert ago(NOW + 1, NOW) == "just now"
    assert (clock(NOW), date(NOW)) == ("08:53:20", "2025-10-09 08:53:20 UTC")


def test_what_is_counted_has_its_noun() -> None:
    assert [plural(number, "span") for number in (0, 1, 12_000)] == ["0 spans", "1 span", "12k spans"]
    assert several(["a", "b"]) == "a, b"
    assert several(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
