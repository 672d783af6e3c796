"""The queue's directory: held by one process, which says in it that it is at work, and takes that back at its end.

Both are in the file `owner`, under a `flock` for as long as the process lives: its number while it is at work, `closed`
after a clean end. So the next one knows whether the last one ended as it should.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from app.queue.contract import QueueError

__all__ = ["Directory", "sync_directory"]

_OWNER_BYTES = 20
_CLOSED = "closed"


class Directory:
    """The directory at `path`, made if need be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended_well = False
        """Whether who held it before us let it go as it should."""
        self._owner = -1

    def take(self) -> None:
        """Hold the directory, and say so in it.

        Raises:
            QueueError: it cannot be made or written, or another process holds it.
        """
        try:
            if not self.path.is_dir():
                _make(self.path)
            self._owner = os.open(self.path / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.ended_well = self._read() == _CLOSED
            self._write(str(os.getpid()))
        except BlockingIOError:
            raise QueueError(
                f"queue.directory: {self.path} is held by another process (pid {self._read() or 'unknown'}); "
                "stop it, or give each instance a directory of its own"
            ) from None
        except OSError as error:
            raise QueueError(
                f"queue.directory: {self.path} cannot be written ({error.strerror}); "
                "give the service's user a directory of its own, or set queue.storage to memory"
            ) from error

    def leave(self, *, well: bool) -> None:
        """Let it go; `well` if the next one need not look at what it finds. Safe to call twice."""
        if self._owner < 0:
            return
        if well:
            with suppress(OSError):  # then the next one looks, which costs no more than time
                self._write(_CLOSED)
        os.close(self._owner)
        self._owner = -1

    def _read(self) -> str:
        return os.pread(self._owner, _OWNER_BYTES, 0).decode("ascii", "replace").strip()

    def _write(self, text: str) -> None:
        # In place, because a disk that is full now has no room for a new file.
        os.pwrite(self._owner, f"{text:<{_OWNER_BYTES - 1}}\n".encode(), 0)
        os.fdatasync(self._owner)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory last: a new file is not on the disk before its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(directory: Path) -> None:
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True)
    for made in missing:
        sync_directory(made.parent)
