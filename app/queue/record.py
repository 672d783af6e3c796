"""How an entry lies on disk: a header, which may grow, and the body.

    offset  size
    0       1     format version, 1
    1       1     signal: 1 traces, 2 metrics, 3 logs
    2       2     length of the header; a reader skips what it does not know
    4       4     items
    8       8     received, in nanoseconds since the Unix epoch
    16      4     CRC-32 of the header's first 16 bytes and the body
    20      …     body, to the end of the record

Integers are big-endian.
"""

import struct
from dataclasses import dataclass

from isal.isal_zlib import crc32

from app.core.request import Signal

__all__ = ["FORMAT", "HEADER_BYTES", "DamagedRecord", "Record", "length_in", "pack", "peek", "signal_of", "unpack"]

FORMAT = 1
_FIELDS = struct.Struct(">BBHIQ")
_CRC = struct.Struct(">I")
HEADER_BYTES = _FIELDS.size + _CRC.size
_CODES = {Signal.TRACES: 1, Signal.METRICS: 2, Signal.LOGS: 3}
_SIGNALS = {code: signal for signal, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Record:
    """An entry as it was read."""

    items: int
    received_ns: int
    body: bytes


class DamagedRecord(ValueError):
    """What was read is not what was written. `items` is what the header says, if it can be read."""

    def __init__(self, message: str, items: int) -> None:
        super().__init__(message)
        self.items = items


def pack(signal: Signal, body: bytes, items: int, received_ns: int) -> bytes:
    fields = _FIELDS.pack(FORMAT, _CODES[signal], HEADER_BYTES, items, received_ns)
    return b"".join((fields, _CRC.pack(crc32(body, crc32(fields))), body))


def peek(record: memoryview) -> tuple[int, int]:
    """Items and time received as the header tells them, without looking at the body; zeros if there is no header."""
    if len(record) < HEADER_BYTES:
        return 0, 0
    _, _, _, items, received_ns = _FIELDS.unpack_from(record)
    return items, received_ns


def unpack(signal: Signal, record: memoryview) -> Record:
    """Read a record and check it.

    Raises:
        DamagedRecord: it is too short, of another signal or format, or its CRC does not match.
    """
    if len(record) < HEADER_BYTES:
        raise DamagedRecord(f"{len(record)} bytes are no record", 0)
    version, code, length, items, received_ns = _FIELDS.unpack_from(record)
    (expected,) = _CRC.unpack_from(record, _FIELDS.size)
    body = bytes(record[length:])
    if crc32(body, crc32(record[: _FIELDS.size])) != expected:
        raise DamagedRecord(f"the CRC of {len(body)} bytes does not match", items)
    if version != FORMAT or code != _CODES[signal]:
        raise DamagedRecord(f"format {version}, signal {code} does not belong here", items)
    return Record(items, received_ns, body)


def signal_of(record: bytes) -> Signal | None:
    """Return the signal that the header of a record names; None for what does not begin as a record does."""
    if len(record) < HEADER_BYTES:
        return None
    version, code, length, _, _ = _FIELDS.unpack_from(record)
    return _SIGNALS.get(code) if version == FORMAT and length == HEADER_BYTES else None


def length_in(raw: bytes, shortest: int) -> int | None:
    """Find by its CRC how long the record is that `raw` begins with, at least `shortest` bytes; None: it is damaged."""
    (expected,) = _CRC.unpack_from(raw, _FIELDS.size)
    length = max(shortest, HEADER_BYTES)
    crc = crc32(raw[HEADER_BYTES:length], crc32(raw[: _FIELDS.size]))
    while crc != expected:
        if length >= len(raw):
            return None
        crc = crc32(raw[length : length + 1], crc)
        length += 1
    return length
