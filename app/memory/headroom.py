"""Who gets the memory that is left below the cgroup's limit.

A request promises what it may take before it is taken, and lets go of it when it is answered:

- Nothing is promised that would bring usage and all promises above the ceiling.
- Who finds no room waits in line for a moment, first come first served, and is refused then. Those who hold something
  already and need more go first, or nobody would get on; who was too slow before goes last, but for one in a while.
- What a request let go of that was taken counts until usage was read again: some of it may have become the queue's.
  What was not needed, or refused, is free at once.
- What of its promise a request is known to have taken is not counted twice, once usage was read with it.
- Who holds room for something that takes long to come gives way (`coming.py`).
- Usage is read once in a while, not for each request; between two readings the promises are exact.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Final

from app.core.errors import Retryable
from app.core.log import Log
from app.memory.cgroup import Cgroup
from app.memory.coming import Coming
from app.memory.copies import COPIES
from app.memory.malloc import give_back

__all__ = ["Headroom", "Promise", "Rank"]

_log = Log(__name__)

_WINDOW_BYTES: Final = 1 << 16
"""What comes of a body before it is read, at most."""

_SMALL_REQUEST: Final = COPIES * _WINDOW_BYTES
_SMALL_BYTES: Final = 4 << 20
"""How much of what is left alone is there for small requests and for places in line, or large ones could take all."""

_RESERVE = 32 << 20
_PATIENCE_SECONDS = 1.0
_LATE_PLACES: Final = 32
"""For those who were late, half of the places in line that `_SMALL_BYTES` is good for."""

_TURNS: Final = 8
"""Of those who wait and were late, one goes after so many others: a client may be slow for want of a better network."""

_READ_SECONDS = 0.02
_TRIM_SECONDS = 1.0
_SHORT_SECONDS = 5.0
_YOUNG: Final = 1  # the generations up to this; to walk the oldest takes long, and what it holds has been there long


class Rank(IntEnum):
    """Who goes first of those who wait in line."""

    HOLDER = 0
    """It holds something already."""
    USUAL = 1
    LATE = 2
    """What came on its connection before came too slowly."""


class Headroom:
    """Promises of memory below `cgroup`'s limit, of which a tenth, and at least 32 MiB, is left alone.

    `trim` gives memory that is free, but kept by the allocator, back to the system; it runs in a thread.
    """

    def __init__(
        self,
        cgroup: Cgroup,
        monotonic: Callable[[], float] = time.monotonic,
        trim: Callable[[], object] = give_back,
    ) -> None:
        self.limit = cgroup.limit
        self.coming = Coming(monotonic)
        """Those who hold some of it for what has not come yet."""
        self._cgroup = cgroup
        self._reserve = reserve(cgroup.limit)
        self._monotonic = monotonic
        self._trim = trim
        self._trimming: asyncio.Future[object] | None = None
        self._trimmed_at = float("-inf")
        self._read_at = float("-inf")
        self._free = 0
        self._promised = 0
        self._filled = 0
        self._read_filled = 0
        self._let_go = 0
        self._lines = {rank: asyncio.Lock() for rank in Rank}
        self._waiting = dict.fromkeys(Rank, 0)
        self._passed = 0
        """How many went while someone waited who was late."""
        self._given = asyncio.Event()
        self._refused_at = float("-inf")
        self._blind = False
        """Whether the last reading failed."""

    @property
    def promised(self) -> int:
        """Bytes that requests under way have been promised."""
        return self._promised

    @property
    def room(self) -> int:
        """Bytes that may be promised in all, but for a little more to small requests."""
        now = self._monotonic()
        if now - self._read_at >= _READ_SECONDS:
            self._read(now)
        return self._free + self._read_filled - self._let_go

    @property
    def short(self) -> bool:
        """Whether someone was refused within the last seconds."""
        return self._monotonic() - self._refused_at < _SHORT_SECONDS

    def take(self, size: int, *, small: bool = False) -> bool:
        """Promise `size` bytes; False where they do not fit. A `small` request may have what is left to such alone."""
        room = self.room + _SMALL_BYTES if small else self.room
        if size > room - self._promised:
            self._give_back(self._monotonic())
            self.coming.hurry()
            return False
        self._promised += size
        return True

    async def wait(self, size: int, rank: Rank) -> None:
        """Promise `size` bytes, after waiting in line for them for a moment.

        Raises:
            Retryable: they did not fit in time, or too many wait who were late.
        """
        if rank is Rank.LATE and self._waiting[rank] >= _LATE_PLACES:
            raise self.refusal(size)
        self._waiting[rank] += 1
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._lines[rank]:
                while self._others_first(rank) or not self.take(size):
                    self._given.clear()
                    with suppress(TimeoutError):  # usage falls without anybody's telling
                        async with asyncio.timeout(_READ_SECONDS):
                            await self._given.wait()
        except TimeoutError:
            raise self.refusal(size) from None
        finally:
            self._waiting[rank] -= 1
            if rank is Rank.LATE:
                self._passed = 0  # whether it went or gave up, its turn is over
        self.went(rank)

    def went(self, rank: Rank) -> None:
        """One of `rank` was promised what it asked for."""
        if rank is not Rank.LATE and self._waiting[Rank.LATE]:
            self._passed += 1

    @property
    def line(self) -> bool:
        """Whether someone waits in line."""
        return any(self._waiting.values())

    def goes_before(self, rank: Rank) -> bool:
        """Whether someone waits in line who goes before one of `rank` that comes now."""
        return self._waiting[rank] > 0 or self._others_first(rank)

    def _others_first(self, rank: Rank) -> bool:
        """Whether it is not the turn of the line of `rank`."""
        if rank is Rank.HOLDER:
            return False
        turn, other = (Rank.LATE, Rank.USUAL) if self._passed >= _TURNS else (Rank.USUAL, Rank.LATE)
        return self._waiting[Rank.HOLDER] > 0 or (rank is other and self._waiting[turn] > 0)

    def give(self, size: int, *, used: bool) -> None:
        """`size` bytes are not promised any more; they may have been `used`, or else never were."""
        self._promised -= size
        self._given.set()
        if used:
            self._let_go += size

    def fill(self, more: int) -> None:
        """`more` of what is promised are taken."""
        self._filled += more

    def refusal(self, size: int) -> Retryable:
        """What a client is told for whom `size` bytes did not fit."""
        if not self.short:
            _log.warning("memory_short", "memory is short; clients are told to come back")
        self._refused_at = self._monotonic()
        return Retryable(
            f"memory is short: {size} bytes do not fit below the limit of {self.limit} bytes now", reason="memory"
        )

    def _read(self, now: float) -> None:
        self._read_at = now
        try:
            self._free = self._cgroup.free(self._reserve)
        except (OSError, ValueError) as error:
            if not self._blind:  # it is tried fifty times a second
                _log.warning(
                    "memory_unread",
                    "the memory that is used cannot be read, and is taken for what it was: %(reason)s",
                    reason=str(error),
                )
            self._blind = True
        else:
            self._blind = False
        self._read_filled = self._filled
        self._let_go = 0

    def _give_back(self, now: float) -> None:
        """Have what is in cycles let go of, and the allocator give back what it keeps, in a thread, once in a while."""
        if now - self._trimmed_at < _TRIM_SECONDS or (self._trimming is not None and not self._trimming.done()):
            return
        self._trimmed_at = now
        gc.collect(_YOUNG)  # it would come after so many objects, whatever their bytes, and what is refused makes few
        self._trimming = asyncio.get_running_loop().run_in_executor(None, self._trim)


class Promise:
    """What one request has been promised, until it lets go of it."""

    __slots__ = ("_filled", "_headroom", "size")

    def __init__(self, headroom: Headroom) -> None:
        self._headroom = headroom
        self._filled = 0
        self.size = 0
        """Bytes."""

    def resize(self, size: int) -> bool:
        """Be promised `size` bytes from now on; False, and nothing changes, where they do not fit."""
        if size > self.size:
            if not self._headroom.take(size - self.size, small=size <= _SMALL_REQUEST):
                return False
        else:
            self._headroom.give(self.size - size, used=False)
        self.size = size
        return True

    def demand(self, size: int) -> None:
        """As `resize`.

        Raises:
            Retryable: they do not fit.
        """
        if not self.resize(size):
            raise self._headroom.refusal(size)

    def at_once(self, size: int, rank: Rank = Rank.USUAL) -> bool:
        """As `resize`, but past others who wait and go before it only where it is not much."""
        if (size > _SMALL_REQUEST and self._headroom.goes_before(rank)) or not self.resize(size):
            return False
        self._headroom.went(rank)
        return True

    async def in_turn(self, size: int, rank: Rank = Rank.USUAL) -> None:
        """Be promised `size` bytes, at once or after waiting in line for a moment.

        Raises:
            Retryable: they did not fit in time, or there is no room even for what comes meanwhile.
        """
        if self.size:
            rank = Rank.HOLDER
        if not self.at_once(size, rank):
            if not self.resize(max(self.size, _WINDOW_BYTES)):
                raise self._headroom.refusal(size)
            await self._headroom.wait(size - self.size, rank)
            self.size = size

    def fill(self, size: int) -> None:
        """`size` bytes of what is promised are taken."""
        self._headroom.fill(size - self._filled)
        self._filled = size

    def let_go(self, *, used: bool = True) -> None:
        """Hold nothing any more; `used` says whether some of it may be somebody else's now. Safe to call twice."""
        self._headroom.give(self.size, used=used)
        self.size = 0
        self.fill(0)


def reserve(limit: int) -> int:
    """Bytes below `limit` that are left alone, for what grows between two readings and for what nobody promises."""
    return max(limit // 10, _RESERVE)


def at_hand(memory_bytes: int, limit: int | None) -> int:
    """How much of a queue on disk is also kept in memory: `memory_bytes`, and an eighth of the limit at most."""
    return memory_bytes if limit is None else min(memory_bytes, limit // 8)
