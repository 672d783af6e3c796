"""A machine under a running service whose clock and threads fail when a test says so."""

import ctypes
import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.faults import compiled

__all__ = ["Machine"]

_SOURCE: Final = Path(__file__).with_name("machine.c")
_WISHES: Final = struct.Struct("=qq")
_END_THREAD: Final = 60
"""The signal that does."""

_libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    """What comes between a program and its libc, once `environment` puts it there."""

    def __init__(self, directory: Path) -> None:
        switch = directory / "machine.bin"
        self.environment = {"LD_PRELOAD": str(compiled(_SOURCE)), "MACHINE_FILE": str(switch)}
        switch.write_bytes(bytes(_WISHES.size))
        with switch.open("r+b") as file:
            self._wishes = mmap.mmap(file.fileno(), _WISHES.size)
        self._clock, self._no_threads = 0, False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wishes.close()

    def set_clock_wrong(self, seconds: int) -> None:
        """Have the wall clock be wrong by so many seconds from now on; the monotonic one goes on."""
        self._clock = seconds
        self._wish()

    def refuse_threads(self, refuse: bool) -> None:
        """Have no new thread begin, as at a limit of processes, or have it again."""
        self._no_threads = refuse
        self._wish()

    def end_threads(self, process: int, word: str) -> int:
        """End the threads of a process that have `word` in their names; returns how many they were."""
        chosen = []
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if word in (thread / "comm").read_text():
                    chosen.append(int(thread.name))
        for number in chosen:
            if _libc.tgkill(process, number, _END_THREAD):
                error = ctypes.get_errno()
                raise OSError(error, f"thread {number} cannot be ended: {os.strerror(error)}")
        return len(chosen)

    def _wish(self) -> None:
        self._wishes[:] = _WISHES.pack(self._clock, self._no_threads)
