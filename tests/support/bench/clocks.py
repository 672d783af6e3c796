"""What another process has used: processor time to the nanosecond, and the most memory it had to itself."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.memory import own_memory

__all__ = ["Peak", "cpu_seconds", "peak_memory"]

_SAMPLE_SECONDS = 0.05


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads, ended ones too."""
    return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes it


class Peak:
    """Filled while the block runs."""

    bytes = 0
    """The most RssAnon + RssShmem that were seen."""


@asynccontextmanager
async def peak_memory(pid: int) -> AsyncIterator[Peak]:
    """Look at a process's memory every 50 ms."""
    peak = Peak()

    async def watch() -> None:
        while True:
            with suppress(FileNotFoundError):
                peak.bytes = max(peak.bytes, own_memory(pid))
            await asyncio.sleep(_SAMPLE_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield peak
    finally:
        watching.cancel()
