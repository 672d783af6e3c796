"""What a queue does, whichever way it stores.

Invariants, each with a test of its name for both queues:

- What `append` returned for is leased sooner or later, in order of arrival per signal, until it is settled.
- What is leased is nobody else's until it is settled or released; a released lease comes back in its old place.
- `items(signal)` counts what was appended and is not settled, at every moment.
- A queue that is full refuses, after a moment, and keeps what it has; room is given first come, first served.
- What is buried is a dead letter from that very turn on; this passes however full the queue is.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from app.core.errors import Refused, Retryable
from app.core.request import ExportRequest, Signal
from app.queue.letters import DeadLetters

__all__ = ["Committed", "Entry", "Expired", "Lease", "Queue", "QueueError"]

Committed = Callable[[int], None]
"""Called with the number of items in the very turn of the event loop in which they become the queue's."""

Expired = Callable[[Signal, int], None]
"""Called with the number of items of a signal in the very turn in which the queue forgets them for their age."""


class QueueError(Exception):
    """The queue cannot be opened, or can no longer keep its promise: the service must not go on."""


@dataclass(slots=True)
class Entry:
    """One appended request. While it is leased its body lives on in the lease's merged request alone."""

    sequence: int
    items: int
    size: int
    received_ns: int
    body: bytes
    callers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """Entries that were taken together, and their merge."""

    request: ExportRequest
    entries: list[Entry]

    def bodies(self) -> Iterator[tuple[Entry, memoryview]]:
        """Return each entry with its body, which is a piece of the merged one."""
        whole = memoryview(self.request.body)
        start = 0
        for entry in self.entries:
            yield entry, whole[start : start + entry.size]
            start += entry.size


class Queue(Protocol):
    """Entries of three signals, each signal in order of arrival. Used from one event loop."""

    async def append(self, request: ExportRequest, committed: Committed, *, expect: bool = False) -> int:
        """Keep `request`; returns its sequence number once it is safe, which for a disk means after an fsync.

        With `expect` the caller will wait for `delivered`.

        Raises:
            Retryable: there was no room for as long as a client may be kept waiting.
            TooLarge: there never will be, even when the queue is empty.
        """

    async def committed(self) -> None:
        """Wait until everything that was asked for until now is safe, appends that nobody waits for any more too.

        Raises:
            Retryable: the disk failed.
        """

    async def delivered(self, signal: Signal, sequence: int) -> None:
        """Wait until a request that was appended with `expect` is settled.

        Raises:
            Refused: the destination refused it.
            Retryable: the queue gave it up (too old, damaged) before the destination saw it.
        """

    def give_up_waiting(self, error: Retryable) -> None:
        """Raise `error` where `delivered` is waited for now; what is waited for stays in the queue."""

    async def wait(self, signal: Signal, items: int) -> None:
        """Return when at least `items` items of `signal` wait to be leased."""

    def waiting(self, signal: Signal) -> int:
        """How many items of `signal` wait to be leased."""

    async def lease(self, signal: Signal, max_bytes: int) -> Lease | None:
        """Take what waits, oldest first, at most `max_bytes` but always at least one entry; None: nothing waits."""

    def settle(self, lease: Lease) -> None:
        """The entries of `lease` are delivered: forget them."""

    def bury(self, lease: Lease, refusal: Refused, remainder: ExportRequest | None = None) -> None:
        """The destination refused the entries of `lease` for good: each becomes a dead letter.

        `remainder` is what was refused of a single entry, where the rest was taken.
        """

    def divide(self, lease: Lease, groups: Sequence[list[Entry]]) -> list[Lease]:
        """Make a lease of each of `groups`, which together are the entries of `lease`, in order; it is no more then."""

    def release(self, lease: Lease) -> None:
        """The entries of `lease` wait again, in their old place."""

    async def expire(self, before_ns: int, expired: Expired) -> None:
        """Forget entries that were received before `before_ns` and wait; what is leased has its chance."""

    def items(self, signal: Signal) -> int:
        """Items that wait or are leased."""

    @property
    def dead(self) -> DeadLetters:
        """What was buried."""

    def oldest_ns(self) -> int | None:
        """When the oldest entry was received, in nanoseconds since the epoch; None when the queue is empty."""

    @property
    def full(self) -> bool:
        """Whether someone waits for room, or was refused for want of it, be it the queue's own or its disk's."""

    @property
    def used_bytes(self) -> int:
        """How much of `capacity_bytes` is taken."""

    @property
    def capacity_bytes(self) -> int:
        """At it the queue is full; pages of a disk that are not filled yet may put `used_bytes` a little above it."""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs as long as the queue is open; one that ends by itself has failed, and the service must end."""

    def commit_seconds(self) -> float:
        """For how long the commit under way has been so, 0 when there is none."""

    def stall(self) -> None:
        """The commit under way takes too long: until it ends, who waits for it or comes is told to come back.

        What is in it may be kept all the same; what waits behind it is not.
        """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
