"""Single values of OTLP's JSON encoding, as what a protobuf field takes."""

import re
from binascii import a2b_base64, unhexlify
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from math import inf
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

__all__ = [
    "IDS",
    "Convert",
    "ConvertAll",
    "Unfit",
    "convert_all_for",
    "convert_for",
    "show",
    "taken_by",
]

Convert = Callable[[Any], Any]
ConvertAll = Callable[[list[Any]], list[Any] | None]
IDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
"""The fields whose bytes are hexadecimal in JSON."""
_SPECIAL: Final = {"NaN": float("nan"), "Infinity": inf, "-Infinity": -inf}
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_DIGITS: Final = 40  # and a sign; more are out of range for every field
_SHOWN: Final = 40  # characters of a value in a message
_PATH: Final = 400  # characters of a field's path in a message


class Unfit(Exception):
    """A value is not what its field takes; `path` names the fields outwards, as the exception passes them."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path: list[str] = []

    def __str__(self) -> str:
        path = "".join(reversed(self.path)).removeprefix(".")
        if len(path) > _PATH:  # of what nests deep; what is wrong has to be told in any case
            path = f"{path[: _PATH // 2]}…{path[-_PATH // 2 :]}"
        return f"{path or 'the request'}: {self.what}"


def show(value: Any) -> str:
    """`value` for a message, short whatever it is."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case tuple():
            return "an object"
        case list():
            return "an array"
        case str() if len(value) > _SHOWN:
            return f"{value[:_SHOWN]!r}…"
    text = repr(value)
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}…"


def convert_for(field: FieldDescriptor) -> Convert:
    """What turns the JSON form of one value of `field` into what the field takes, or raises `Unfit`."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _hex if field.name in IDS else _base64
    return _CONVERTS[field.type]


def convert_all_for(field: FieldDescriptor) -> ConvertAll:
    """What does the same to a list of values at once, where that is quick to be seen right; else it returns None."""
    return _CONVERTS_ALL.get(field.type, _one_by_one)


def taken_by(field: FieldDescriptor) -> type | None:
    """The type of JSON's values that `field` takes as they are, if any."""
    return _AS_THEY_ARE.get(field.type)


def _string(value: Any) -> str:
    if type(value) is not str:
        raise Unfit(f"{show(value)} is not a string")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Unfit(f"{show(value)} is not true or false")
    return value


def _hex(value: Any) -> bytes:
    try:
        return unhexlify(value)
    except (TypeError, ValueError):
        raise Unfit(f"{show(value)} is not hex") from None


def _base64(value: Any) -> bytes:
    text = _string(value).replace("-", "+").replace("_", "/")  # protobuf's mapping takes the alphabet of URLs too
    try:
        return a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise Unfit(f"{show(value)} is not base64") from None


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise Unfit(f"{show(value)} is not an integer")


def _integer(value: Any) -> int:
    return _quoted_integer(value) if type(value) is str else _whole(value)


def _quoted_integer(value: Any) -> int:
    if type(value) is str:
        if value.isdecimal() and value.isascii() and len(value) <= _DIGITS:
            return int(value)
        if _NUMBER.fullmatch(value):
            return _whole_decimal(value)
    raise Unfit(f"{show(value)} is not an integer")


def _whole_decimal(text: str) -> int:
    """A number whose form does not tell that it is whole, exactly: a float would round it."""
    try:
        number = Decimal(text)
    except InvalidOperation:  # its exponent has too many digits
        raise Unfit(f"{show(text)} is not an integer") from None
    if not number:
        return 0
    if number.adjusted() > _DIGITS or int(number) != number:
        raise Unfit(f"{show(text)} is not an integer of its range")
    return int(number)


def _one_by_one(_values: list[Any]) -> None:
    """Nothing is quick to be seen."""


def _integers(values: list[Any]) -> list[Any] | None:
    kinds = set(map(type, values))
    if kinds == {int}:
        return values
    if kinds == {str}:
        digits = "".join(values)
        if digits.isdigit() and digits.isascii() and all(values) and max(map(len, values)) <= _DIGITS:
            return list(map(int, values))
    return None


def _doubles(values: list[Any]) -> list[Any] | None:
    return values if set(map(type, values)) <= {int, float} and inf not in values and -inf not in values else None


def _double(value: Any) -> float:
    kind = type(value)
    if kind is str:
        if value in _SPECIAL:
            return _SPECIAL[value]
        if not _NUMBER.fullmatch(value):
            raise Unfit(f"{show(value)} is not a number")
    elif kind is not float and kind is not int:
        raise Unfit(f"{show(value)} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if number - number != 0:
        raise Unfit(f"{show(value)} is above what a double holds")
    return number


_INTEGERS: Final = (
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_SFIXED32,
    FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
)
# The message itself refuses an integer out of its field's range.
_CONVERTS: Final[dict[int, Convert]] = {
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_BOOL: _bool,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_ENUM: _whole,
    **dict.fromkeys(_INTEGERS, _integer),
}
_CONVERTS_ALL: Final[dict[int, ConvertAll]] = {
    FieldDescriptor.TYPE_DOUBLE: _doubles,
    **dict.fromkeys(_INTEGERS, _integers),
}
_AS_THEY_ARE: Final[dict[int, type]] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_ENUM: int,
    **dict.fromkeys(_INTEGERS, int),
}
