"""What happens to a process: it is killed, asked to end, or stopped for a while."""

import asyncio
import signal
from typing import TYPE_CHECKING

from tests.support.chaos.clients import Seen
from tests.support.chaos.fault import Fault

if TYPE_CHECKING:
    from tests.support.chaos.laboratory import Laboratory

__all__ = ["Killed", "Stopped", "Terminated"]


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
