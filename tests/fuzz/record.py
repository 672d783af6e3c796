"""What is packed is unpacked, and any damage of it is seen; other bytes are no record, unless their checksum is right.

A byte chooses the signal; then come items, time received, and the damage: where, what, and how much is cut; the rest is
the body.
"""

import struct
import zlib

from app.core.request import Signal
from app.queue.record import HEADER_BYTES, DamagedRecord, Record, length_in, pack, peek, signal_of, unpack

SIGNALS = list(Signal)
HEAD = struct.Struct(">BIQHBH")


def check(data: bytes) -> None:
    noise(data)
    if len(data) < HEAD.size:
        return
    which, items, received_ns, at, change, left = HEAD.unpack_from(data)
    signal, body = SIGNALS[which % len(SIGNALS)], data[HEAD.size :]
    record = pack(signal, body, items, received_ns)
    assert unpack(signal, memoryview(record)) == Record(items, received_ns, body)
    assert peek(memoryview(record)) == (items, received_ns)
    assert signal_of(record) is signal
    assert length_in(record + bytes(left % 4096), len(record) - min(left, len(body))) == len(record)
    if change:
        damaged = bytearray(record)
        damaged[at % len(record)] ^= change
        refused(signal, bytes(damaged))
    refused(signal, record[: left % len(record)])
    refused(signal, record + b"\0" + body[:8])
    refused(SIGNALS[(which + 1) % len(SIGNALS)], record)


def refused(signal: Signal, record: bytes) -> None:
    try:
        unpack(signal, memoryview(record))
    except DamagedRecord as damaged:
        assert damaged.items == peek(memoryview(record))[0]  # noqa: PT017 - raised in most cases, and else below
        return
    raise AssertionError("damage was not seen")


def noise(data: bytes) -> None:
    for code, signal in enumerate(SIGNALS, 1):
        expected = None
        if len(data) >= HEADER_BYTES and data[:2] == bytes((1, code)):
            (length,) = struct.unpack_from(">H", data, 2)
            if zlib.crc32(data[:16] + data[length:]) == int.from_bytes(data[16:HEADER_BYTES], "big"):
                expected = Record(*struct.unpack_from(">IQ", data, 4), data[length:])
        try:
            found = unpack(signal, memoryview(data))
        except DamagedRecord:
            found = None
        assert found == expected
