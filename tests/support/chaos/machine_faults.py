"""What machines run out of, and what their clocks do."""

import asyncio
import resource
import signal
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.chaos.clients import Seen
from tests.support.chaos.fault import Fault
from tests.support.chaos.freeze import FrozenThread
from tests.support.scrape import Scrape

if TYPE_CHECKING:
    from tests.support.chaos.laboratory import Laboratory

__all__ = ["ClockJumps", "DescriptorsExhausted", "LoopBlocked", "MemoryShort", "ThreadsExhausted"]

_YEAR: Final = 365 * 86_400
_NEIGHBOUR: Final = "import sys; taken = bytearray(b'x') * int(sys.argv[1]); print(flush=True); sys.stdin.read()"
_INTERPRETER: Final = 8 << 20
"""Bytes that one takes before it has done anything."""


class ClockJumps(Fault):
    """Ahead by a year, back to before the beginning by ten, and to what it is.

    It shows in when the service says that its destination last took something.
    """

    name = "clock jumps"
    touches = frozenset({"machine"})
    needs = frozenset({"gcc"})

    async def inflict(self, lab: "Laboratory") -> None:
        assert lab.machine is not None
        lab.machine.set_clock_wrong(_YEAR)

    async def shows(self, lab: "Laboratory") -> None:
        assert lab.machine is not None
        await lab.kubelet.until_scraped(lambda scrape: max(_wrong_by(scrape)) > _YEAR / 2, "a service a year ahead")
        await lab.clients.until_more(5, Seen.TAKEN)
        lab.machine.set_clock_wrong(-10 * _YEAR)
        await lab.kubelet.until_scraped(lambda scrape: min(_wrong_by(scrape)) < -5 * _YEAR, "a service years behind")
        await lab.clients.until_more(5, Seen.TAKEN)

    async def relieve(self, lab: "Laboratory") -> None:
        assert lab.machine is not None
        lab.machine.set_clock_wrong(0)


class DescriptorsExhausted(Fault):
    """No file can be opened, and no connection accepted or made; those that are there go on."""

    name = "file descriptors exhausted"
    refuses = frozenset({"grpc"})  # its second listener, which tells who comes to come back, needs a descriptor
    ready = live = frozenset({"none"})
    notes = frozenset({"export"})
    touches = frozenset({"machine"})
    sees = frozenset({Seen.CUT, Seen.SILENCE})

    async def inflict(self, lab: "Laboratory") -> None:
        self._pid = lab.service.pid
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ProcessLookupError, FileNotFoundError):  # another fault may have ended it
            used = _descriptors(self._pid)
            lowest = next(number for number in count() if number not in used)
            resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (lowest, self._limits[1]))
        lab.clients.patience = 1.5

    async def shows(self, lab: "Laboratory") -> None:
        await lab.clients.until_more(1, Seen.CUT, Seen.SILENCE)  # who makes a connection
        await lab.clients.until_more(5, Seen.TAKEN)  # who has one

    async def relieve(self, lab: "Laboratory") -> None:
        with suppress(ProcessLookupError):
            resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._limits)
        lab.restore_patience()


class LoopBlocked(Fault):
    """The thread of the event loop stands still; gRPC's, and the queue's, go on."""

    name = "event loop blocked"
    ready = live = frozenset({"none"})
    touches = frozenset({"process"})
    needs = frozenset({"root"})
    sees = frozenset({Seen.SILENCE, Seen.CUT})
    repeats = "stopped while a delivery was answered"

    async def inflict(self, lab: "Laboratory") -> None:
        lab.clients.patience = 0.5
        self._loop = FrozenThread(lab.service.pid)
        with suppress(ProcessLookupError):  # another fault may have ended it
            self._loop.freeze()

    async def shows(self, lab: "Laboratory") -> None:
        await lab.clients.until_more(1, Seen.SILENCE)

    async def relieve(self, lab: "Laboratory") -> None:
        self._loop.thaw()
        lab.restore_patience()


class MemoryShort(Fault):
    """A neighbour in the same container takes what is left below the limit."""

    name = "memory limit near"
    notes = frozenset({"memory"})
    touches = frozenset({"machine"})
    needs = frozenset({"cgroup"})
    left = 16 << 20

    async def inflict(self, lab: "Laboratory") -> None:
        cgroup = lab.cgroup
        assert cgroup is not None
        wanted = cgroup.limit - cgroup.used - self.left - _INTERPRETER
        self._neighbour = await asyncio.create_subprocess_exec(
            *cgroup.command([sys.executable, "-c", _NEIGHBOUR, str(wanted)]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._neighbour.stdout is not None
        await self._neighbour.stdout.readline()

    async def shows(self, lab: "Laboratory") -> None:
        await lab.clients.until_more(2, Seen.LATER)
        await lab.kubelet.until_noted("memory is short")

    async def relieve(self, _: "Laboratory") -> None:
        with suppress(ProcessLookupError):  # when memory is short the kernel may have chosen it
            self._neighbour.kill()
        await self._neighbour.communicate()


class ThreadsExhausted(Fault):
    """No thread can begin, as at a limit of processes, while the service is killed and has to start."""

    name = "no new threads at a start"
    touches = frozenset({"process", "machine"})
    needs = frozenset({"gcc"})
    sees = frozenset({Seen.CUT, Seen.NOBODY})
    ends = frozenset({-signal.SIGKILL, 1})
    repeats = "killed between a delivery and its commit"

    async def inflict(self, lab: "Laboratory") -> None:
        assert lab.machine is not None
        lab.machine.refuse_threads(True)
        lab.service.kill()

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives + 1)

    async def relieve(self, lab: "Laboratory") -> None:
        assert lab.machine is not None
        lab.machine.refuse_threads(False)


def _wrong_by(scrape: Scrape) -> list[float]:
    """By how many seconds the service's clock was ahead, as each signal's last delivery shows."""
    now = time.time()
    whens = [value for (name, _), value in scrape.items() if name == "otlp_exporter_last_success_timestamp_seconds"]
    return [when - now for when in whens if when] or [0.0]


def _descriptors(pid: int) -> set[int]:
    return {int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()}
