"""What the C library's allocator is asked for, so that freed memory goes back to the system; no-ops where it cannot."""

import ctypes
from typing import Final

__all__ = ["give_back", "map_large_blocks"]

_LARGE: Final = 128 << 10
_M_MMAP_THRESHOLD: Final = -3


def map_large_blocks() -> None:
    """Have every block of 128 KiB and more mapped for itself, and unmapped at once when it is freed.

    glibc begins so, and raises the threshold up to 32 MiB as such blocks are freed. After a flood of large requests
    it kept a hundred MiB more.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Give back whole pages that are free; takes milliseconds, and other threads go on meanwhile."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
