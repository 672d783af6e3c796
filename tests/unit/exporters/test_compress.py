"""Compressed bodies, and where they are compressed."""

import gzip
import threading
from typing import Literal

import pytest
import zstandard

from app.exporters.compress import INLINE_BYTES, Compressor
from tests.support.patience import PATIENCE

BODIES = [b"", b"a span", b"a span" * INLINE_BYTES, bytes(range(256)) * 100]


@pytest.mark.parametrize("body", BODIES, ids=len)
async def test_gzip_gives_the_same_bytes_back(body: bytes) -> None:
    compressor = Compressor("gzip")
    assert gzip.decompress(await compressor.compress(body)) == body
    assert compressor.encoding == "gzip"
    compressor.close()


@pytest.mark.parametrize("body", BODIES, ids=len)
async def test_zstd_gives_the_same_bytes_back(body: bytes) -> None:
    compressor = Compressor("zstd")
    assert zstandard.ZstdDecompressor().decompress(await compressor.compress(body)) == body
    assert compressor.encoding == "zstd"
    compressor.close()


async def test_none_is_the_very_same_body() -> None:
    compressor = Compressor("none")
    body = b"a span" * INLINE_BYTES
    assert await compressor.compress(body) is body
    assert compressor.encoding is None
    compressor.close()


@pytest.mark.parametrize("name", ["gzip", "zstd"])
async def test_a_large_body_is_compressed_in_a_thread_that_goes_when_closed(name: Literal["gzip", "zstd"]) -> None:
    others = compress_threads()  # those of a compressor that was closed may still be on their way out
    compressor = Compressor(name)
    await compressor.compress(b"a" * INLINE_BYTES)
    assert compress_threads() <= others
    await compressor.compress(b"a" * (INLINE_BYTES + 1))
    threads = compress_threads() - others
    assert threads
    compressor.close()
    for thread in threads:
        thread.join(timeout=PATIENCE)
        assert not thread.is_alive()


def compress_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("compress")}
