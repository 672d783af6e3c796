"""Ports for processes that have to be told theirs."""

import os
import random
import socket
from itertools import cycle

__all__ = ["free_port"]

_FIRST, _LAST = 20_000, 32_000
_START = random.SystemRandom().randrange(_FIRST, _LAST)
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS: "cycle[int]" = cycle(
    [port for port in (*range(_START, _LAST), *range(_FIRST, _START)) if port % _WORKERS == _WORKER]
)


def free_port() -> int:
    """A port that nothing uses on 127.0.0.1, and that was not given out lately.

    Below the range from which the kernel gives ports to outgoing connections, so that none takes it before its
    server does, even where the server was stopped and starts again. Processes that share a run of the tests share the
    ports, and each run begins somewhere else, because another may go on beside it.
    """
    for _ in range(100):
        port = next(_PORTS)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port of a hundred is free on 127.0.0.1")
