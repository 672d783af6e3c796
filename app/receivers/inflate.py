"""Content codings of HTTP bodies, undone within bounds.

- Never more than the limit and one step is held, whatever a stream claims or turns out to be.
- What is cut short, broken, or followed by something else is `InvalidData`.
- Several gzip members, or zstd frames, are one body.
- A step costs at most a millisecond or two, so that a loop can have its turn between them.
"""

from collections.abc import Callable, Generator, Iterator
from io import BytesIO
from typing import Final

import zstandard
from isal import isal_zlib

from app.core.errors import InvalidData, TooLarge, UnsupportedEncoding
from app.receivers.turns import Steps, at_once, in_turns

__all__ = ["announced", "inflate", "inflate_async"]

_STEP: Final = 256 << 10  # bytes out
_CHUNK: Final = 32 << 10  # bytes in
_BLOCK: Final = 128 << 10  # what one zstd block may inflate to (RFC 8878, 3.1.1.2.3)
_WINDOW: Final = 8 << 20  # of the zstd content coding (RFC 9659)


def inflate(body: bytes, encoding: str, limit: int, key: str = "server.max_request_size") -> bytes:
    """`body` without its content coding.

    Args:
        body: As it came.
        encoding: The value of Content-Encoding, or "" where there was none.
        limit: How many bytes the body may have, before and after.
        key: The setting that `limit` comes from, for the message.

    Raises:
        UnsupportedEncoding: `encoding` is not one of gzip, deflate, zstd and identity.
        TooLarge: There are more than `limit` bytes.
        InvalidData: The stream is broken.
    """
    return at_once(_inflating(body, encoding, limit, key, lambda _: None))


async def inflate_async(
    body: bytes,
    encoding: str,
    limit: int,
    key: str = "server.max_request_size",
    grow: Callable[[int], object] = lambda _: None,
) -> bytes:
    """As `inflate`, for bodies that may take long: the loop gets its turns meanwhile.

    `grow` is told at each step how many bytes there are, and may put an end to it by raising.
    """
    return await in_turns(_inflating(body, encoding, limit, key, grow))


def announced(body: bytes, encoding: str, limit: int) -> int:
    """To how many bytes `body` will inflate, by what it says itself; 0 where it does not, or more than `limit`."""
    if encoding.strip().lower() not in {"gzip", "x-gzip"}:
        return 0
    size = int.from_bytes(body[-4:], "little")  # of the last member, which most often is the only one (RFC 1952, 2.3.1)
    return size if size <= limit else 0


def _inflating(body: bytes, encoding: str, limit: int, key: str, grow: Callable[[int], object]) -> Steps[bytes]:
    coding = encoding.strip().lower()
    if coding not in _CODINGS:
        raise UnsupportedEncoding(f"content encoding {encoding[:40]!r} is not known; send gzip, deflate, zstd or none")
    if len(body) > limit:
        raise TooLarge(f"the body has {len(body)} bytes, above the bound of {limit} ({key})")
    pieces = _CODINGS[coding]
    if pieces is None:
        return body
    inflated = BytesIO()  # one buffer: joining a list would hold everything twice
    for piece in pieces(body):
        inflated.write(piece)
        if inflated.tell() > limit:
            raise TooLarge(f"the {coding} body inflates to more than the bound of {limit} bytes ({key})")
        grow(inflated.tell())
        yield
    return inflated.getvalue()


def _gzip(body: bytes) -> Iterator[bytes]:
    end = 0
    while end < len(body) or not body:
        if end and body[end : end + 2] != b"\x1f\x8b":
            raise InvalidData(f"the gzip body goes on after its end at byte {end}")
        if body[end + 3 : end + 4] > b"\x1f":  # must be an error (RFC 1952, 2.3.1.2), and isal reads on
            raise InvalidData(f"the gzip body is broken near byte {end + 3}: reserved flags are set")
        end = yield from _stream(body, end, "gzip", isal_zlib.MAX_WBITS + 16)


def _deflate(body: bytes) -> Iterator[bytes]:
    # HTTP's deflate is a zlib stream, but some senders leave out zlib's header (RFC 9110, 8.4.1.2).
    framed = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    end = yield from _stream(body, 0, "deflate", isal_zlib.MAX_WBITS if framed else -isal_zlib.MAX_WBITS)
    if end < len(body):
        raise InvalidData(f"the deflate body goes on after its end at byte {end}")


def _stream(body: bytes, start: int, name: str, wbits: int) -> Generator[bytes, None, int]:
    """Inflate the one stream at `start`; returns where it ends."""
    view = memoryview(body)
    stream = isal_zlib.decompressobj(wbits)
    fed, data = start, view[:0]
    while True:
        if not data:
            data = view[fed : fed + _CHUNK]
            fed += len(data)
        try:
            piece = stream.decompress(data, _STEP)
        except isal_zlib.error as error:  # type: ignore[misc]  # the stub calls the class an instance
            raise InvalidData(f"the {name} body is broken near byte {fed - len(data)}: {error}") from error
        yield piece
        if stream.eof:
            return fed - len(stream.unused_data)
        data = memoryview(stream.unconsumed_tail)
        if fed == len(body) and not data and not piece:
            raise InvalidData(f"the {name} body is cut short: it ends at byte {fed} inside its stream")


def _zstd(body: bytes) -> Iterator[bytes]:
    view = memoryview(body)
    stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj(read_across_frames=True)
    start = 0
    for end in _zstd_cuts(body):
        try:
            yield stream.decompress(view[start:end])
        except zstandard.ZstdError as error:
            raise InvalidData(f"the zstd body is broken near byte {start}: {error}") from error
        start = end


def _zstd_cuts(body: bytes) -> Iterator[int]:
    """Where to cut the frames of `body` so that no piece inflates to much more than a step (RFC 8878, 3.1).

    The library bounds neither what one call returns nor does it tell a body that is cut short from a whole one.
    """
    start = inflates = 0
    for end, size in _zstd_blocks(body):
        if end > len(body):
            raise InvalidData(f"the zstd body is cut short: it ends at byte {len(body)} inside a frame")
        inflates += size
        if inflates >= _STEP or end - start >= _CHUNK:
            yield end
            start, inflates = end, 0
    yield len(body)


def _zstd_blocks(body: bytes) -> Iterator[tuple[int, int]]:
    """For each frame's header, each of its blocks, and its checksum: where it ends, and to how much it may inflate."""
    end = 0
    while end < len(body) or not body:
        magic = int.from_bytes(body[end : end + 4], "little")
        if magic & ~15 == 0x184D2A50:  # a skippable frame
            end += 8 + int.from_bytes(body[end + 4 : end + 8], "little")
            yield end, 0
            continue
        if magic != 0xFD2FB528:
            raise InvalidData(f"the zstd body has no frame at byte {end}")
        flags = int.from_bytes(body[end + 4 : end + 5], "little")
        single = flags >> 5 & 1
        end += 6 - single + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
        yield end, 0
        last = 0
        while not last:
            block = int.from_bytes(body[end : end + 3], "little")
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            end += 3 + (1 if kind == 1 else size)
            yield end, _BLOCK if kind == 2 else size
        end += 4 * (flags >> 2 & 1)
        yield end, 0


_CODINGS: Final[dict[str, Callable[[bytes], Iterator[bytes]] | None]] = {
    "": None,
    "identity": None,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
