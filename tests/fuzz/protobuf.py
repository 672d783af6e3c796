"""The check at the door says of any bytes what protobuf's parser says, and counts what is in the parsed tree.

A byte chooses the signal, a byte the size of the pieces, the rest is the body.
"""

from google.protobuf.message import DecodeError

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.decode import count_small, counting
from app.receivers.turns import at_once
from tests.support.items import items_of

SIGNALS = list(Signal)


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    signal, piece, body = SIGNALS[data[0] % len(SIGNALS)], 1 + data[1], data[2:]
    try:
        expected = sum(1 for _ in items_of(signal, body))
    except DecodeError:
        expected = None
    try:
        whole = count_small(signal, body)
    except InvalidData:
        whole = None
    try:
        walked = at_once(counting(signal, body, whole=0, piece=piece))
    except InvalidData:
        walked = None
    assert whole == expected, f"counted {whole} at once, {expected} are there"
    assert walked == expected, f"counted {walked} in pieces of {piece}, {expected} are there"
