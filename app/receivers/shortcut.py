"""The shortcut for requests as exporters write them: orjson parses, and the message's own constructor takes the tree.

It tells what is right from what is in doubt, and nothing else. What is in doubt is left to `reader` and `mapping`,
which take twice as long and know what is wrong with it, if anything.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from app.receivers.mirror import mirror_of
from app.receivers.scalar import Convert, Unfit, convert_all_for, convert_exactly_for, taken_by
from app.receivers.shape import DEPTH

__all__ = ["Shortcut", "shortcut_for"]

Nested = Callable[[Any, int], None]
"""Get what is under a key ready for the constructor, in its place; at a depth."""


class _DoubtError(Exception):
    """It is not seen to be right."""


_DOUBTS: Final = (_DoubtError, Unfit, TypeError, ValueError)  # orjson and the constructor raise the latter two


def _parse(text: str) -> Any:
    if "\\u003a" in text or "\\u003A" in text:
        raise _DoubtError
    tree = orjson.loads(text)
    # Of two members with one key orjson keeps the last. As each has a colon, and strings keep theirs, what it writes
    # again has fewer of them.
    if orjson.dumps(tree).count(b":") != text.count(":"):
        raise _DoubtError
    return tree


def _parse_items(text: str) -> tuple[list[Any], int]:
    array = f"[{text}]"
    try:
        return _parse(array), len(text)
    except orjson.JSONDecodeError as error:
        array = array[: error.pos].rstrip(" \t\n\r")  # which is all of it where something follows its end
    return _parse(array), len(array) - len("[]")


class Shortcut:
    """How trees become serialized messages of one type."""

    def __init__(self, new: type[Message]) -> None:
        self._new = new
        self._scalars: dict[str, tuple[type | None, Convert]] = {}
        self._nested: dict[str, Nested] = {}
        self._oneofs: tuple[frozenset[str], ...] = ()

    def compile(self, message: Descriptor) -> None:
        """Add the fields of `message`, whose type may nest in itself."""
        for field in message.fields:
            if field.message_type is not None:
                ready = shortcut_for(field.message_type).ready
                self._nested[field.json_name] = _all_ready(ready) if field.is_repeated else ready
            elif field.is_repeated:
                self._scalars[field.json_name] = (None, _convert_each(field))
            else:
                # There are no infinite floats, because orjson refuses them.
                taken = float if field.type == FieldDescriptor.TYPE_DOUBLE else taken_by(field)
                self._scalars[field.json_name] = (taken, convert_exactly_for(field))
        oneofs = [frozenset(field.json_name for field in oneof.fields) for oneof in message.oneofs]
        self._oneofs = tuple(keys for keys in oneofs if len(keys) > 1)

    def read(self, text: str) -> bytes | None:
        """The message that `text` describes, serialized; None where it is in doubt."""
        try:
            return self._serialize(_parse(text), 0)
        except _DOUBTS:
            return None

    def read_items(self, key: str, text: str, depth: int) -> tuple[bytes, int, int] | None:
        """The part of the message at a depth that is the array under `key`, whose items `text` begins with.

        Returns:
            the part, the number of its items, and where they end: with the text, or before the end of the array; None
            where they are in doubt.
        """
        try:
            items, end = _parse_items(text)
            return self._serialize({key: items}, depth), len(items), end
        except _DOUBTS:
            return None

    def _serialize(self, tree: Any, depth: int) -> bytes:
        self.ready(tree, depth)
        return self._new(**tree).SerializeToString()

    def ready(self, tree: Any, depth: int) -> None:
        """Get an object ready for the constructor, to which nothing is left to refuse but numbers out of range."""
        if type(tree) is not dict or depth > DEPTH:
            raise _DoubtError
        scalars, nested, unknown = self._scalars, self._nested, False
        for key, value in tree.items():
            if key in scalars:
                taken, convert = scalars[key]
                if type(value) is not taken and value is not None:
                    tree[key] = convert(value)
            elif key in nested:
                if value is not None:
                    nested[key](value, depth + 1)
            else:
                unknown = True
        if self._oneofs and len(tree) > 1:
            self._check_oneofs(tree)
        if unknown:
            for key in tree.keys() - scalars.keys() - nested.keys():
                del tree[key]

    def _check_oneofs(self, tree: dict[str, Any]) -> None:
        for keys in self._oneofs:
            if len(keys & tree.keys()) > 1:  # of which one may be null
                raise _DoubtError


_SHORTCUTS: Final[dict[Descriptor, Shortcut]] = {}


def shortcut_for(message: Descriptor) -> Shortcut:
    """The shortcut to a message type."""
    shortcut = _SHORTCUTS.get(message)
    if shortcut is None:
        shortcut = _SHORTCUTS[message] = Shortcut(mirror_of(message))
        shortcut.compile(message)
    return shortcut


def _all_ready(ready: Nested) -> Nested:
    def all_ready(values: Any, depth: int) -> None:
        if type(values) is not list:
            raise _DoubtError
        for value in values:
            ready(value, depth)

    return all_ready


def _convert_each(field: FieldDescriptor) -> Convert:
    convert, convert_all = convert_exactly_for(field), convert_all_for(field)

    def each(values: Any) -> list[Any]:
        if type(values) is not list:
            raise _DoubtError
        ready = convert_all(values)
        return [convert(value) for value in values] if ready is None else ready

    return each
