"""Requests in OTLP's JSON encoding, turned into the protobuf form that the service keeps and forwards."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from app.core.errors import InvalidData
from app.core.request import ExportRequest, Signal
from app.receivers.decode import read_protobuf, request_type
from app.receivers.mapping import plan_for
from app.receivers.reader import Reader
from app.receivers.scalar import Unfit
from app.receivers.shortcut import shortcut_for
from app.receivers.turns import Steps, at_once, in_turns

__all__ = ["Hold", "forecast", "hold_freely", "read_json", "serializing"]

Hold = Callable[[int, int], object]
"""Told how many bytes the text takes, 0 when it is let go of, and what was serialized so far; may raise."""

_SMALL: Final = 16 << 10  # bytes that are read without a pause
_PIECE: Final = 4 << 10  # characters; up to two thousand values
_SHORTCUT: Final = 96 << 10  # bytes; 7 ms and 8 MiB at the most that was found
_WIDEST: Final = 4  # bytes of a character where one is beyond the Basic Multilingual Plane
_NUMBER: Final = 8  # bytes of a double; "1," has two


def hold_freely(_text: int, _serialized: int) -> None:
    """Where nobody counts."""


def forecast(body: bytes) -> tuple[int, int]:
    """How many bytes the text of `body` takes at most, and to how many it comes, with a few more or less."""
    return len(body) * (1 if body.isascii() else _WIDEST), max(len(body), _NUMBER * body.count(b","))


async def read_json(signal: Signal, body: bytes, hold: Hold = hold_freely) -> ExportRequest:
    """The request that `body` describes, in protobuf; the loop gets its turns, and `hold` may put an end to it.

    Raises:
        InvalidData: It is not JSON, or not such a request; says what and where.
    """
    steps = serializing(signal, body, hold=hold)
    serialized = at_once(steps) if len(body) <= _SMALL else await in_turns(steps)
    hold(0, len(serialized))
    return ExportRequest(signal, serialized, await read_protobuf(signal, serialized))


def serializing(
    signal: Signal, body: bytes, *, piece: int = _PIECE, shortcut: int = _SHORTCUT, hold: Hold = hold_freely
) -> Steps[bytes]:
    """The steps of `read_json`: up to `shortcut` bytes take the shortcut at once.

    Where something is in doubt there, values above `piece` characters are read member by member.
    """
    kind = request_type(signal)
    if len(body) <= shortcut:
        serialized = shortcut_for(kind.DESCRIPTOR).read(body)
        if serialized is not None:
            return serialized
        shortcut = 0  # what is in doubt would mostly be so again
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidData(f"the body is not JSON near byte {error.start}: it is not UTF-8") from error
    size = sys.getsizeof(text)
    hold(size, 0)
    yield
    plan = plan_for(kind.DESCRIPTOR)
    try:
        return (yield from Reader(text, piece, shortcut, partial(hold, size)).read(plan))
    except Unfit as unfit:
        raise InvalidData(f"the body is not an {kind.DESCRIPTOR.name}: {unfit}") from None
