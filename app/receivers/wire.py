"""A serialized request, checked and counted in pieces, with the same verdict as one parse of the whole.

A parsed message can cost ninety times its bytes, so only runs of fields of at most a piece are parsed. Each is given
back the heads of the messages that it was found in, which makes it a request of its own: what is counted in it and how
deep it nests come out as in the whole. A field above a piece is walked into, or cut where its value may be.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from app.core.errors import InvalidData
from app.receivers.shape import DEPTH, TOO_DEEP, Cut, Shape, shape_of, varint
from app.receivers.turns import Steps, at_once

__all__ = ["Walk"]

M = TypeVar("M", bound=Message)
_FINEST: Final = 64  # bytes; as near as a message says where
_SLICE: Final = 512  # how many containers are counted in one step


class Walk(Generic[M]):
    """One request of type `kind`; `sizes` yields how many items each of a parsed request's containers holds."""

    def __init__(
        self, kind: type[M], sizes: Callable[[M], Iterator[int]], body: bytes, piece: int, at: int = 0
    ) -> None:
        self._kind = kind
        self._sizes = sizes
        self._body = body
        self._piece = piece
        self._at = at  # where the body begins in the one that messages speak of

    def count(self) -> Steps[int]:
        """How many items the request holds.

        Raises:
            InvalidData: It is not valid protobuf; says what and near which byte.
        """
        return self._fields(shape_of(self._kind.DESCRIPTOR), 0, len(self._body), (), counting=True)

    def whole(self) -> Steps[int]:
        """As `count`, by one parse, for a request of moderate size."""
        return self._parsed((), 0, len(self._body), counting=True)

    def _fields(  # noqa: C901, PLR0912 - one loop over every field; a call for each would double what it costs
        self, shape: Shape, pos: int, end: int, heads: tuple[int, ...], *, counting: bool
    ) -> Steps[int]:
        """Check the fields of one message from `pos` to `end`; `heads` are the tags of the fields that it is in."""
        body, piece, choice = self._body, self._piece, shape.choice
        items = chosen = 0
        run = pause = pos
        while pos < end:
            if pos > pause:
                yield
                pause = pos + piece // 4
            field = pos
            tag = body[pos]
            pos += 1
            if tag > 127:
                tag, pos = self._tag(field, end)
            if tag & 7 == 2:
                length = body[pos] if pos < end else 128
                pos += 1
                if length > 127:
                    second = body[pos] if pos < end else 128
                    if second < 128:
                        length += (second - 1) << 7
                        pos += 1
                    else:
                        length, pos = self._varint(pos - 1, 5, end)
                value = pos
                pos += length
            elif tag & 7 == 3:
                value = pos = yield from self._group(tag, pos, end, DEPTH - len(heads))
            else:
                value = pos = self._scalar(tag, field, pos, end)
            if pos > end:
                raise self._invalid(field, "a field is longer than what holds it")
            if pos - run > piece and field > run:
                items += yield from self._parsed(heads, run, field, counting=counting)
                run = field
            if choice and tag in choice and tag != chosen:
                items, chosen = 0, tag
            if pos - run > piece:
                items += yield from self._large(shape, tag, field, value, pos, heads, counting=counting)
                run = pos
        if run < end:
            items += yield from self._parsed(heads, run, end, counting=counting)
        return items

    def _large(
        self, shape: Shape, tag: int, field: int, value: int, end: int, heads: tuple[int, ...], *, counting: bool
    ) -> Steps[int]:
        """Check one field that is more than a piece."""
        nested = shape.nested.get(tag)
        if nested is not None:
            if len(heads) == DEPTH:
                raise self._invalid(field, TOO_DEEP)
            first = counting and nested.is_item
            inner = yield from self._fields(nested, value, end, (*heads, tag), counting=counting and not first)
            return inner + first
        cut = shape.cuts.get(tag)
        if cut is not None:
            yield from self._pieces(cut, value, end, (*heads, tag))
        elif tag < 8:
            raise self._invalid(field, "a field has the number 0")
        return 0  # else bytes or unknown to us: whatever it holds is right

    def _pieces(self, cut: Cut, pos: int, end: int, heads: tuple[int, ...]) -> Steps[int]:
        """Check a string or packed numbers."""
        while pos < end:
            stop = min(pos + max(self._piece, 16), end)
            if stop < end:
                stop = cut(self._body, pos, stop)
            yield from self._parsed(heads, pos, stop, counting=False)
            pos = stop
        return 0

    def _parsed(self, heads: tuple[int, ...], start: int, stop: int, *, counting: bool) -> Steps[int]:
        """Parse what is from `start` to `stop` under its heads."""
        parts = [self._body[start:stop]]
        size = stop - start
        for tag in reversed(heads):
            parts.append(varint(tag) + varint(size))
            size += len(parts[-1])
        request = b"".join(reversed(parts))
        try:
            message = self._kind.FromString(request)
        except DecodeError as error:
            if self._piece > _FINEST:  # in smaller pieces it tells where
                at = self._at + stop - len(request)
                at_once(Walk(self._kind, self._sizes, request, max(self._piece // 32, _FINEST), at).count())
            reason = str(error).rpartition(": ")[2]
            raise self._invalid(start, TOO_DEEP if "MaxDepth" in reason else reason) from error
        yield
        total = 0
        sizes = self._sizes(message) if counting else iter(())
        while some := tuple(islice(sizes, _SLICE)):
            total += sum(some)
            yield
        return total

    def _group(self, tag: int, pos: int, end: int, depth: int) -> Steps[int]:
        """Check a group, which no message of ours has; returns where it ends."""
        opened = [tag]
        pause = pos
        while opened:
            if len(opened) > depth:
                raise self._invalid(pos, TOO_DEEP)
            if pos > pause:
                yield
                pause = pos + self._piece // 4
            field = pos
            tag, pos = self._tag(pos, end)
            if tag & 7 == 4 and tag - 1 != opened.pop():
                raise self._invalid(field, "a group ends that was not begun")
            if tag & 7 == 2:
                length, pos = self._varint(pos, 5, end)
                pos += length
            elif tag & 7 == 3:
                opened.append(tag)
            elif tag & 7 != 4:
                pos = self._scalar(tag, field, pos, end)
            if pos > end:
                raise self._invalid(field, "a field is longer than what holds it")
        return pos

    def _scalar(self, tag: int, field: int, pos: int, end: int) -> int:
        match tag & 7:
            case 0:
                return pos + 1 if pos < end and self._body[pos] < 128 else self._varint(pos, 10, end)[1]
            case 1:
                return pos + 8
            case 5:
                return pos + 4
        raise self._invalid(field, f"there is no wire type {tag & 7} here")

    def _tag(self, pos: int, end: int) -> tuple[int, int]:
        if end - pos > 1:
            first, second = self._body[pos : pos + 2]
            if first < 128:
                return first, pos + 1
            if second < 128:
                return first & 127 | second << 7, pos + 2
        tag, after = self._varint(pos, 5, end)
        if tag >> 32:
            raise self._invalid(pos, "a field's number is too large")
        return tag, after

    def _varint(self, pos: int, most: int, end: int) -> tuple[int, int]:
        value = 0
        for at in range(pos, min(pos + most, end)):
            byte = self._body[at]
            value |= (byte & 127) << 7 * (at - pos)
            if byte < 128:
                return value, at + 1
        raise self._invalid(pos, "a number is cut short or too long")

    def _invalid(self, pos: int, what: str) -> InvalidData:
        return InvalidData(f"{self._kind.DESCRIPTOR.name} is not valid protobuf near byte {self._at + pos}: {what}")
