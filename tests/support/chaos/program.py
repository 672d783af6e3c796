"""``otlp-service`` as the laboratory starts it: Linux knows its threads by their names, and it may be hurried.

The first argument is `usual`, or `hurried` for a twelfth of its patience; the others are the command's.
"""

import ctypes
import sys
import threading

from app import service
from app.cli import main

_SET_NAME = 15
_run = threading.Thread.run


def _run_named(self: threading.Thread) -> None:
    ctypes.CDLL(None).prctl(_SET_NAME, self.name.encode())  # Linux takes the first fifteen
    _run(self)


if __name__ == "__main__":
    threading.Thread.run = _run_named  # type: ignore[method-assign]  # as Python does it from 3.14 on
    if sys.argv.pop(1) == "hurried":
        service._HEARTBEAT_SECONDS, service._SLOW_SECONDS, service._STUCK_SECONDS = 0.25, 1.0, 2.5
        service._PULSE_SECONDS = 0.4
    sys.exit(main())
