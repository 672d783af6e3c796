"""What faults need of the machine."""

import os
import shutil
from collections.abc import Callable
from typing import Final

from tests.support.cgroup import find_memory_cgroup
from tests.support.chaos.fault import Fault
from tests.support.volume import can_mount

__all__ = ["missing"]

_FINDERS: Final[dict[str, Callable[[], object]]] = {
    "gcc": lambda: shutil.which("gcc"),
    "loop device": can_mount,
    "cgroup": find_memory_cgroup,
    "root": lambda: os.geteuid() == 0,
}


def missing(fault: type[Fault]) -> list[str]:
    """What a fault needs and this machine has not."""
    return sorted(need for need in fault.needs if not _FINDERS[need]())
