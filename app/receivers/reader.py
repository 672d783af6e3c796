"""A JSON text read in pieces into the serialized message that it describes.

A parsed text can cost forty times its bytes, so only values of at most a piece are parsed and mapped whole. Of a larger
object or array, each member is read on its own, and what the members before it came to is serialized and let go:
the parts of a message, one after the other, are the message. Of an array of objects many take the shortcut together.
"""

import re
from collections.abc import Callable
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final, NoReturn

from google.protobuf.message import Message

from app.core.errors import InvalidData
from app.receivers.mapping import IGNORED, Field, Plan, twice
from app.receivers.scalar import Unfit
from app.receivers.shape import DEPTH, TOO_DEEP, varint
from app.receivers.turns import Steps

__all__ = ["Reader"]

_SPACE: Final = re.compile(r"[ \t\n\r]*+")
_NUMBERS: Final = re.compile(r'[-+.0-9Ee", \t\n\r]{16,},')  # and the comma after them
_CUTS: Final = 8  # how many places where objects may end are tried


class _NoNumber(ValueError):
    """NaN and its like, which JSON does not have."""


def _constant(name: str) -> NoReturn:
    raise _NoNumber(f"{name} must be in quotes")


_DECODER: Final = JSONDecoder(object_pairs_hook=tuple, parse_constant=_constant)


class _Run:
    """A message being filled from a piece of text, and what was serialized of it before."""

    def __init__(self, new: type[Message], start: int, piece: int, wrote: Callable[[int], object]) -> None:
        self._new = new
        self._wrote = wrote
        self._start = start
        self._piece = piece
        self.message = new()
        self.parts: list[bytes] = []
        self.pause = start + piece // 4

    def rest(self, pos: int) -> None:
        """Get ready for a pause at `pos`."""
        if pos - self._start > self._piece:
            self.flush(pos)
        self.pause = pos + self._piece // 4

    def add(self, part: bytes, pos: int, end: int) -> None:
        """Add what was serialized of the text from `pos` to `end`."""
        self.flush(pos)
        self._wrote(len(part))
        self.parts.append(part)
        self._start = end

    def flush(self, pos: int) -> None:
        part = self.message.SerializeToString()
        if part:
            self._wrote(len(part))
            self.parts.append(part)
            self.message = self._new()
        self._start = pos


