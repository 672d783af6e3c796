"""Durations and sizes, as people write them and as the service computes with them."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

__all__ = ["Duration", "Size", "format_duration", "format_size", "parse_duration", "parse_size"]

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_BYTES = {
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_TOO_LARGE = 1 << 63
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_PART = re.compile(rf"({_NUMBER})(ms|us|h|m|s)")
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|us|h|m|s))+")
_SIZE = re.compile(rf"({_NUMBER}(?:e\+?\d+)?)\s*([a-z]*)")


def parse_duration(value: object) -> float:
    """Seconds of ``30s``, ``200ms``, ``5m``, ``1h`` or ``1m30s``. A number that is no text is seconds already.

    Raises:
        ValueError: no duration, or text without a unit (but for 0); says what to write instead.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = str(value).strip().lower()
        if text == "0":
            return 0.0
        if not _DURATION.fullmatch(text):
            raise ValueError(f"{value!r} is not a duration; {_duration_remedy(text)}")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{value!r} is not a duration; it must be finite and not negative")
    return seconds


def _duration_remedy(text: str) -> str:
    if re.fullmatch(_NUMBER, text):
        return f"a number needs its unit; write {text}s or {text}ms"
    return "write 30s, 500ms or 5m"


def format_duration(seconds: float) -> str:
    """A short way to write it that means exactly the same: ``30s``, ``200ms``, ``1m30s``."""
    milliseconds = f"{seconds * 1000:.10g}ms"
    if 0 < seconds < 1 and "e" not in milliseconds and parse_duration(milliseconds) == seconds:
        return milliseconds
    if seconds < 60 or seconds != int(seconds):
        # repr is exact, but may have an exponent.
        text = repr(float(seconds))
        return f"{Decimal(text):f}s".replace(".0s", "s")
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number)


def parse_size(value: object) -> int:
    """Bytes of ``64MiB``, ``3.5MiB``, ``4KiB``, ``1GB`` or a plain whole number.

    Numbers such as ``1.6777216e+07`` are understood, because Helm writes large whole numbers so.

    Raises:
        ValueError: no size; says what to write instead.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = float(value)
    else:
        match = _SIZE.fullmatch(str(value).strip().lower())
        if match is None or (match[2] and match[2] not in _BYTES):
            raise ValueError(f"{value!r} is not a size; write 64MiB, 512KiB or a number of bytes")
        size = float(match[1]) * _BYTES[match[2] or "b"]
    if not 0 <= size < _TOO_LARGE:
        raise ValueError(f"{value!r} is not a size; it must be between 0 and 8 EiB")
    if size != int(size):
        raise ValueError(f"{value!r} is not a whole number of bytes; write 64MiB, 512KiB or a number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """The largest unit in which it takes two decimals at most: ``64MiB``, ``3.5MiB``; otherwise in bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        quarters, rest = divmod(size * 4, _BYTES[unit.lower()])
        if quarters >= 4 and not rest:
            return f"{quarters / 4:.2f}".rstrip("0").rstrip(".") + unit
    return str(size)


Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
"""Seconds."""

Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size)]
"""Bytes."""
