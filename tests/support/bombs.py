"""Bodies that are small and become large when they are read."""

import zlib
from typing import Final

from tests.support.wire import field

__all__ = ["GZIP", "ZLIB", "deflated_zeros", "many", "nested_maps", "zstd_zeros"]

GZIP: Final = 31
"""zlib's `wbits` for gzip."""
ZLIB: Final = 15
"""zlib's `wbits` for HTTP's deflate."""

_MIB = 1 << 20
_BLOCK = 128 << 10  # what a block of zstd may hold (RFC 8878, 3.1.1.2.3)


def many(item: bytes, size: int = _MIB) -> bytes:
    """`item` again and again, at most `size` bytes."""
    return item * (size // len(item))


def nested_maps(levels: int) -> bytes:
    """A serialized AnyValue of `levels` key-value lists, one in the other: three messages each."""
    value = b""
    for _ in range(levels):
        value = field(6, field(1, field(2, value)))
    return value


def deflated_zeros(size: int, wbits: int) -> bytes:
    """About `size` bytes that inflate to a thousand times as many zeros.

    After a full flush the same data becomes the same bytes again, so that these need not be made one after another. All
    of it is valid but for the checksum at its end.
    """
    packer = zlib.compressobj(9, wbits=wbits)
    first, again = [packer.compress(bytes(_MIB)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    return first + many(again, size - len(first)) + packer.flush()


def zstd_zeros(size: int) -> bytes:
    """About `size` bytes that inflate to thirty thousand times as many zeros: one frame of RLE blocks."""
    frame = bytes.fromhex("28b52ffd 00 68")  # its size is not told, its window is 8 MiB
    block, last = ((_BLOCK << 3 | 1 << 1 | end).to_bytes(3, "little") + b"\0" for end in (0, 1))
    return frame + many(block, size) + last
