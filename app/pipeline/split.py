"""A request cut into smaller ones: at its resources, then at their scopes, their items, a metric's data points.

Pure over bytes. Laws, each with a test of its name:

- The parts hold the same items in the same order, each under the same resource, scope and metric.
- What is not an item and not on the way to one (a resource, a schema URL, fields that we do not know) is repeated in
  each part that a message is cut into.
- A part is within the bound, or holds no more than one item.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.core.request import ExportRequest, Signal
from app.core.wire import fields, varint

__all__ = ["count", "is_divisible", "split"]

_MOST_REPEATED = 8
"""The parts of a request together have at most so many times its bytes: a resource may be larger than all its spans."""


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """A message that holds items, or is one: the fields by which it does, by tag."""

    children: "dict[int, _Level]" = field(default_factory=dict)
    choice: bool = False
    """The children exclude each other: only the last that is set counts, and it is one message however often it is."""


def _tag(number: int) -> int:
    return number << 3 | 2


_ITEM: Final = _Level()
_DATA: Final = _Level({_tag(1): _ITEM})
_METRIC: Final = _Level({_tag(number): _DATA for number in (5, 7, 9, 10, 11)}, choice=True)


def _request(in_scope: _Level) -> _Level:
    return _Level({_tag(1): _Level({_tag(2): _Level({_tag(2): in_scope})})})


_REQUESTS: Final = {
    Signal.TRACES: _request(_ITEM),
    Signal.METRICS: _request(_METRIC),
    Signal.LOGS: _request(_ITEM),
}

_Piece = tuple[bytes, int]
"""Fields, and how many items they hold."""


def count(signal: Signal, body: bytes) -> int:
    """How many items the request in `body` holds.

    Raises:
        ValueError: it is no valid protobuf.
    """
    return _count(_REQUESTS[signal], body, 0, len(body))


def split(request: ExportRequest, max_bytes: int) -> Iterator[ExportRequest]:
    """Cut `request` into parts of at most `max_bytes`, made one by one.

    Raises:
        ValueError: it is no valid protobuf.
    """
    level, body = _REQUESTS[request.signal], request.body
    for part, items in _packed(_pieces(level, body, 0, len(body), max_bytes), max_bytes):
        yield ExportRequest(request.signal, part, items, request.callers)


def is_divisible(request: ExportRequest, max_bytes: int) -> bool:
    """Whether to cut `request` is of use: there is more than one part, and what they repeat keeps within bounds."""
    parts = size = 0
    try:
        for part in split(request, max_bytes):
            parts += 1
            size += len(part.body)
            if size > _MOST_REPEATED * len(request.body):
                return False
    except ValueError:  # what is not valid protobuf, whoever let it in, is sent as it is
        return False
    return parts > 1


def _packed(pieces: Iterator[_Piece], room: int) -> Iterator[_Piece]:
    """Put neighbours together that fit into `room` bytes."""
    run = bytearray()
    total = 0
    for piece, items in pieces:
        if run and len(run) + len(piece) > room:
            yield _emptied(run), total
            total = 0
        run += piece
        total += items
    if run:
        yield _emptied(run), total


def _emptied(run: bytearray) -> bytes:
    """What was in it; a generator that held on to it would keep it for as long as the part is on its way."""
    whole = bytes(run)
    run.clear()
    return whole


def _pieces(
    level: _Level, body: bytes, start: int, end: int, room: int, *, children_only: bool = False
) -> Iterator[_Piece]:
    """The fields of the message from `start` to `end` in their order; children above `room` bytes are cut."""
    for tag, begin, value, stop in fields(body, start, end):
        child = level.children.get(tag)
        if child is None:
            if not children_only:
                yield body[begin:stop], 0
        elif child.children and stop - begin > room:
            yield from _cut(tag, child, body, value, stop, room)
        else:
            yield body[begin:stop], _items(child, body, value, stop)


def _cut(tag: int, level: _Level, body: bytes, start: int, end: int, room: int) -> Iterator[_Piece]:
    """One field in pieces of at most `room` bytes: in each, what its message has beside its children comes first."""
    if level.choice:
        body = _chosen(level, body, start, end)
        start, end = 0, len(body)
    head = b"".join([body[begin:stop] for t, begin, _, stop in fields(body, start, end) if t not in level.children])
    left = room - len(varint(tag)) - len(varint(max(room, 0))) - len(head)

    def framed(run: _Piece) -> _Piece:
        return b"".join((varint(tag), varint(len(head) + len(run[0])), head, run[0])), run[1]

    if all(t not in level.children for t, *_ in fields(body, start, end)):
        yield framed((b"", 0))
    yield from map(framed, _packed(_pieces(level, body, start, end, left, children_only=True), left))


def _chosen(level: _Level, body: bytes, start: int, end: int) -> bytes:
    """The same message with its choice made: one field where there may be several, of which the last counts.

    Fields of one message are its merge when they are put one after another, unless another choice comes between.
    """
    head, chosen, data = bytearray(), 0, bytearray()
    for tag, begin, value, stop in fields(body, start, end):
        if tag not in level.children:
            head += body[begin:stop]
            continue
        if tag != chosen:
            chosen = tag
            data.clear()
        data += body[value:stop]
    return bytes(head) + (varint(chosen) + varint(len(data)) + bytes(data) if chosen else b"")


def _items(level: _Level, body: bytes, start: int, end: int) -> int:
    return _count(level, body, start, end) if level.children else 1


def _count(level: _Level, body: bytes, start: int, end: int) -> int:
    items = chosen = 0
    for tag, _, value, stop in fields(body, start, end):
        child = level.children.get(tag)
        if child is None:
            continue
        if level.choice and tag != chosen:
            items, chosen = 0, tag
        items += _items(child, body, value, stop)
    return items
