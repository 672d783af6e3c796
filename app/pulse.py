"""Signs of life from threads.

A thread that ends without a word leaves whoever waits for it waiting, and nothing raises. So threads are asked again
and again, and a component is silent from when they do not answer.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from app.core.clock import Clock
from app.health import Component

__all__ = ["ask_resolver", "ask_threads", "lost_threads", "watch"]

_log = logging.getLogger(__name__)
_TASKS: Final = Path("/proc/self/task")
_NUMBERS: Final = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


async def watch(component: Component, pulse: Callable[[], Awaitable[object]], clock: Clock, seconds: float) -> None:
    """Have `component` beat for as long as `pulse` comes back; it is asked again after so many seconds, for ever."""
    while True:
        component.beat()
        await pulse()
        await clock.sleep(seconds)


async def ask_resolver() -> None:
    """Come back when the event loop's threads do, which ask for names; this question needs no network."""
    await asyncio.get_running_loop().getnameinfo(("127.0.0.1", 0), _NUMBERS)


async def ask_threads(tasks: Path = _TASKS) -> None:
    """Come back when no thread is lost; otherwise never."""
    lost = lost_threads(tasks)
    if lost:
        _log.critical("threads have ended without a word, and what they do is not done: %s", ", ".join(lost))
        await asyncio.get_running_loop().create_future()


def lost_threads(tasks: Path) -> list[str]:
    """The names of threads that live as far as Python knows, and that Linux has in `tasks` no more."""
    if not tasks.is_dir():  # it is not Linux
        return []
    # Those of other types are no Python threads: libraries let them come and go without telling.
    own = [thread for thread in threading.enumerate() if type(thread) is threading.Thread]
    # In this order, because one may end in between as it should.
    return [thread.name for thread in own if not (tasks / str(thread.native_id)).exists() and thread.is_alive()]
