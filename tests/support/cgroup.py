"""A cgroup of its own for a process, with a memory limit, as a container has one. Needs the rights to make one."""

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["MemoryCgroup", "find_memory_cgroup"]

_ROOT = Path("/sys/fs/cgroup")
_numbers = count(1)


class MemoryCgroup:
    """Exists while it is entered; whoever is in it must have ended before it is left."""

    def __init__(self, limit: int) -> None:
        parent = _parent()
        self.path = parent / f"otlp-service-test-{os.getpid()}-{next(_numbers)}"
        self.limit = limit

    def command(self, command: Sequence[str]) -> tuple[str, ...]:
        """`command`, started inside."""
        return ("/bin/sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh", *command)

    @property
    def oom_kills(self) -> int:
        """How many processes the kernel has killed in it for want of memory."""
        v2 = self.path / "memory.events"
        text = (v2 if v2.exists() else self.path / "memory.oom_control").read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    @property
    def peak(self) -> int:
        """The most bytes that were charged at once, pages of files included."""
        v1 = self.path / "memory.max_usage_in_bytes"
        return int((v1 if v1.exists() else self.path / "memory.peak").read_text())

    @property
    def used(self) -> int:
        """Bytes that are charged now, without pages of files, which can be taken back."""
        v1 = self.path / "memory.usage_in_bytes"
        usage = int((v1 if v1.exists() else self.path / "memory.current").read_text())
        statistics = dict(line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        prefix = "total_" if v1.exists() else ""
        return usage - sum(int(statistics[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))

    def __enter__(self) -> Self:
        self.path.mkdir()
        try:
            v1 = self.path / "memory.limit_in_bytes"
            (v1 if v1.exists() else self.path / "memory.max").write_text(str(self.limit))
        except BaseException:
            self.path.rmdir()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.path.rmdir()


def find_memory_cgroup() -> Path | None:
    """Where a cgroup with a memory limit can be made; None where it cannot."""
    try:
        with MemoryCgroup(64 << 20) as cgroup:
            return cgroup.path.parent
    except OSError:
        return None


def _parent() -> Path:
    """Our own cgroup where the memory controller has a hierarchy of its own (v1), otherwise the root (v2).

    In v2 a cgroup that has processes cannot have children with a controller.
    """
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            own = _ROOT / "memory" / path.lstrip("/")
            return own if own.exists() else _ROOT / "memory"
    return _ROOT