class Reader:
    """One text, and the window of it in which values are parsed.

    Values of at most `piece` characters are parsed whole, and objects of at most `shortcut` together take the shortcut;
    `wrote` is told to how many bytes it came so far.
    """

    def __init__(self, text: str, piece: int, shortcut: int, wrote: Callable[[int], object]) -> None:
        self._text = text
        self._piece = piece
        self._shortcut = shortcut
        self._tell = wrote
        self._written = 0
        self._base = -1 - piece
        self._window = ""

    def read(self, plan: Plan) -> Steps[bytes]:
        """Serialize the message that the text describes.

        Raises:
            InvalidData: The text is not JSON; says what and near which character.
            Unfit: It is not such a message; says which field and why.
        """
        start = self._space(0)
        found = self._fit(start)
        if found is not None:
            value, end = found
            message = plan.new()
            plan.fill(message, value, 0)
            parts = [message.SerializeToString()]
        elif self._text[start] == "{":
            parts, end = yield from self._object(plan, start, 0)
        else:
            raise self._malformed(start, "no object begins here")
        end = self._space(end)
        if end < len(self._text):
            raise self._malformed(end, "something follows the end")
        return b"".join(parts)

    def _wrote(self, size: int) -> None:
        self._written += size
        self._tell(self._written)

    def _object(self, plan: Plan, pos: int, depth: int) -> Steps[tuple[list[bytes], int]]:
        """Read an object's members one by one; returns the parts of its message, and where it ends."""
        if depth > DEPTH:
            raise Unfit(TOO_DEEP)
        run = _Run(plan.new, pos, self._piece, self._wrote)
        known: dict[str, bool | None] = {}
        pos = self._space(pos + 1)
        more = self._text[pos : pos + 1] != "}"
        pos += not more
        while more:
            key, pos = self._key(pos)
            field = plan.fields.get(key, IGNORED)
            if key in known:
                raise twice(key)
            value: Any = True
            try:
                found = self._fit(pos)
                if found is None:
                    pos = yield from self._large(run, field, pos, depth)
                else:
                    value, pos = found
                    if value is not None:
                        field.put(run.message, value, depth)
            except Unfit as unfit:
                if field is not IGNORED:
                    unfit.path.append(f".{key}")
                raise
            if field is not IGNORED:
                known[key] = None if value is None else True
            if pos > run.pause:
                run.rest(pos)
                yield
            more, pos = self._next(pos, "}")
        plan.check(tuple(known.items()))
        run.flush(pos)
        return run.parts, pos

    def _array(self, run: _Run, item: Field, pos: int, depth: int) -> Steps[int]:
        """Read an array's items one by one into `run`; returns where it ends."""
        if depth > DEPTH:
            raise Unfit(TOO_DEEP)
        pos = self._space(pos + 1)
        more = self._text[pos : pos + 1] != "]"
        pos += not more
        index = tried = 0
        while more:
            if pos >= tried:
                number, tried = self._many(run, item, pos, depth, index)
                if number:
                    run.rest(tried)
                    yield
                    index += number
                    more, pos = self._next(tried, "]")
                    continue
            try:
                found = self._fit(pos)
                if found is None:
                    pos = yield from self._large(run, item, pos, depth)
                else:
                    value, pos = found
                    item.put(run.message, value, depth)
            except Unfit as unfit:
                if item is not IGNORED:
                    unfit.path.append(f"[{index}]")
                raise
            if pos > run.pause:
                run.rest(pos)
                yield
            more, pos = self._next(pos, "]")
            index += 1
        return pos

    def _large(self, run: _Run, field: Field, pos: int, depth: int) -> Steps[int]:
        """Read a value that is more than a piece; returns where it ends."""
        yield  # to find that out cost a piece
        match self._text[pos]:
            case '"':
                value, end = self._string(pos)
                field.put(run.message, value, depth)
                return end
            case "{" if field.plan is not None:
                run.flush(pos)
                inner, end = yield from self._object(field.plan, pos, depth + 1)
                if field.head:
                    run.parts += (field.head, varint(sum(map(len, inner))), *inner)
                return end
            case "[" if field.item is not None:
                return (yield from self._array(run, field.item, pos, depth + (field is IGNORED)))
            case "{":
                raise Unfit("an object does not belong here")
            case "[":
                raise Unfit("an array does not belong here")
        raise self._malformed(pos, "this is no value")

    def _fit(self, pos: int) -> tuple[Any, int] | None:
        """Parse the value at `pos` if it is within a piece; returns it and where it ends."""
        if not 0 <= pos - self._base <= self._piece // 2:
            self._base = pos
            self._window = self._text[pos : pos + self._piece + self._piece // 2]
        return self._parse(pos - self._base)

    def _many(self, run: _Run, item: Field, pos: int, depth: int, index: int) -> tuple[int, int]:
        """Read many items at once into `run`, none where there are few or one is in doubt.

        Returns:
            their number, and where they end, or up to where that was tried.
        """
        if item.extend is not None:
            values, end = self._numbers(pos)
            if values:
                item.extend(run.message, values, index)
            return len(values), end
        objects = self._objects(pos)
        found = item.read_items(objects, depth) if item.read_items is not None and objects else None
        if found is None:
            return 0, pos + self._shortcut
        part, number, size = found
        run.add(part, pos, pos + size)
        return number, pos + size

    def _numbers(self, pos: int) -> tuple[list[Any], int]:
        """Parse many numbers at once, none where there are few; returns also where that was tried up to."""
        match = _NUMBERS.match(self._text, pos, pos + self._piece)
        if match is None:
            return [], pos
        try:
            return _DECODER.decode(f"[{match[0][:-1]}]"), match.end() - 1
        except ValueError:  # to be told, or read, one by one
            return [], match.end()

    def _objects(self, pos: int) -> str:
        """Objects that begin alike, up to the last that does, as far as can be seen without a parser."""
        end = limit = pos + self._shortcut
        opening = self._text[pos : self._text.find(":", pos, limit) + 1]
        for _ in range(_CUTS if opening else 0):
            end = self._text.rfind(opening, pos + 1, end)
            if end < 0:
                break
            objects = self._text[pos:end].rstrip(" \t\n\r")
            if objects.endswith(","):
                return objects[:-1]
        return ""

    def _parse(self, at: int) -> tuple[Any, int] | None:
        last = self._base + len(self._window) == len(self._text)
        try:
            value, end = _DECODER.raw_decode(self._window, at)
        except JSONDecodeError as error:
            if last:
                raise self._malformed(self._base + error.pos, error.msg) from None
            return None
        except RecursionError:
            raise self._malformed(self._base + at, "it nests too deep") from None
        except _NoNumber as error:
            raise self._malformed(self._base + at, str(error)) from None
        except ValueError:  # Python bounds how many digits it reads
            raise self._malformed(self._base + at, "a number has too many digits") from None
        if end > len(self._window) - 3 and not last:
            return None  # a number may go on: "1" of "1e+9"
        return value, self._base + end

    def _key(self, pos: int) -> tuple[str, int]:
        """The key of a member, and where its value begins."""
        if self._text[pos : pos + 1] != '"':
            raise self._malformed(pos, "a key in quotes is missing")
        key, pos = self._string(pos)
        pos = self._space(pos)
        if self._text[pos : pos + 1] != ":":
            raise self._malformed(pos, "a colon is missing")
        return key, self._space(pos + 1)

    def _string(self, pos: int) -> tuple[str, int]:
        try:
            value, end = _DECODER.raw_decode(self._text, pos)
        except JSONDecodeError as error:
            raise self._malformed(error.pos, error.msg) from None
        return value, end

    def _next(self, pos: int, closing: str) -> tuple[bool, int]:
        """Whether another member follows, and where it begins, or where the object or array ends."""
        pos = self._space(pos)
        character = self._text[pos : pos + 1]
        if character == ",":
            return True, self._space(pos + 1)
        if character == closing:
            return False, pos + 1
        raise self._malformed(pos, f"neither a comma nor {closing} follows")

    def _space(self, pos: int) -> int:
        if self._text[pos : pos + 1] > " ":
            return pos
        match = _SPACE.match(self._text, pos)
        return pos if match is None else match.end()

    def _malformed(self, pos: int, what: str) -> InvalidData:
        return InvalidData(f"the body is not JSON near character {pos}: {what}")
