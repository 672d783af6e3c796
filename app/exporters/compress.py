"""Compression of request bodies, without holding up the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import zstandard
from isal import isal_zlib

__all__ = ["Compressor"]

INLINE_BYTES = 128 * 1024
"""Up to here compressing takes about as long (0.1 ms) as a trip to a thread and back."""


def _gzip(body: bytes) -> bytes:
    return isal_zlib.compress(body, level=1, wbits=31)


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(body)


_CODECS: dict[str, Callable[[bytes], bytes]] = {"gzip": _gzip, "zstd": _zstd}


class Compressor:
    """Compresses in threads of its own, which let go of the interpreter's lock while they do."""

    def __init__(self, name: Literal["none", "gzip", "zstd"]) -> None:
        self.encoding = None if name == "none" else name
        """The value for Content-Encoding; None for a body as it is."""
        self._codec = _CODECS.get(name)
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="compress")

    def close(self) -> None:
        """Let the threads go; what they still compress is not waited for."""
        self._threads.shutdown(wait=False)

    async def compress(self, body: bytes) -> bytes:
        """`body` in this encoding."""
        if self._codec is None:
            return body
        if len(body) <= INLINE_BYTES:
            return self._codec(body)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._codec, body)
