"""Requests in OTLP's JSON encoding, turned into the protobuf form that the service keeps and forwards."""

from typing import Final

from app.core.errors import InvalidData
from app.core.request import ExportRequest, Signal
from app.receivers.decode import read_protobuf, request_type
from app.receivers.mapping import plan_for
from app.receivers.reader import Reader
from app.receivers.scalar import Unfit
from app.receivers.turns import Steps, at_once, in_turns

__all__ = ["read_json", "serializing"]

_PIECE: Final = 16 << 10  # characters; up to eight thousand values


async def read_json(signal: Signal, body: bytes) -> ExportRequest:
    """The request that `body` describes, in protobuf; memory stays bounded, and the loop gets its turns.

    Raises:
        InvalidData: It is not JSON, or not such a request; says what and where.
    """
    steps = serializing(signal, body)
    serialized = at_once(steps) if len(body) <= _PIECE else await in_turns(steps)
    return ExportRequest(signal, serialized, await read_protobuf(signal, serialized))


def serializing(signal: Signal, body: bytes, *, piece: int = _PIECE) -> Steps[bytes]:
    """The steps of `read_json`: values above `piece` characters are read member by member."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidData(f"the body is not JSON near byte {error.start}: it is not UTF-8") from error
    yield
    kind = request_type(signal)
    try:
        return (yield from Reader(text, piece).read(plan_for(kind.DESCRIPTOR)))
    except Unfit as unfit:
        raise InvalidData(f"the body is not an {kind.DESCRIPTOR.name}: {unfit}") from None
