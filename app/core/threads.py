"""Work in threads that an event loop waits for, however busy the loop is.

CPython's lock is not fair to threads: a loop that lets go of it every few dozen microseconds, at each system call,
takes it back before the kernel has woken the thread that waits for it, and no time slice of that thread ever runs out.
A loop that was never idle kept a commit of 0.3 ms waiting for more than a second. So the loop steps aside every
millisecond for as long as something that it waits for is in a thread.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

__all__ = ["in_thread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_EVERY_SECONDS = 0.001


def in_thread(executor: Executor | None, function: Callable[[*Ts], T], *arguments: *Ts) -> asyncio.Future[T]:
    """Call `function` in a thread of `executor` (None: the loop's own); the future has what it returns.

    Raises:
        RuntimeError: the executor takes no more work.
    """
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(executor, function, *arguments)
    work.add_done_callback(_Aside(loop).end)
    return work


class _Aside:
    """Steps aside until the work in the thread has ended."""

    __slots__ = ("_loop", "_timer")

    last = 0.0
    """When any of them did: waiting for many threads costs no more than waiting for one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer = loop.call_later(_EVERY_SECONDS, self._step)

    def end(self, _: object) -> None:
        self._timer.cancel()

    def _step(self) -> None:
        if self._loop.time() - _Aside.last >= _EVERY_SECONDS:
            time.sleep(0)  # some 50 µs off the processor, in which a thread does about a hundred small things
            _Aside.last = self._loop.time()
        self._timer = self._loop.call_later(_EVERY_SECONDS, self._step)
