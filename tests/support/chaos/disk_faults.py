"""What disks do: fill up, fail, hang, go read-only, lose power, and lose pages."""

import asyncio
import errno
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from app.core.request import Signal
from app.queue.check import newest
from app.queue.pages import LEAF, OVERFLOW, PAGE, Pages, Walk
from app.queue.record import unpack
from tests.support.chaos.clients import Seen
from tests.support.chaos.fault import Fault
from tests.support.chaos.numbered import numbers
from tests.support.damage import overwrite, pages_of, places, scribble
from tests.support.faults import DIE, HANG
from tests.support.process import until
from tests.support.volume import Volume

if TYPE_CHECKING:
    from tests.support.chaos.laboratory import Laboratory

__all__ = [
    "DamagedPage",
    "DiskFull",
    "DiskReadOnly",
    "HeadFails",
    "PowerCut",
    "QueueVanished",
    "SyncFails",
    "SyncHangs",
    "SyncHangsForGood",
    "TornWrite",
    "WriteFails",
    "WriterDies",
]

T = TypeVar("T")
_NOT_COMMITTED: Final = "the disk failed before a delivery was committed"
_HEAD_BYTES: Final = 16 + 136
_GONE: Final = frozenset({Seen.CUT, Seen.NOBODY})


def _needed(thing: T | None) -> T:
    assert thing is not None, "this machine cannot have that fault"
    return thing


async def _mount_again(disk: Volume) -> None:
    """Until it can be written: as long as another mount namespace has a copy of the mount, it is the old one."""

    async def mounted() -> bool:
        await asyncio.to_thread(disk.power_on)
        return disk.works

    await until(mounted, "a filesystem that can be written again")


class DiskFull(Fault):
    """While the destination is away, so that the queue has to grow."""

    name = "disk full, and freed"
    notes = frozenset({"queue", "export"})
    touches = frozenset({"disk", "destination"})
    needs = frozenset({"loop device"})
    repeats = "the destination went while it answered"

    async def inflict(self, lab: "Laboratory") -> None:
        await lab.backend.stop()
        await asyncio.to_thread(_needed(lab.disk).fill)

    async def shows(self, lab: "Laboratory") -> None:
        await lab.clients.until_more(3, Seen.LATER)
        await lab.kubelet.until_noted("queue: full")

    async def relieve(self, lab: "Laboratory") -> None:
        await asyncio.to_thread(_needed(lab.disk).free)
        await lab.backend.start()


class DiskReadOnly(Fault):
    """The filesystem has found an error in itself. It is mounted again, as after a repair."""

    name = "filesystem goes read-only"
    touches = frozenset({"process", "disk"})
    needs = frozenset({"loop device"})
    sees = _GONE
    ends = frozenset({1})
    repeats = _NOT_COMMITTED

    async def inflict(self, lab: "Laboratory") -> None:
        await asyncio.to_thread(_needed(lab.disk).go_read_only)

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives + 1)  # once more: it cannot start either

    async def relieve(self, lab: "Laboratory") -> None:
        async with lab.kubelet.held():
            await lab.kubelet.until_ended(len(lab.kubelet.lives))
            await _mount_again(_needed(lab.disk))


class PowerCut(Fault):
    """What was not synced is lost; the service ends because its disk is gone."""

    name = "power cut"
    touches = frozenset({"process", "disk"})
    needs = frozenset({"loop device"})
    sees = _GONE
    ends = frozenset({1, -signal.SIGBUS})
    repeats = "the power was cut between a delivery and its commit"

    async def inflict(self, lab: "Laboratory") -> None:
        await asyncio.to_thread(_needed(lab.disk).cut)

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives)

    async def relieve(self, lab: "Laboratory") -> None:
        async with lab.kubelet.held():
            await lab.kubelet.until_ended(len(lab.kubelet.lives))
            await _mount_again(_needed(lab.disk))


class QueueVanished(Fault):
    """Somebody moves the directory away, and puts it back: that takes somebody, the rest does not."""

    name = "queue's directory vanishes"
    ready = frozenset({"503"})
    touches = frozenset({"process", "disk", "destination"})
    sees = _GONE
    ends = frozenset({0, 1})
    repeats = "moved away before a delivery was committed"

    async def inflict(self, lab: "Laboratory") -> None:
        self._aside = lab.queue.with_name("queue-aside")
        lab.queue.rename(self._aside)

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives)
        await lab.clients.until_more(5, Seen.TAKEN)  # into a new one

    async def relieve(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives)
        await lab.kubelet.until_up()
        async with lab.kubelet.held():
            assert await lab.service.terminate() == 0
            await lab.kubelet.until_ended(len(lab.kubelet.lives))
            account = lab.service.log.splitlines()[-1]
            assert " 0 dead, 0 left on disk" in account, account
            shutil.rmtree(lab.queue)  # nothing is in it any more
            self._aside.rename(lab.queue)


