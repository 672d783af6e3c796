"""Signs of life from threads.

A thread that ends without a word leaves whoever waits for it waiting, and nothing raises. So threads are asked again
and again, and a component is silent from when they do not answer.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from app.core.clock import Clock
from app.core.log import Log
from app.health import Component

__all__ = ["Threads", "watch"]

_log = Log(__name__)
_TASKS: Final = Path("/proc/self/task")
_LASTING: Final = frozenset({"libuv-worker", "grpc-native-io"})
"""What threads of libraries are named that do not end before the process; others may come and go."""


async def watch(component: Component, pulse: Callable[[], Awaitable[object]], clock: Clock, seconds: float) -> None:
    """Have `component` beat for as long as `pulse` comes back; it is asked again after so many seconds, for ever."""
    while True:
        component.beat()
        await pulse()
        await clock.sleep(seconds)


class Threads:
    """The threads of this process that have to be there; `tasks` is where Linux has them all."""

    def __init__(self, tasks: Path = _TASKS) -> None:
        self._tasks = tasks
        self._lasting: dict[str, str] = {}
        """The names of those of libraries, by their numbers."""

    async def ask(self) -> None:
        """Come back when none is lost; otherwise never."""
        lost = self.lost()
        if lost:
            _log.critical(
                "threads_ended",
                "threads have ended without a word, and what they do is not done: %(threads)s",
                threads=", ".join(lost),
            )
            await asyncio.get_running_loop().create_future()

    def lost(self) -> list[str]:
        """The names of those that Linux has no more: Python's that live as far as it knows, and lasting ones.

        None where nobody can say: on other systems, and while there is no descriptor to look with.
        """
        try:
            there = {task.name for task in self._tasks.iterdir()}
        except OSError:
            return []
        self._lasting |= {number: name for number in there if (name := self._name(number)) in _LASTING}
        lasting = [name for number, name in self._lasting.items() if number not in there]
        # Those of other types are not Python's, and come and go.
        own = [thread for thread in threading.enumerate() if type(thread) is threading.Thread]
        # In this order, because one may end in between as it should.
        return lasting + [thread.name for thread in own if not self._is_there(thread) and thread.is_alive()]

    def _name(self, number: str) -> str:
        try:
            return (self._tasks / number / "comm").read_text().strip()
        except OSError:  # it has just ended
            return ""

    def _is_there(self, thread: threading.Thread) -> bool:
        return (self._tasks / str(thread.native_id)).exists()
