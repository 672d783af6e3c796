"""A queue in memory: cheaper than the disk, and gone with the process."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from app.core.clock import Clock
from app.core.errors import Refused, Retryable
from app.core.request import ExportRequest, Signal
from app.queue.contract import Committed, Entry, Expired, Lease
from app.queue.dead_memory import MemoryDead
from app.queue.letters import DeadLetter, DeadLetters, Notice
from app.queue.outcomes import Outcomes
from app.queue.room import Room
from app.queue.shelf import Shelf

__all__ = ["MemoryQueue"]

_ENTRY_BYTES = 256  # what an entry costs beside its body


class MemoryQueue:
    """Entries up to `max_bytes`, in memory alone."""

    def __init__(self, *, max_bytes: int, patience: float, clock: Clock) -> None:
        self._room = Room(max_bytes, patience)
        self._clock = clock
        self._shelves = {signal: Shelf(signal) for signal in Signal}
        self._sequence = 0
        self._outcomes = Outcomes()
        self._dead = MemoryDead(self._add, lambda size: self._give_room(size + _ENTRY_BYTES))

    async def append(self, request: ExportRequest, committed: Committed, *, expect: bool = False) -> int:
        cost = len(request.body) + _ENTRY_BYTES
        await self._room.reserve(cost)
        self._room.arrive(cost, self._room.used + cost)
        committed(request.items)
        self._add(request)
        if expect:
            self._outcomes.expect(request.signal, self._sequence)
        return self._sequence

    async def committed(self) -> None:
        pass  # it always is

    async def delivered(self, signal: Signal, sequence: int) -> None:
        await self._outcomes.wait(signal, sequence)

    def give_up_waiting(self, error: Retryable) -> None:
        self._outcomes.abandon(error)

    async def wait(self, signal: Signal, items: int) -> None:
        await self._shelves[signal].wait(items)

    def waiting(self, signal: Signal) -> int:
        return self._shelves[signal].waiting_items

    async def lease(self, signal: Signal, max_bytes: int) -> Lease | None:
        shelf = self._shelves[signal]
        return shelf.take(max_bytes) if shelf.ready else None

    def settle(self, lease: Lease) -> None:
        signal = lease.request.signal
        self._shelves[signal].forget(lease)
        self._forget_all(lease.entries)
        self._outcomes.settle(signal, (entry.sequence for entry in lease.entries), None)

    def bury(self, lease: Lease, refusal: Refused, remainder: ExportRequest | None = None) -> None:
        signal = lease.request.signal
        self._shelves[signal].forget(lease)
        notice = Notice.of(self._clock.now_ns(), refusal, refusal.reason)
        for entry, piece in lease.bodies():
            items, body = (entry.items, bytes(piece)) if remainder is None else (remainder.items, remainder.body)
            self._give_room(entry.size - len(body))
            letter = DeadLetter(entry.sequence, signal, items, len(body), entry.received_ns, notice)
            self._dead.add(letter, body)
        self._outcomes.settle(signal, (entry.sequence for entry in lease.entries), refusal)

    def divide(self, lease: Lease, groups: Sequence[list[Entry]]) -> list[Lease]:
        return self._shelves[lease.request.signal].divide(lease, groups)

    def release(self, lease: Lease) -> None:
        self._shelves[lease.request.signal].put_back(lease)

    async def expire(self, before_ns: int, expired: Expired) -> None:
        for signal, shelf in self._shelves.items():
            if entries := shelf.pop_older(before_ns):
                expired(signal, sum(entry.items for entry in entries))
                self._forget_all(entries)
                too_old = Retryable("it was older than queue.max_age before it was delivered", reason="expired")
                self._outcomes.settle(signal, (entry.sequence for entry in entries), too_old)

    def items(self, signal: Signal) -> int:
        return self._shelves[signal].items

    @property
    def dead(self) -> DeadLetters:
        return self._dead

    def oldest_ns(self) -> int | None:
        ages = [age for shelf in self._shelves.values() if (age := shelf.oldest_ns()) is not None]
        return min(ages, default=None)

    @property
    def full(self) -> bool:
        return self._room.full

    @property
    def used_bytes(self) -> int:
        return self._room.used

    @property
    def capacity_bytes(self) -> int:
        return self._room.capacity

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return []

    def commit_seconds(self) -> float:
        return 0.0

    def stall(self) -> None:
        """Do nothing: memory takes no time."""

    def _add(self, request: ExportRequest) -> None:
        """Put a request behind those that wait; there is room for it."""
        self._sequence += 1
        shelf = self._shelves[request.signal]
        now, body = self._clock.now_ns(), request.body
        shelf.add((Entry(self._sequence, request.items, len(body), now, body, request.callers),))
        shelf.count(request.items)

    def _forget_all(self, entries: Sequence[Entry]) -> None:
        self._give_room(sum(entry.size + _ENTRY_BYTES for entry in entries))

    def _give_room(self, size: int) -> None:
        self._room.arrive(0, self._room.used - size)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
