"""Ports for processes that have to be told theirs."""

import random
import socket

__all__ = ["free_port"]

_CHOICE = random.SystemRandom()


def free_port() -> int:
    """A port that nothing uses on 127.0.0.1.

    Below the range from which the kernel gives ports to outgoing connections, so that none takes it before its
    server does.
    """
    for _ in range(100):
        port = _CHOICE.randrange(20_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port between 20000 and 32000 is free on 127.0.0.1")
