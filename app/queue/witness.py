"""Whether what is committed is in the file that the next start will find.

Commits into a file that was unlinked succeed, and mean nothing; so do those into one that another took the place of.
"""

import os
from pathlib import Path
from typing import Self

from app.queue.contract import QueueError
from app.queue.pages import PAGE, STAMP_BYTES

__all__ = ["Witness"]


class Witness:
    """Remembers which file is at `path` now.

    Its descriptor is older than every commit, so that a sync of it tells of each write that never came to the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        file = os.fstat(self._descriptor)
        self._identity = (file.st_dev, file.st_ino)
        self._size = file.st_size
        self._stamps = self._read_stamps()

    def look(self) -> None:
        """See that the file is still there, as long as it was, and one of LMDB's.

        Raises:
            QueueError: it is not.
        """
        try:
            file = self._path.stat()
        except OSError as error:
            raise QueueError(f"{self._path} was taken away while it was in use ({error.strerror})") from error
        if (file.st_dev, file.st_ino) != self._identity:
            raise QueueError(f"{self._path} was replaced by another file while it was in use")
        if file.st_size < self._size:
            raise QueueError(f"{self._path} was cut from {self._size} bytes to {file.st_size} while it was in use")
        self._size = file.st_size
        if self._read_stamps() != self._stamps:
            raise QueueError(f"the head of {self._path} was overwritten while it was in use")

    def _read_stamps(self) -> list[bytes]:
        return [os.pread(self._descriptor, STAMP_BYTES, number * PAGE) for number in range(2)]

    def lost_a_write(self) -> bool:
        """Whether something that was written never came to the disk."""
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            return True
        return False

    def close(self) -> None:
        """Forget the file. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
