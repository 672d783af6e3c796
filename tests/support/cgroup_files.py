"""The files of a cgroup, under a directory that stands for the root of the file system."""

from pathlib import Path

from app.memory import Cgroup, find_cgroup

__all__ = ["CgroupFiles"]


class CgroupFiles:
    """Version 2, as in a container: our own cgroup is the root of what is seen."""

    def __init__(self, root: Path, limit: int) -> None:
        self._directory = root / "sys/fs/cgroup"
        self._directory.mkdir(parents=True)
        process = root / "proc/self"
        process.mkdir(parents=True)
        (process / "cgroup").write_text("0::/\n")
        (self._directory / "memory.max").write_text(f"{limit}\n")
        self._root = root
        self.use(0)

    def use(self, size: int, files: int = 0) -> None:
        """Let `size` bytes be charged, of which `files` are pages of files."""
        (self._directory / "memory.current").write_text(f"{size}\n")
        (self._directory / "memory.stat").write_text(f"anon {size - files}\ninactive_file {files}\nactive_file 0\n")

    def lose(self) -> None:
        """Let usage be unreadable from now on."""
        (self._directory / "memory.current").unlink()

    def find(self) -> Cgroup:
        cgroup = find_cgroup(self._root)
        if cgroup is None:
            raise LookupError(f"no limit is found under {self._root}")
        return cgroup
