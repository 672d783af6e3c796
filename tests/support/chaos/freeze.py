"""Stops one thread of another process while the others go on, as a blocked event loop is. Needs the right to trace."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

__all__ = ["FrozenThread"]

_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_DETACH: Final = 17
_EVERY_KIND: Final = 0x4000_0000  # __WALL

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class FrozenThread:
    """`thread` by its number; that of a process's first thread is the process's own. It is free until `freeze`."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        # Linux lets only the thread that seized another give it orders.
        self._tracer = ThreadPoolExecutor(1, "tracer")

    def freeze(self) -> None:
        """Stop it, wherever it is.

        Raises:
            OSError: it is gone, or may not be traced.
        """
        self._tracer.submit(self._seize).result()

    def thaw(self) -> None:
        """Let it go on; does nothing if its process has ended."""
        self._tracer.submit(self._detach).result()
        self._tracer.shutdown()

    def _seize(self) -> None:
        self._trace(_SEIZE)
        self._trace(_INTERRUPT)
        os.waitpid(self._thread, _EVERY_KIND)

    def _detach(self) -> None:
        with suppress(ProcessLookupError):
            self._trace(_DETACH)

    def _trace(self, request: int) -> None:
        if _libc.ptrace(request, self._thread, None, None):
            number = ctypes.get_errno()
            raise OSError(number, f"ptrace of thread {self._thread}: {os.strerror(number)}")
