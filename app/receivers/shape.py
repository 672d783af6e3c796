"""What the wire format of a message looks like, from its descriptor: which fields nest, and where others may be cut."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

__all__ = ["DEPTH", "TOO_DEEP", "Cut", "Shape", "shape_of", "varint"]

DEPTH: Final = 100
"""How deep messages may nest for protobuf's parsers, groups included."""

TOO_DEEP: Final = f"messages nest deeper than {DEPTH}"

Cut = Callable[[bytes, int, int], int]
"""From a body and the bounds of a piece of a value to where that piece may end; never before its start."""

_ITEMS: Final = {"Span", "LogRecord"}


@dataclass(slots=True, eq=False)
class Shape:
    """The length-delimited fields of one message type, by tag; a field in neither map can be skipped unseen."""

    is_item: bool
    """A span, a data point or a log record: what is counted."""
    nested: "dict[int, Shape]" = field(default_factory=dict)
    cuts: dict[int, Cut] = field(default_factory=dict)
    """Strings and packed numbers, which need to be looked at, and how to cut them."""
    choice: frozenset[int] = frozenset()
    """The members of a oneof that hold items: the last that is set wins, and the items of others are none."""


@cache
def shape_of(message: Descriptor) -> Shape:
    return _fill(message, {})


def _fill(message: Descriptor, known: dict[str, Shape]) -> Shape:
    shape = known[message.full_name] = Shape(message.name in _ITEMS or message.name.endswith("DataPoint"))
    for each in message.fields:
        tag = each.number << 3 | 2
        if each.message_type is not None:
            nested = known.get(each.message_type.full_name) or _fill(each.message_type, known)
            shape.nested[tag] = nested
            if each.containing_oneof is not None and any(inner.is_item for inner in nested.nested.values()):
                shape.choice |= {tag}
        elif each.type in _CUTS:
            shape.cuts[tag] = _CUTS[each.type]
    return shape


def varint(value: int) -> bytes:
    """`value` in protobuf's variable length."""
    if value < 128:
        return bytes((value,))
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _at_character(body: bytes, start: int, end: int) -> int:
    # More than three continuation bytes in a row are invalid wherever they are cut.
    for cut in range(end, max(end - 4, start), -1):
        if body[cut] & 0xC0 != 0x80:
            return cut
    return end


def _at_number(body: bytes, start: int, end: int) -> int:
    # Likewise more than nine bytes that say "to be continued".
    for cut in range(end, max(end - 10, start), -1):
        if body[cut - 1] < 128:
            return cut
    return end


def _at_multiple(width: int) -> Cut:
    def cut(_body: bytes, start: int, end: int) -> int:
        return end - (end - start) % width

    return cut


_CUTS: Final[dict[int, Cut]] = {
    FieldDescriptor.TYPE_STRING: _at_character,
    **dict.fromkeys(
        (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64), _at_multiple(8)
    ),
    **dict.fromkeys(
        (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_SFIXED32), _at_multiple(4)
    ),
    **dict.fromkeys(
        (
            FieldDescriptor.TYPE_BOOL,
            FieldDescriptor.TYPE_ENUM,
            FieldDescriptor.TYPE_INT32,
            FieldDescriptor.TYPE_INT64,
            FieldDescriptor.TYPE_SINT32,
            FieldDescriptor.TYPE_SINT64,
            FieldDescriptor.TYPE_UINT32,
            FieldDescriptor.TYPE_UINT64,
        ),
        _at_number,
    ),
}
