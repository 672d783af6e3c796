"""A disk of its own whose power can be cut: an ext4 in a file, on a loop device. For root."""

import fcntl
import os
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Volume", "can_mount"]

_MIB = 1 << 20
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_FILLING = "filling"
_NO_LOG_FLUSH = 2  # what is in the journal's memory is lost, too


def can_mount() -> bool:
    """Whether there can be such a disk here."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None


class Volume:
    """Mounted at `path` from entering to leaving, but for while its power is cut.

    A cut loses every write that the kernel has not brought to the device: pages of files, and the journal's last
    transactions. The device itself keeps what it was given, as one without a cache of its own does.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "volume"
        self._image = directory / "volume.img"
        self._mounted = False

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(256 * _MIB)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self.mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mounted:
            _run("umount", "--lazy" if error else "--verbose", str(self.path))

    def mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.path))
        self._mounted = True

    def fill(self) -> None:
        """Take all the room that is left."""
        with (self.path / _FILLING).open("ab") as file, suppress(OSError):
            while file.write(b"x" * _MIB):
                file.flush()

    def free(self) -> None:
        """Give back the room that was taken."""
        (self.path / _FILLING).unlink()

    def go_read_only(self) -> None:
        """Have the filesystem find an error in itself: it takes no more writes, until it is mounted again."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.path))
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        with suppress(OSError):  # it fails as it succeeds
            trigger.write_text("1")

    def cut(self) -> None:
        """Cut the power: from now on every write and sync fails, and what was not synced is lost."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("=I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    @property
    def works(self) -> bool:
        """Whether something can be written to it."""
        probe = self.path / "probe"
        try:
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError:
            return False
        return True

    def power_on(self) -> None:
        """Mount it again, as after a boot. Nobody may have a file of it open."""
        _run("umount", str(self.path))
        self._mounted = False
        self.mount()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
