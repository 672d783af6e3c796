import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal.isal_zlib import crc32

from app.core.request import Signal
from app.queue.record import HEADER_BYTES, DamagedRecord, Record, pack, peek, unpack

RECORD = pack(Signal.TRACES, b"some spans", 3, 1_700_000_000_123_456_789)


@given(st.sampled_from(Signal), st.binary(), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_what_is_packed_is_unpacked(signal: Signal, body: bytes, items: int, received_ns: int) -> None:
    record = pack(signal, body, items, received_ns)
    assert len(record) == HEADER_BYTES + len(body)
    assert unpack(signal, memoryview(record)) == Record(items, received_ns, body)
    assert peek(memoryview(record)) == (items, received_ns)


@pytest.mark.parametrize("position", range(len(RECORD)))
def test_a_changed_byte_anywhere_is_noticed(position: int) -> None:
    changed = bytearray(RECORD)
    changed[position] ^= 0x10
    with pytest.raises(DamagedRecord):
        unpack(Signal.TRACES, memoryview(changed))


@pytest.mark.parametrize("length", range(len(RECORD)))
def test_a_cut_record_is_noticed(length: int) -> None:
    with pytest.raises(DamagedRecord):
        unpack(Signal.TRACES, memoryview(RECORD[:length]))


def test_damage_tells_the_items_that_the_header_tells() -> None:
    with pytest.raises(DamagedRecord, match="CRC of 9 bytes") as damaged:
        unpack(Signal.TRACES, memoryview(RECORD[:-1]))
    assert damaged.value.items == 3
    with pytest.raises(DamagedRecord, match="19 bytes are no record") as headless:
        unpack(Signal.TRACES, memoryview(RECORD[:19]))
    assert headless.value.items == 0
    assert peek(memoryview(RECORD[:19])) == (0, 0)


def test_a_record_of_another_signal_does_not_belong() -> None:
    with pytest.raises(DamagedRecord, match="signal 1 does not belong here") as damaged:
        unpack(Signal.LOGS, memoryview(RECORD))
    assert damaged.value.items == 3


def test_a_header_that_has_grown_is_read() -> None:
    fields = struct.pack(">BBHIQ", 1, 3, 28, 5, 7)
    record = fields + struct.pack(">I", crc32(b"body", crc32(fields))) + b"8 bytes!" + b"body"
    assert unpack(Signal.LOGS, memoryview(record)) == Record(5, 7, b"body")
