import asyncio
import gzip
import random
import zlib
from collections.abc import Callable
from typing import Protocol

import pytest
import zstandard

from app.core.errors import InvalidData, TooLarge, UnsupportedEncoding
from app.receivers.inflate import announced, inflate, inflate_async
from tests.support.cost import cost_of

MIB = 1 << 20
TEXT = random.Random(1).randbytes(40_000) + bytes(300_000) + b"the end"


class Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def zstd_stream(data: bytes) -> bytes:
    """Without the size in its head, and with a checksum."""
    packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return packer.compress(data) + packer.flush()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstd),
    ("zstd", zstd_stream),
]
each_coding = pytest.mark.parametrize(("coding", "pack"), CODINGS)


@each_coding
@pytest.mark.parametrize("data", [b"", b"a", TEXT, TEXT * 20], ids=["nothing", "a byte", "some", "much"])
async def test_a_body_comes_out_as_it_went_in(coding: str, pack: Callable[[bytes], bytes], data: bytes) -> None:
    assert inflate(pack(data), coding, 16 * MIB) == data
    assert await inflate_async(pack(data), coding, 16 * MIB) == data


@pytest.mark.parametrize("coding", ["", "identity", "Identity", " "])
def test_a_body_without_coding_is_itself(coding: str) -> None:
    assert inflate(TEXT, coding, MIB) is TEXT


@pytest.mark.parametrize("coding", ["gzip", "GZIP", " GZip ", "x-gzip"])
def test_the_name_of_a_coding_is_read_generously(coding: str) -> None:
    assert inflate(gzip.compress(b"data"), coding, MIB) == b"data"


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "compress", "gzip;q=1", "*" * 1000])
def test_an_unknown_coding_is_refused_by_its_name(coding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match="send gzip, deflate, zstd or none") as refusal:
        inflate(b"", coding, MIB)
    assert coding[:40] in str(refusal.value)
    assert len(str(refusal.value)) < 200


