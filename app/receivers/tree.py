"""Types of the trees that JSON is parsed into for the constructors of `mirror`, and msgspec's decoders to them.

Parsing turns integers in quotes into integers, and hexadecimal and base64 into bytes. All else stays what it is in the
text, or is refused, so that nothing that OTLP's JSON does not have is made into something that fits.
"""

from binascii import unhexlify
from functools import cache
from typing import Any, Final, TypedDict

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from app.receivers.scalar import IDS

__all__ = ["LEVELS", "decoder_of"]

LEVELS: Final = 22
"""How deep messages nest in a tree: a body, or an attribute of an event, of five maps within each other fits."""


class _Bytes(type):
    def __instancecheck__(cls, value: object) -> bool:
        return type(value) is bytes


class _Id(metaclass=_Bytes):
    """Bytes that are hexadecimal in JSON."""


# Where a type takes more than its field does, the field's constructor refuses it: a text or a float for an integer or
# a bool, a text for a double or for a message that nests too deep. A float may be an integer that was rounded.
_SCALARS: Final[dict[int, Any]] = {
    FieldDescriptor.TYPE_BYTES: bytes,
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: bool | float | str,
    FieldDescriptor.TYPE_DOUBLE: float | str,
    FieldDescriptor.TYPE_ENUM: int | float | str,
}
_INTEGER: Final = int | float
_TOO_DEEP: Final = str


@cache
def decoder_of(what: Descriptor | FieldDescriptor, *, leniently: bool) -> msgspec.json.Decoder[Any]:
    """The decoder of a message type's objects, or of a repeated field's array; raises ValueError or RecursionError.

    Leniently it takes null for what is absent, and doubles in quotes, among them "NaN" and "Infinity". But it takes
    "nan", "inf" and "null" likewise, in capitals or not, and makes "-0" a positive double.
    """
    tree = _object(what, LEVELS, leniently) if isinstance(what, Descriptor) else _array(what, LEVELS, leniently)
    return msgspec.json.Decoder(tree, strict=False, dec_hook=_unhexlify)


@cache
def _object(message: Descriptor, room: int, leniently: bool) -> Any:
    typed_dict: Any = TypedDict
    return typed_dict(
        message.name, {each.json_name: _value(each, room, leniently) for each in message.fields}, total=False
    )


def _value(field: FieldDescriptor, room: int, leniently: bool) -> Any:
    value = (_array if field.is_repeated else _item)(field, room, leniently)
    return value | None if leniently else value


def _array(field: FieldDescriptor, room: int, leniently: bool) -> Any:
    item: Any = _item(field, room, leniently)
    return list[item]


def _item(field: FieldDescriptor, room: int, leniently: bool) -> Any:
    if field.message_type is not None:
        return _object(field.message_type, room - 1, leniently) if room else _TOO_DEEP
    if leniently and field.type == FieldDescriptor.TYPE_DOUBLE:
        return float
    return _Id if field.name in IDS else _SCALARS.get(field.type, _INTEGER)


def _unhexlify(_type: type, text: Any) -> bytes:
    return unhexlify(text)
