"""The memory limit of our cgroup and what is used of it, for both versions of cgroups.

What counts as used is what the kernel cannot take back: pages of files, such as the queue's, come and go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["Cgroup", "find_cgroup"]

_UNLIMITED: Final = 1 << 60  # v1 writes "no limit" as the largest number of whole pages


@dataclass(frozen=True, slots=True)
class _Version:
    """How a version of cgroups calls what we read."""

    mount: str
    limit: str
    usage: str
    files: tuple[str, str]


_V1: Final = _Version(
    "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
)
_V2: Final = _Version("", "memory.max", "memory.current", ("inactive_file", "active_file"))


@dataclass(frozen=True, slots=True)
class _Level:
    """A cgroup that has a limit: ours, or one that it is in."""

    directory: Path
    version: _Version
    limit: int

    def used(self) -> int:
        usage = int((self.directory / self.version.usage).read_text())
        for line in (self.directory / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in self.version.files:
                usage -= int(value)
        return usage


class Cgroup:
    """The limits above us, of which there is at least one."""

    def __init__(self, levels: Sequence[_Level]) -> None:
        self._levels = tuple(levels)
        self.limit = min(level.limit for level in levels)
        """Bytes; the smallest of all."""

    def free(self, reserve: int) -> int:
        """Bytes that may still be taken at every level so that `reserve` is left; below 0 where less than it is left.

        Raises:
            OSError, ValueError: the files of the cgroup cannot be read, or are not what they should be.
        """
        return min(level.limit - level.used() for level in self._levels) - reserve


def find_cgroup(root: Path = Path("/")) -> Cgroup | None:
    """The cgroup of this process; None where its memory has no limit, or nothing tells. `root` holds proc and sys."""
    try:
        levels = list(_levels(root))
    except (OSError, ValueError):
        return None
    return Cgroup(levels) if levels else None


def _levels(root: Path) -> Iterator[_Level]:
    version, path = _own(root)
    mount = root / "sys/fs/cgroup" / version.mount
    # In a container the path may be that of the host, where the mount shows our own cgroup as its root.
    inside = [] if ".." in path.parts else [mount / each.relative_to("/") for each in (path, *path.parents)]
    for directory in dict.fromkeys([*inside, mount]):
        file = directory / version.limit
        if file.exists() and (text := file.read_text().strip()) != "max" and (limit := int(text)) < _UNLIMITED:
            yield _Level(directory, version, limit)


def _own(root: Path) -> tuple[_Version, PurePosixPath]:
    """Our path in the hierarchy that has the memory controller."""
    unified = PurePosixPath("/")
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _V1, PurePosixPath(path)
        if not controllers:
            unified = PurePosixPath(path)
    return _V2, unified
