"""The most memory that this process had at once while something ran."""

import ctypes
import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Peak", "peak_growth"]

_SELF = Path("/proc/self")


class Peak:
    """Filled when the block ends."""

    growth = 0
    """Bytes above what was resident when the block began."""


def _status(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+)", (_SELF / "status").read_text())
    if match is None:
        raise LookupError(f"{_SELF}/status does not tell {name}")
    return int(match[1]) << 10


@contextmanager
def peak_growth() -> Iterator[Peak]:
    """How far the block drives the resident memory up."""
    peak = Peak()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free but kept would hide as much of what the block takes
    (_SELF / "clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    yield peak
    peak.growth = _status("VmHWM") - before
