"""A part of a processor for a process, as a container with a limit has it. Needs the rights to make a cgroup."""

import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["CpuCgroup"]

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_MICROSECONDS = 30_000
_numbers = count(1)


class CpuCgroup:
    """Exists while it is entered; whoever is in it must have ended before it is left.

    Args:
        part: of one processor.
    """

    def __init__(self, part: float) -> None:
        self._v1 = (_ROOT / "cpu" / "cpu.cfs_quota_us").exists()
        parent = _ROOT / "cpu" if self._v1 else _ROOT
        self.path = parent / f"otlp-service-test-cpu-{os.getpid()}-{next(_numbers)}"
        self._quota = round(part * _PERIOD_MICROSECONDS)

    def add(self, pid: int) -> None:
        """Move a process in."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def __enter__(self) -> Self:
        """Make it.

        Raises:
            OSError: we may not, or there is no such controller.
        """
        if not self._v1:
            with suppress(OSError):  # it may be on already, where this may not be written
                (_ROOT / "cgroup.subtree_control").write_text("+cpu")
        self.path.mkdir()
        try:
            if self._v1:
                (self.path / "cpu.cfs_period_us").write_text(str(_PERIOD_MICROSECONDS))
                (self.path / "cpu.cfs_quota_us").write_text(str(self._quota))
            else:
                (self.path / "cpu.max").write_text(f"{self._quota} {_PERIOD_MICROSECONDS}")
        except BaseException:
            self.path.rmdir()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.path.rmdir()