@each_coding
def test_a_limit_is_what_a_body_may_have(coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(TEXT)
    assert inflate(body, coding, len(TEXT)) == TEXT
    with pytest.raises(TooLarge, match=rf"bound of {len(TEXT) - 1} bytes \(server.max_json_size\)"):
        inflate(body, coding, len(TEXT) - 1, "server.max_json_size")


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_body_above_the_limit_as_it_comes_is_refused(coding: str) -> None:
    assert inflate(b"12345", "", 5) == b"12345"
    with pytest.raises(TooLarge, match=r"has 6 bytes, above the bound of 5 \(server.max_request_size\)"):
        inflate(b"123456", coding, 5)


@each_coding
def test_a_body_that_is_cut_short_is_refused(coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(TEXT)
    for kept in (0, 1, 3, 5, 12, 1000, 39_000, len(body) - 5, len(body) - 1):
        with pytest.raises(InvalidData, match=f"the {coding} body") as refusal:
            inflate(body[:kept], coding, MIB)
        assert not isinstance(refusal.value, TooLarge)


@each_coding
def test_a_body_that_goes_on_after_its_end_is_refused(coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(TEXT)
    for rest in (b"\0", b"\x1f\x8c", b"anything"):
        with pytest.raises(InvalidData, match=str(len(body))):
            inflate(body + rest, coding, MIB)


@each_coding
def test_a_broken_body_is_refused(coding: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidData, match=f"the {coding} body"):
        inflate(b"\x1e" * 1000, coding, MIB)
    if pack not in (raw_deflate, zstd):  # which have no checksum
        body = bytearray(pack(TEXT))
        body[20_000] ^= 1
        with pytest.raises(InvalidData, match=f"the {coding} body is broken near byte"):
            inflate(bytes(body), coding, MIB)


def test_a_broken_head_is_refused() -> None:
    broken = zstd(TEXT)[:4] + b"\xff" * 100
    with pytest.raises(InvalidData, match="the zstd body"):
        inflate(broken, "zstd", MIB)


@pytest.mark.parametrize("first", [b"", zstd(b"first")])
def test_a_compressed_block_of_no_bytes_is_refused_wherever_it_is(first: bytes) -> None:
    assert inflate(first + bytes.fromhex("28b52ffd 20 00 010000"), "zstd", MIB) == (b"first" if first else b"")
    with pytest.raises(InvalidData, match=f"near byte {len(first) + 6}: a compressed block has no bytes"):
        inflate(first + bytes.fromhex("28b52ffd 20 00 050000"), "zstd", MIB)


def test_flags_of_gzip_that_are_reserved_are_refused_in_every_member() -> None:
    member = gzip.compress(b"data")
    odd = member[:3] + b"\x40" + member[4:]
    with pytest.raises(InvalidData, match="near byte 3: reserved flags are set"):
        inflate(odd, "gzip", MIB)
    with pytest.raises(InvalidData, match=f"near byte {len(member) + 3}: reserved flags are set"):
        inflate(member + odd, "gzip", MIB)


@pytest.mark.parametrize(("coding", "pack"), [each for each in CODINGS if each[0] != "deflate"])
def test_several_members_are_one_body(coding: str, pack: Callable[[bytes], bytes]) -> None:
    assert inflate(pack(TEXT) + pack(b"") + pack(b"more") + pack(TEXT), coding, MIB) == TEXT + b"more" + TEXT
    many = pack(b"ab") * 5000
    assert inflate(many, coding, MIB) == b"ab" * 5000
    with pytest.raises(InvalidData):
        inflate(many[:-1], coding, MIB)
    with pytest.raises(TooLarge):
        inflate(many, coding, 9999 if len(many) < 9999 else len(many) - 1)


def test_skippable_frames_of_zstd_hold_nothing() -> None:
    skippable = b"\x5a\x2a\x4d\x18" + (50_000).to_bytes(4, "little") + bytes(50_000)
    assert inflate(skippable + zstd(b"data") + skippable, "zstd", MIB) == b"data"
    with pytest.raises(InvalidData, match="cut short"):
        inflate(zstd(b"data") + skippable[:-1], "zstd", MIB)


def test_a_zstd_frame_may_claim_any_size_and_costs_what_it_holds() -> None:
    claims = b"\x28\xb5\x2f\xfd\xc0\x70" + (2**62).to_bytes(8, "little")  # a window of 16 MiB
    with pytest.raises(InvalidData, match="the zstd body is broken near byte 0"):
        inflate(claims + b"\x09\x00\x00a", "zstd", MIB)
    claims = b"\x28\xb5\x2f\xfd\xc0\x00" + (2**62).to_bytes(8, "little")
    with pytest.raises(InvalidData, match="the zstd body is broken"):
        inflate(claims + b"\x09\x00\x00a", "zstd", MIB)


@pytest.mark.parametrize(
    ("coding", "packer"),
    [
        ("gzip", zlib.compressobj(wbits=31)),
        ("deflate", zlib.compressobj(wbits=15)),
        ("deflate", zlib.compressobj(wbits=-15)),
        ("zstd", zstandard.ZstdCompressor().compressobj()),
    ],
    ids=["gzip", "zlib", "raw deflate", "zstd"],
)
def test_a_bomb_costs_the_limit_and_a_step(coding: str, packer: Packer) -> None:
    zeros = bytes(MIB)
    bomb = b"".join(packer.compress(zeros) for _ in range(100)) + packer.flush()
    cost = cost_of(inflate_async, bomb, coding, 16 * MIB)
    assert isinstance(cost.result, TooLarge)
    assert cost.growth < 28 * MIB
    assert cost.longest_turn < 0.1


@pytest.mark.parametrize(
    ("coding", "piece"),
    [
        ("gzip", gzip.compress(b"")),
        ("zstd", b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"),
        ("zstd", b"\x50\x2a\x4d\x18\x00\x00\x00\x00"),
    ],
    ids=["gzip members", "zstd frames", "skippable frames"],
)
def test_a_million_empty_pieces_leave_the_loop_its_turns(coding: str, piece: bytes) -> None:
    cost = cost_of(inflate_async, piece * (MIB // len(piece)), coding, 16 * MIB)
    assert cost.result == b""
    assert cost.longest_turn < 0.1


def test_empty_blocks_leave_the_loop_its_turns() -> None:
    body = b"\x28\xb5\x2f\xfd\x20\x00" + bytes(3 << 18) + b"\x01\x00\x00"
    cost = cost_of(inflate_async, body, "zstd", 16 * MIB)
    assert cost.result == b""
    assert cost.longest_turn < 0.1


async def test_many_bodies_are_inflated_at_once() -> None:
    body = gzip.compress(bytes(MIB))
    assert await asyncio.gather(*(inflate_async(body, "gzip", MIB) for _ in range(10))) == [bytes(MIB)] * 10


async def test_whoever_counts_is_told_at_each_step_and_may_end_it() -> None:
    told: list[int] = []

    def grow(size: int) -> None:
        told.append(size)
        if size > MIB:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await inflate_async(gzip.compress(bytes(16 * MIB)), "gzip", 16 * MIB, grow=grow)
    assert told == sorted(told)
    assert MIB < told[-1] < 2 * MIB


@pytest.mark.parametrize(
    ("body", "coding", "size"),
    [
        (gzip.compress(bytes(1000), mtime=0), "gzip", 1000),
        (gzip.compress(bytes(1000), mtime=0), " X-GZIP", 1000),
        (gzip.compress(bytes(1001), mtime=0), "gzip", 0),
        (bytes(1000), "zstd", 0),
        (b"", "gzip", 0),
    ],
)
def test_what_a_body_says_of_its_size_is_known_before_it_is_inflated(body: bytes, coding: str, size: int) -> None:
    assert announced(body, coding, 1000) == size
