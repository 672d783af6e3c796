"""The shortcut for requests as exporters write them: msgspec parses by type, and the message's constructor takes it.

It tells what is right from what is in doubt, and nothing else. What is in doubt is left to `reader` and `mapping`,
which take several times as long and know what is wrong with it, if anything.
"""

import re
from functools import cache
from typing import Any, Final

import msgspec
import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from app.receivers.mirror import mirror_of
from app.receivers.shape import DEPTH
from app.receivers.tree import LEVELS, decoder_of

__all__ = ["Shortcut", "shortcut_for"]


class _DoubtError(Exception):
    """It is not seen to be right."""


# msgspec, orjson, and the constructor raise all but the first; msgspec's own are ValueErrors from 0.21 on.
_DOUBTS: Final = (_DoubtError, msgspec.MsgspecError, TypeError, ValueError, RecursionError)
_MISTAKEN: Final = re.compile(rb'"(?=[-NnIi])(?!NaN"|-?Infinity")(?:-0|-?(?i:nan|inf|infinity|null))"')
_SPELLED: Final = re.compile(rb"\\u00(?:[2-6]|7[0-9Aa])")  # a letter, a digit or a sign


def _mistaken(text: bytes) -> bool:
    """Whether the lenient decoder may make something of the text that it is not."""
    return _MISTAKEN.search(text) is not None or _SPELLED.search(text) is not None


def _parse(decoder: msgspec.json.Decoder[Any], text: bytes) -> Any:
    tree = decoder.decode(text)
    if b"\\" in text and b"\\u003" in text and (b"\\u003a" in text or b"\\u003A" in text):
        raise _DoubtError
    # Of two members with one key the last is kept. As each has a colon, and strings keep theirs, what is written again
    # has fewer of them. That goes for unknown keys too, which only orjson keeps.
    colons = text.count(b":")
    if msgspec.json.encode(tree).count(b":") != colons and orjson.dumps(orjson.loads(text)).count(b":") != colons:
        raise _DoubtError
    return tree


class Shortcut:
    """How texts become serialized messages of one type."""

    def __init__(self, message: Descriptor) -> None:
        self._message = message
        self._kind = GetMessageClass(message)
        self._new = mirror_of(message)

    def read(self, text: bytes) -> bytes | None:
        """The message that `text` describes, serialized; None where it is in doubt."""
        found = self._read(text)
        return None if found is None else found[0]

    def read_items(self, field: FieldDescriptor, text: str, depth: int) -> tuple[bytes, int, int] | None:
        """The part of the message at a depth that is the array of `field`, whose items `text` begins with.

        Returns:
            the part, the number of its items, and where they end: with the text, or before the end of the array; None
            where they are in doubt.
        """
        if depth + LEVELS >= DEPTH:
            return None
        array = f"[{text}]"
        found = self._read(array.encode(), field)
        if found is None:
            try:
                orjson.loads(array)
            except orjson.JSONDecodeError as error:  # it alone tells where
                array = array[: error.pos].rstrip(" \t\n\r")  # which is all of it where something follows its end
                found = self._read(array.encode(), field)
        return None if found is None else (*found, len(array) - len("[]"))

    def _read(self, text: bytes, field: FieldDescriptor | None = None) -> tuple[bytes, int] | None:
        """The message, or the part that is the array of `field`, serialized, and how many members or items it has."""
        for leniently in (False, True):
            if leniently and _mistaken(text):
                return None
            try:
                tree = _parse(decoder_of(field or self._message, leniently=leniently), text)
                return self._serialize({field.json_name: tree} if field else tree), len(tree)
            except _DOUBTS as doubt:
                if isinstance(doubt, msgspec.DecodeError) and not isinstance(doubt, msgspec.ValidationError):
                    return None  # it is no JSON
        return None

    def _serialize(self, tree: dict[str, Any]) -> bytes:
        serialized = self._new(**tree).SerializeToString()
        # Of two members of a oneof the mirror keeps both, and the message the last.
        if self._kind.FromString(serialized).ByteSize() != len(serialized):
            raise _DoubtError
        return serialized


@cache
def shortcut_for(message: Descriptor) -> Shortcut:
    """The shortcut to a message type."""
    return Shortcut(message)