class _CallFails(Fault):
    """A system call on the queue's file ends with EIO."""

    needs = frozenset({"gcc"})
    sees = _GONE
    ends = frozenset({1})
    repeats = _NOT_COMMITTED
    touches = frozenset({"disk"})
    operation: str
    outcome = errno.EIO

    async def inflict(self, lab: "Laboratory") -> None:
        _needed(lab.faults).on(self.operation, self.outcome)

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives)

    async def relieve(self, lab: "Laboratory") -> None:
        _needed(lab.faults).off()


class WriteFails(_CallFails):
    name = "write fails (EIO)"
    operation = "write"


class SyncFails(_CallFails):
    name = "fsync fails (EIO)"
    operation = "sync"


class HeadFails(_CallFails):
    name = "write of the head fails (EIO)"
    operation = "head"


class SyncHangs(_CallFails):
    """Clients are told so after a few seconds; what they sent before may be kept all the same."""

    name = "fsync hangs"
    notes = frozenset({"disk"})
    operation = "sync"
    outcome = HANG
    sees = frozenset()
    ends = frozenset()

    async def shows(self, lab: "Laboratory") -> None:
        await lab.clients.until_more(2, Seen.LATER)
        await lab.kubelet.until_noted("no answer for")


class SyncHangsForGood(SyncHangs):
    """Until the service is not live any more, and is killed for it."""

    name = "fsync hangs until the service is killed"
    ready = live = frozenset({"503"})
    sees = _GONE
    ends = frozenset({-signal.SIGKILL})

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives)
        said = [(probe.live, probe.ready) for probe in lab.kubelet.observed.probes]
        assert ("503", "503") in said, said[-10:]


class WriterDies(SyncHangsForGood):
    """The thread that writes ends in the middle of a write, holding LMDB's lock."""

    name = "writer thread dies"
    operation = "write"
    outcome = DIE


class TornWrite(Fault):
    """Killed in the middle of a commit, half of which came to the disk; none of it was acknowledged."""

    name = "kill -9 and a torn write"
    touches = frozenset({"process", "disk"})
    sees = _GONE
    ends = frozenset({-signal.SIGKILL})
    repeats = "killed between a delivery and its commit"

    async def inflict(self, lab: "Laboratory") -> None:
        async with lab.kubelet.held():
            lab.service.kill()
            await lab.kubelet.until_ended(len(lab.kubelet.lives))
            _tear(lab.queue, lab.random.randbytes(PAGE // 2))

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_logged("it is whole", self.logged)
        await lab.kubelet.until_up()


class DamagedPage(Fault):
    """A page of records is lost while nobody runs, and with it what was in it: nothing can bring that back."""

    name = "kill -9 and a damaged page"
    notes = frozenset({"export"})
    touches = frozenset({"process", "disk", "destination"})
    sees = _GONE
    ends = frozenset({-signal.SIGKILL})
    repeats = "killed between a delivery and its commit"

    async def inflict(self, lab: "Laboratory") -> None:
        await lab.backend.stop()
        await lab.clients.until_more(20, Seen.TAKEN)  # a backlog to lose something of
        async with lab.kubelet.held():
            lab.service.kill()
            await lab.kubelet.until_ended(len(lab.kubelet.lives))
            of_signal, kind = lab.random.choice([*Signal]), lab.random.choice((LEAF, OVERFLOW))
            page = lab.random.choice(pages_of(lab.queue, of_signal, kind))
            lab.damaged |= _inside(lab.queue, of_signal, page)
            scribble(lab.queue, page, seed=lab.seed)

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_logged("was damaged", self.logged)
        await lab.kubelet.until_up()

    async def relieve(self, lab: "Laboratory") -> None:
        await lab.backend.start()


def _inside(queue: Path, of_signal: Signal, page: int) -> set[int]:
    """The numbers of the items whose records lie in a page, or in pages that begin with it."""
    data = (queue / "data.mdb").read_bytes()
    found: set[int] = set()
    for offset, length in places(queue, of_signal.value).values():
        if offset // PAGE <= page <= (offset + length) // PAGE:
            found.update(numbers(of_signal, bytes(unpack(of_signal, memoryview(data[offset : offset + length])).body)))
    return found


def _tear(queue: Path, junk: bytes) -> None:
    """Do what a commit does that is torn: half of pages that are free or new, and half of the older head."""
    with Pages(queue / "data.mdb") as pages:
        heads = pages.heads()
        head = newest(heads)
        assert head is not None
        walk = Walk(pages)
        walk.look_at_free_pages(head.free)
        free = [number for number in range(pages.count) if walk.free[number]]
        new = pages.page(heads.index(head))[: _HEAD_BYTES // 2]
        old = 1 - heads.index(head)
        end = pages.count
    for page in [*free[:20], end]:
        overwrite(queue, page * PAGE, junk)
    # The number of its transaction comes last, so a head that was torn is still the older one.
    overwrite(queue, old * PAGE + 16, new[16:])
    with suppress(OSError):
        os.sync()
