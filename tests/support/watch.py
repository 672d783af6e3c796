"""What a process under attack is looked at for: whether its loop answers, and how much memory it takes."""

import os
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.memory import own_memory
from tests.support.patience import PATIENCE
from tests.support.service import Service

__all__ = ["Watch"]

_HEALTH = ("/health/live", "/health/ready")
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAUSE = 0.003


class Watch:
    """Asks a service's admin port for its health again and again, and samples its memory, while it is entered.

    It does so in threads, since the event loop is the attacker's.
    """

    def __init__(self, service: Service) -> None:
        self._pid = service.pid
        self._port = service.admin_port
        self._before = own_memory(self._pid)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=look, name=look.__name__) for look in (self._ask, self._sample)]
        self.growth = 0
        """Bytes of memory above what there was at the beginning, at the most."""
        self.answers: list[tuple[int, float]] = []
        """Of each request for health the status, and the CPU seconds of the event loop from connecting to the answer.

        CPU time, not the clock's: what other processes take is not the service's fault. It is told in hundredths.
        """

    @property
    def statuses(self) -> set[int]:
        return {status for status, _ in self.answers}

    @property
    def longest(self) -> float:
        """The most CPU seconds that an answer took."""
        return max(seconds for _, seconds in self.answers)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            for path in _HEALTH:
                before = self._loop_time()
                status = _get(self._port, path)
                self.answers.append((status, self._loop_time() - before))
            time.sleep(_PAUSE)

    def _sample(self) -> None:
        while not self._over.is_set():
            self.growth = max(self.growth, own_memory(self._pid) - self._before)
            time.sleep(_PAUSE)

    def _loop_time(self) -> float:
        """CPU seconds of the thread that a process begins with, which is the event loop's."""
        fields = Path(f"/proc/{self._pid}/task/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK  # utime and stime: proc(5) counts from 1, with pid and name


def _get(port: int, path: str) -> int:
    """The status of an answer; 0 when there is none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
