"""Who we are, and whose telemetry passes through us: what it takes to see that telemetry goes round in circles.

Each export names, in the header `HEADER`, this run of the service and the other instances whose telemetry came in
lately. A request that names us has been here before. The names are those of a signal and not of a request, because
all that comes in of a signal goes out to one place: who sends to us is in front of us, whatever the request.

Invariants, each with a test of its name:

- A request that names this instance is refused, and leaves nothing behind.
- What is passed on names this instance first, and then those it came from, the latest first.
- What is passed on names a bounded number of instances, and none that was not heard of for long.
- What is not an instance's name is left out.
"""

import re
import time
from collections.abc import Callable
from uuid import uuid4

from app.core.errors import NotAllowed
from app.core.request import Signal

__all__ = ["HEADER", "Instance"]

HEADER = "otlp-service-instance"
"""The name of the header over HTTP, and of the metadata over gRPC."""

_MOST = 16  # names of 33 characters: half of what some servers take as a header
_MEMORY_SECONDS = 600.0  # after which a wrong turn that was put right is forgotten
_NAME = re.compile(r"[0-9a-f]{32}")


class Instance:
    """One run of the service. `name` is made up unless it is given."""

    def __init__(self, name: str | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name = name or uuid4().hex
        self._monotonic = monotonic
        self._heard: dict[Signal, dict[str, float]] = {signal: {} for signal in Signal}
        """When each name was heard of last, the latest at the end."""

    def came_from(self, signal: Signal, names: str) -> None:
        """Take note of the instances that a request comes from, as its header names them.

        Raises:
            NotAllowed: this instance is one of them.
        """
        heard = _NAME.findall(names)
        if self.name in heard:
            raise NotAllowed(
                "this instance has sent it before, so telemetry goes round in circles; see exporter.endpoint of each "
                "instance that it passes",
                reason="loop",
            )
        now, known = self._monotonic(), self._heard[signal]
        for name in reversed(heard[:_MOST]):
            known.pop(name, None)
            known[name] = now
        while len(known) > _MOST - 1:
            del known[next(iter(known))]

    def names(self, signal: Signal) -> str:
        """The header of an export of `signal`."""
        known = self._heard[signal]
        forgotten = self._monotonic() - _MEMORY_SECONDS
        for name in [name for name, when in known.items() if when < forgotten]:
            del known[name]
        return ",".join((self.name, *reversed(known)))
