"""How many files and connections this process may have open at once."""

import resource
from contextlib import suppress
from typing import Final

__all__ = ["allow_all", "doubt"]

_OTHERS: Final = 200
"""Connections to destinations and probes, the queue's files, and what libraries open."""


def allow_all() -> int:
    """Have the system allow as many as it ever does; returns how many that is.

    Many start programs with a limit of 1,024, which is there for select(2). Nothing here uses that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # then it stays what it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def doubt(allowed: int, max_connections: int) -> str | None:
    """What is to be feared where each of two servers has at most `max_connections`; None: nothing."""
    needed = 2 * max_connections + _OTHERS
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return None
    return (
        f"server.max_connections: {max_connections} connections of each server may need {needed} open files, "
        f"but the system allows {allowed}; raise that limit (ulimit -Hn), or lower this one"
    )
