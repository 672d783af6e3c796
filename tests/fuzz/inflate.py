"""What is inflated is what zlib and zstandard make of it, never more than the bound, and broken where they say so.

A byte chooses the coding, and whether the rest is a stream or is packed into one here, which is then damaged; two bytes
are the bound, two the damage.
"""

import gzip
import zlib

import zstandard

from app.core.errors import InvalidData, TooLarge
from app.receivers.inflate import inflate


def check(data: bytes) -> None:
    if len(data) < 6:
        return
    how, limit, at, change, rest = data[0], 16 * int.from_bytes(data[1:3], "big"), data[3], data[4], data[5:]
    coding = ("gzip", "deflate", "zstd", "zstd")[how & 3]
    if how & 0x40:
        packed = pack(coding, rest, twice=bool(how & 0x20))
        agree(coding, packed, max(len(rest) * 2, len(packed)))
        damaged = bytearray(packed)
        damaged[at * len(packed) // 256] ^= change
        rest = bytes(damaged)
    agree(coding, rest, max(limit, len(rest)))


def pack(coding: str, plain: bytes, *, twice: bool) -> bytes:
    match coding:
        case "gzip":
            return gzip.compress(plain, mtime=0) * (1 + twice)
        case "deflate" if twice:
            packer = zlib.compressobj(wbits=-15)
            return packer.compress(plain) + packer.flush()
        case "deflate":
            return zlib.compress(plain)
    packer = zstandard.ZstdCompressor(write_checksum=twice).compressobj()
    return (packer.compress(plain) + packer.flush()) * (1 + twice)


def agree(coding: str, body: bytes, limit: int) -> None:
    try:
        expected = reference(coding, body, limit)
    except (zlib.error, zstandard.ZstdError, EOFError):
        expected = None
    try:
        found: bytes | None = inflate(body, coding, limit)
    except InvalidData as refusal:
        if isinstance(refusal, TooLarge):
            # A stream may be found too large before it is found broken.
            assert expected is None or len(expected) > limit, "refused as too large, which it is not"
            return
        found = None
    assert found is None or len(found) <= limit, "more than the bound"
    if expected is not None and len(expected) > limit:
        expected = None  # and it was found broken before it was too large
    assert found == expected, f"{show(found)} for {show(expected)}"


def show(outcome: bytes | None) -> str:
    return "broken" if outcome is None else f"{len(outcome)} bytes"


def reference(coding: str, body: bytes, limit: int) -> bytes:
    """The whole body, or more than `limit` of it."""
    inflated = b""
    rest = body
    while rest or not inflated:
        if coding == "zstd":
            stream = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()
            inflated += stream.decompress(rest)
        else:
            framed = (
                coding == "deflate"
                and len(rest) > 1
                and rest[0] & 15 == 8
                and int.from_bytes(rest[:2], "big") % 31 == 0
            )
            stream = zlib.decompressobj(31 if coding == "gzip" else 15 if framed else -15)
            inflated += stream.decompress(rest, limit + 1)
        if len(inflated) > limit:
            return inflated
        if not stream.eof:
            raise EOFError
        rest = stream.unused_data
        if rest and coding == "deflate":
            raise EOFError
        if not rest:
            break
    return inflated
