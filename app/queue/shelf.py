"""The entries of one signal that are at hand in memory, and the count of all that belong to it."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import takewhile

from app.core.request import ExportRequest, Signal
from app.queue.contract import Entry, Lease

__all__ = ["Shelf"]

_MOST_WITH_CALLERS = 10_000
"""Entries that wait and know their callers: of small requests there may be a hundred times as many, and 170 bytes each
would be more than their bodies."""


class Shelf:
    """Bookkeeping without I/O, the same for both queues.

    `items` counts everything; `ready` holds what waits and is in memory; what waits but is on disk alone is in
    neither `ready` nor `leased`.
    """

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.items = 0
        self.leased_items = 0
        self.held_bytes = 0
        """Bodies in memory, of entries that wait or are leased."""
        self.ready: deque[Entry] = deque()
        self._leases: dict[int, Lease] = {}
        self._wanted = 0
        self._enough: asyncio.Future[None] | None = None

    @property
    def waiting_items(self) -> int:
        return self.items - self.leased_items

    def oldest_ns(self) -> int | None:
        """When the oldest entry in memory was received."""
        received = [lease.entries[0].received_ns for lease in self._leases.values()]
        if self.ready:
            received.append(self.ready[0].received_ns)
        return min(received, default=None)

    def add(self, entries: Iterable[Entry]) -> None:
        """Put entries behind those that wait in memory; they are counted already."""
        for entry in entries:
            if entry.callers and len(self.ready) >= _MOST_WITH_CALLERS:
                entry.callers = ()
            self.ready.append(entry)
            self.held_bytes += entry.size

    def count(self, items: int) -> None:
        """Items came in: wake whoever waits for that many."""
        self.items += items
        self._wake()

    def take(self, max_bytes: int) -> Lease:
        """Lease from the front of `ready`, which must not be empty."""
        entries = [self.ready.popleft()]
        size = entries[0].size
        while self.ready and size + self.ready[0].size <= max_bytes:
            size += self.ready[0].size
            entries.append(self.ready.popleft())
        items = sum(entry.items for entry in entries)
        # One entry is sent as it came: join copies nothing then.
        request = ExportRequest(self.signal, b"".join([entry.body for entry in entries]), items, _callers(entries))
        for entry in entries:
            entry.body = b""
        lease = Lease(request, entries)
        self._leases[entries[0].sequence] = lease
        self.leased_items += items
        return lease

    def divide(self, lease: Lease, groups: Sequence[list[Entry]]) -> list[Lease]:
        """Put leases in the place of `lease`, one for each of `groups`, which together are its entries."""
        del self._leases[lease.entries[0].sequence]
        bodies = {entry.sequence: body for entry, body in lease.bodies()}
        parts = []
        for entries in groups:
            items = sum(entry.items for entry in entries)
            body = b"".join([bodies[entry.sequence] for entry in entries])
            part = Lease(ExportRequest(self.signal, body, items, _callers(entries)), entries)
            self._leases[entries[0].sequence] = part
            parts.append(part)
        return parts

    def forget(self, lease: Lease) -> None:
        """A lease is settled."""
        self._end(lease)
        self.items -= lease.request.items
        self.held_bytes -= len(lease.request.body)

    def put_back(self, lease: Lease) -> None:
        """A lease is released: its entries get their bodies and their place back."""
        self._end(lease)
        for entry, body in lease.bodies():
            entry.body = bytes(body)
        merged = sorted([*lease.entries, *self.ready], key=lambda entry: entry.sequence)
        self.ready = deque(merged)
        self._wake()

    def pop_older(self, before_ns: int) -> list[Entry]:
        """Take the entries at the front of `ready` that were received before `before_ns` out of the books."""
        old = list(takewhile(lambda entry: entry.received_ns < before_ns, self.ready))
        for entry in old:
            self.ready.popleft()
            self.items -= entry.items
            self.held_bytes -= entry.size
        return old

    async def wait(self, items: int) -> None:
        """Return when at least `items` items wait. One waiter at a time."""
        while self.waiting_items < items:
            self._wanted = items
            self._enough = asyncio.get_running_loop().create_future()
            await self._enough

    def _wake(self) -> None:
        if self._enough is not None and not self._enough.done() and self.waiting_items >= self._wanted:
            self._enough.set_result(None)

    def _end(self, lease: Lease) -> None:
        del self._leases[lease.entries[0].sequence]
        self.leased_items -= lease.request.items


def _callers(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(caller for entry in entries if entry.callers for caller in entry.callers)
