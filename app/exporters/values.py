"""Times, quantities and attribute values as people read them, each on one line and without control characters."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from app.exporters.answer import plain
from app.exporters.canvas import Canvas, Piece, cells

__all__ = [
    "attribute",
    "attributes",
    "clock_time",
    "duration",
    "exception",
    "number",
    "quantity",
    "service_name",
    "text_of",
]

_KEY_LIMIT = 40
_VALUE_LIMIT = 60
_SHORTEST_VALUE = 6
_MESSAGE_LIMIT = 300
_TIMES = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_LARGEST_PLAIN = 1e15  # above it a float has no digits after the point anyway


def clock_time(time_ns: int) -> str:
    """UTC, to the millisecond; a 64-bit number of nanoseconds is before the year 2555."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}.{rest // 10**6:03}"


def duration(nanoseconds: float) -> str:
    """In the unit that suits it, in three digits or so: ``85ns``, ``350µs``, ``7.12ms``, ``2m05s``, ``3h20m``."""
    if nanoseconds < 0:
        return f"-{duration(-nanoseconds)}"
    for unit, name, above in ((1, "ns", 10**3), (10**3, "µs", 10**6), (10**6, "ms", 10**9), (10**9, "s", 60 * 10**9)):
        if nanoseconds < above * 0.9995:
            return f"{_three_digits(nanoseconds / unit)}{name}"
    seconds = round(nanoseconds / 1e9)
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    if seconds < 48 * 3600:
        return f"{seconds // 3600}h{seconds // 60 % 60:02}m"
    return f"{seconds // 86400}d{seconds // 3600 % 24:02}h"


def number(value: float) -> str:
    """Without an exponent or a ``.0`` where it can be."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if value.is_integer() and abs(value) < _LARGEST_PLAIN else f"{value:.6g}"


def quantity(value: float, unit: str) -> str:
    """A value with its unit as UCUM has it: ``250ms`` for 0.25 s, ``1.5MiB`` for bytes, ``7 request`` for {request}."""
    if unit in _TIMES and abs(value) < _LARGEST_PLAIN:
        return "0s" if value == 0 else duration(value * _TIMES[unit])
    if unit == "By":
        return _size(value)
    if unit in {"", "1"}:
        return number(value)
    if unit == "%":
        return f"{number(value)}%"
    return f"{number(value)} {plain(unit.strip('{}'), _KEY_LIMIT)}"


def text_of(value: AnyValue) -> str:
    """A value of any kind. Not plain yet."""
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return ""
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "bytes_value":
            return value.bytes_value[:32].hex()
        case "array_value":
            return "[" + ", ".join(text_of(item) for item in value.array_value.values[:8]) + "]"
        case "kvlist_value":
            return "{" + ", ".join(f"{pair.key}={text_of(pair.value)}" for pair in value.kvlist_value.values[:8]) + "}"
        case _:
            return str(getattr(value, kind))


def attribute(pairs: Iterable[KeyValue], key: str, limit: int = _VALUE_LIMIT) -> str:
    """The value of the attribute `key`, made plain; empty without one."""
    return next((plain(text_of(pair.value), limit) for pair in pairs if pair.key == key), "")


def exception(pairs: Sequence[KeyValue]) -> str:
    """The exception that attributes describe, as ``Type: message`` without the type's package; empty without one."""
    kind = attribute(pairs, "exception.type").rpartition(".")[2]
    message = attribute(pairs, "exception.message", _MESSAGE_LIMIT)
    return f"{kind}: {message}" if kind and message else kind or message


def service_name(resource: Resource) -> str:
    return attribute(resource.attributes, "service.name", _KEY_LIMIT) or "unknown"


def attributes(pairs: Iterable[KeyValue], room: int, canvas: Canvas) -> Iterator[Piece]:
    """As many attributes as `room` cells take, and how many more there are."""
    todo = list(pairs)
    gap = ""
    while todo:
        key = f"{gap}{plain(todo[0].key, _KEY_LIMIT)}="
        value = plain(text_of(todo[0].value), _VALUE_LIMIT)
        more = f" +{len(todo) - 1}" if len(todo) > 1 else ""
        left = room - cells(key) - len(more)
        if cells(value) > left < _SHORTEST_VALUE:
            break
        value = canvas.fit(value, left)
        yield Piece(key, "dim")
        yield Piece(value)
        room -= cells(key) + cells(value)
        gap = " "
        del todo[0]
    if todo and room >= len(f"{gap}+{len(todo)}"):
        yield Piece(f"{gap}+{len(todo)}", "dim")


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 9.995 else f"{value:.1f}".removesuffix(".0")


def _size(value: float) -> str:
    for unit, name in _SIZES:
        if abs(value) >= unit:
            return f"{'-' if value < 0 else ''}{_three_digits(abs(value) / unit)}{name}"
    return f"{number(value)}B"
