"""What happens to a process: it is killed, asked to end, or stopped for a while.

To be asked to end is more than one fault: what a drain comes to depends on the destination.
"""

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from tests.support.chaos.clients import Seen
from tests.support.chaos.fault import Fault
from tests.support.exchange import Delay, Hang, Success

if TYPE_CHECKING:
    from tests.support.chaos.laboratory import Laboratory

__all__ = ["Killed", "Stopped", "Terminated", "TerminatedAway", "TerminatedHanging", "TerminatedSlow"]

_SLOW: Final = 0.3
_BACKLOG: Final = 20
"""So many requests more over each transport are there to be drained."""


class Killed(Fault):
    name = "kill -9"
    touches = frozenset({"process"})
    sees = frozenset({Seen.CUT, Seen.NOBODY})
    ends = frozenset({-signal.SIGKILL})
    repeats = "killed between a delivery and its commit"

    async def inflict(self, lab: "Laboratory") -> None:
        await asyncio.sleep(lab.random.uniform(0, 0.3))  # any moment
        lab.service.kill()

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives)


class Terminated(Fault):
    name = "SIGTERM"
    ready = frozenset({"503"})
    touches = frozenset({"process"})
    sees = frozenset({Seen.CUT, Seen.NOBODY})
    ends = frozenset({0})

    async def inflict(self, lab: "Laboratory") -> None:
        if lab.kubelet.up:
            lab.service.signal(signal.SIGTERM)

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives)

    async def relieve(self, lab: "Laboratory") -> None:
        # It serves everybody while it leaves, as if all were well; but it has yet to end.
        await lab.kubelet.until_ended(self.lives)


class TerminatedSlow(Terminated):
    """A drain waits for the answers of a destination that takes its time."""

    name = "SIGTERM, destination slow"
    touches = frozenset({"process", "destination"})

    async def inflict(self, lab: "Laboratory") -> None:
        lab.backend.otherwise = Delay(_SLOW)
        await lab.clients.until_more(_BACKLOG, Seen.TAKEN)
        await super().inflict(lab)

    async def shows(self, lab: "Laboratory") -> None:
        await super().shows(lab)
        await lab.kubelet.until_logged(" 0 left on disk", self.logged)

    async def relieve(self, lab: "Laboratory") -> None:
        await super().relieve(lab)
        lab.backend.otherwise = Success()


class TerminatedHanging(Terminated):
    """A drain ends with its grace; what the destination did not answer is left on the disk, for the next start."""

    name = "SIGTERM, destination hangs"
    notes = frozenset({"export"})
    touches = frozenset({"process", "destination"})

    async def inflict(self, lab: "Laboratory") -> None:
        lab.backend.otherwise = Hang()
        await lab.clients.until_more(_BACKLOG, Seen.TAKEN)
        await super().inflict(lab)

    async def shows(self, lab: "Laboratory") -> None:
        await super().shows(lab)
        await lab.kubelet.until_logged("from the queue", self.logged)  # recovered

    async def relieve(self, lab: "Laboratory") -> None:
        await super().relieve(lab)
        lab.backend.otherwise = Success()


class TerminatedAway(TerminatedHanging):
    """As above, where nobody is there."""

    name = "SIGTERM, destination away"
    repeats = "the destination went while it answered"

    async def inflict(self, lab: "Laboratory") -> None:
        await lab.backend.stop()
        await lab.clients.until_more(_BACKLOG, Seen.TAKEN)
        await Terminated.inflict(self, lab)

    async def relieve(self, lab: "Laboratory") -> None:
        await Terminated.relieve(self, lab)
        await lab.backend.start()


class Stopped(Fault):
    """Clients give up meanwhile; what they sent may have been kept."""

    name = "SIGSTOP, SIGCONT"
    ready = live = frozenset({"none"})
    touches = frozenset({"process"})
    sees = frozenset({Seen.SILENCE, Seen.CUT})
    repeats = "stopped while a delivery was answered"

    async def inflict(self, lab: "Laboratory") -> None:
        lab.clients.patience = 0.5
        lab.service.signal(signal.SIGSTOP)

    async def shows(self, lab: "Laboratory") -> None:
        await lab.clients.until_more(1, Seen.SILENCE)

    async def relieve(self, lab: "Laboratory") -> None:
        lab.service.signal(signal.SIGCONT)
        lab.restore_patience()
