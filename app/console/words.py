"""Numbers and times as a person reads them at a glance."""

from datetime import UTC, datetime
from math import inf

from app.exporters.values import duration, number, quantity

__all__ = [
    "NOTHING",
    "ago",
    "bound",
    "clock",
    "count",
    "date",
    "per_second",
    "percent",
    "plural",
    "seconds",
    "several",
    "size",
]

NOTHING = "—"
"""What stands where there is no value."""

_LONG = 10_000
_LARGE = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """``999``, ``12.3k``, ``4.56M``."""
    for unit, name in _LARGE:
        if value >= unit * 0.9995 and value >= _LONG:
            return f"{number(float(f'{value / unit:.3g}'))}{name}"
    return number(round(value, 1) if value % 1 else int(value))


def per_second(value: float) -> str:
    """``0``, ``0.3/s``, ``120/s``."""
    if value >= 10:
        return f"{count(round(value))}/s"
    return f"{number(round(value, 1))}/s" if value == 0 or value >= 0.05 else "< 0.1/s"


def percent(share: float) -> str:
    """A share of 1; never 0 % of something."""
    if 0 < share < 0.01:
        return "< 1 %"
    return f"{share * 100:.0f} %"


def size(value: float) -> str:
    """Bytes."""
    return quantity(value, "By")


def seconds(value: float) -> str:
    """How long, in three digits or so."""
    return duration(round(value * 1e9)) if value else "0s"


def bound(value: float) -> str:
    """The bound of a histogram's bucket: ``≤ 25ms``."""
    return ">\N{NO-BREAK SPACE}30s" if value == inf else f"≤\N{NO-BREAK SPACE}{seconds(value)}"


def ago(then_ns: int, now_ns: int) -> str:
    """``just now``, ``12s ago``."""
    passed = max(0, now_ns - then_ns) // 10**9
    return "just now" if passed < 1 else f"{duration(passed * 10**9)} ago"


def clock(time_ns: int) -> str:
    """The time of day in UTC."""
    return f"{_time(time_ns):%H:%M:%S}"


def date(time_ns: int) -> str:
    return f"{_time(time_ns):%Y-%m-%d %H:%M:%S} UTC"


def plural(value: float, noun: str) -> str:
    """``1 span``, ``12.3k spans``."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def several(names: list[str], most: int = 3) -> str:
    """``web, checkout and 2 more``."""
    shown, more = names[:most], len(names) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _time(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // 10**9, UTC)
