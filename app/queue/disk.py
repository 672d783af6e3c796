"""A queue that survives `kill -9` and power loss: what `append` returned for is on the disk.

One commit at a time takes everything that waits, appends and deletes alike, into one transaction and one fsync
(group commit). Nothing is delayed for it: under load the next group gathers while the last is being synced.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from types import TracebackType
from typing import Self

from app.core.clock import Clock
from app.core.errors import Refused, Retryable
from app.core.log import Log
from app.core.request import ExportRequest, Signal
from app.queue.contract import Committed, Entry, Expired, Lease, QueueError
from app.queue.dead_disk import DiskDead
from app.queue.letters import DeadLetter, DeadLetters, Notice
from app.queue.outcomes import Outcomes
from app.queue.record import HEADER_BYTES, pack
from app.queue.room import Room
from app.queue.shelf import Shelf
from app.queue.store import RESERVE_BYTES, Appended, Burial, Commit, Store, record_cost
from app.queue.tail import Tail
from app.telemetry.metrics import Metrics

__all__ = ["DiskQueue"]

_log = Log(__name__)
_POSTPONED_SECONDS = 1.0
_EXPIRY_BYTES = 1 << 20  # what is read at a time to see how old it is
_NOTICE_BYTES = 256
"""Room that each entry has beside its own, for the notice that would make it a dead letter."""

_TURNS = 3
"""How many turns of the loop a commit lets pass: in them those who were answered by the last one come again. Of 16
clients 13 share a commit so, in place of 8, and a request costs 15 % less."""


@dataclass(slots=True)
class _Pending:
    """An append on its way to the disk."""

    entry: Entry
    appended: Appended
    committed: Committed
    cost: int
    kept: asyncio.Future[None]


class DiskQueue:
    """Entries in a `Store`; the next ones to go, up to `memory_bytes`, are in memory too.

    `memory_bytes` is shared out among the signals, so that one whose destination is away leaves the others theirs.
    What does not fit is read back when its turn comes.
    """

    def __init__(
        self, store: Store, *, max_bytes: int, memory_bytes: int, patience: float, clock: Clock, metrics: Metrics
    ) -> None:
        self._store = store
        self._room = Room(max_bytes - RESERVE_BYTES, patience)
        self._memory_bytes = memory_bytes // len(Signal)
        self._clock = clock
        self._metrics = metrics
        self._reader = ThreadPoolExecutor(1, "queue-reader")
        self._shelves = {signal: Shelf(signal) for signal in Signal}
        self._tails = {signal: Tail(signal, store, self._reader) for signal in Signal}
        self._next_sequence = 1
        self._outcomes = Outcomes()
        self._entries = 0
        """How many wait or are leased."""
        self._dead = DiskDead(store, self._reader, self)
        self._pending: list[_Pending] = []
        self._deletes: list[tuple[Signal, int]] = []
        self._burials: list[Burial] = []
        self._onlookers: list[asyncio.Future[None]] = []
        """Who waits for the end of the next commit."""
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._closing = False
        self._moved = asyncio.Event()
        """Something came in, or was settled or released: whoever waits for memory looks again."""
        self._commit_began: float | None = None
        self._under_way: list[_Pending] = []
        """What the commit under way writes."""
        self._stalled = False
        """Whether that takes too long."""
        self._broken = False
        self._refusing = False
        """Whether the last commit that brought something had no room for all of it."""
        self._writer = ThreadPoolExecutor(1, "queue-writer")
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._writer, self._store.open)
        except BaseException:
            self._stop()
            raise
        self._next_sequence = found.next_sequence
        self._entries = found.entries
        self._room.arrive(0, found.used_bytes + self._entries * _NOTICE_BYTES)
        for signal, tally in found.dead.items():
            self._metrics.recovered.labels(signal.value).inc(tally.items)
            self._dead.arrive(signal, tally.items, tally.letters)
            _log.info(
                "dead_letters_found",
                "%(items)d %(noun)s are dead letters; see otlp-service queue dead list",
                items=tally.items,
                noun=signal.noun,
            )
        for signal, items in found.items.items():
            self._metrics.recovered.labels(signal.value).inc(items)
            if items:
                self._tails[signal].begins = 0
                self._tails[signal].since_ns = found.oldest_ns[signal]
                self._tails[signal].last = found.next_sequence - 1
                self._shelves[signal].count(items)
                _log.info("recovered", "recovered %(items)d %(noun)s from the queue", items=items, noun=signal.noun)
        self.tasks = [asyncio.create_task(self._commit_for_ever(), name="queue commits")]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for committing in self.tasks:
                if not self._broken:
                    await self._flush(committing)
                committing.cancel()
                await asyncio.gather(committing, return_exceptions=True)
        finally:
            self.tasks = []
            self._break_off([])
            self._stop()

    async def append(self, request: ExportRequest, committed: Committed, *, expect: bool = False) -> int:
        cost = record_cost(HEADER_BYTES + len(request.body)) + _NOTICE_BYTES
        await self._room.reserve(cost)
        if self._broken:
            raise _cannot_store()
        if self._stalled:
            self._room.arrive(cost, self._room.used)
            raise _too_slow()
        signal, sequence = request.signal, self._next_sequence
        if expect:
            self._outcomes.expect(signal, sequence)
        try:
            await self._enqueue(request, committed, cost)
        except BaseException:
            self._outcomes.forget(signal, sequence)  # nobody will ask
            raise
        return sequence

    def revive(self, letter: DeadLetter, body: bytes, committed: Committed) -> asyncio.Future[None]:
        """Append what a dead letter holds in its place. It has its room already; the file may have none to move it."""
        if self._broken:
            raise _cannot_store()
        if self._stalled:
            raise _too_slow()
        return self._enqueue(ExportRequest(letter.signal, body, letter.items), committed, 0, letter.sequence)

    def purge(self, letters: list[DeadLetter]) -> None:
        """Delete dead letters."""
        self._deletes.extend((letter.signal, letter.sequence) for letter in letters)
        self._work.set()

    async def committed(self) -> None:
        if self._broken:
            raise _cannot_store()
        onlooker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._onlookers.append(onlooker)
        self._work.set()
        await onlooker

    @property
    def last_sequence(self) -> int:
        """No entry and no dead letter has a higher number yet."""
        return self._next_sequence - 1

    def _enqueue(
        self, request: ExportRequest, committed: Committed, cost: int, replaces: int | None = None
    ) -> asyncio.Future[None]:
        """Have a request written by the next commit; the future tells when it is."""
        signal, sequence, now = request.signal, self._next_sequence, self._clock.now_ns()
        self._next_sequence += 1
        pending = _Pending(
            Entry(sequence, request.items, len(request.body), now, request.body, request.callers),
            Appended(signal, sequence, pack(signal, request.body, request.items, now), replaces),
            committed,
            cost,
            asyncio.get_running_loop().create_future(),
        )
        self._pending.append(pending)
        self._work.set()
        return pending.kept

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
        while not shelf.ready:
            if self._tails[signal].begins is None:
                return None
            await self._read_tail(signal, max_bytes)
        return shelf.take(max_bytes)

    def settle(self, lease: Lease) -> None:
        signal = lease.request.signal
        self._shelves[signal].forget(lease)
        self._delete(signal, lease.entries)
        self._outcomes.settle(signal, (entry.sequence for entry in lease.entries), None)

    def bury(self, lease: Lease, refusal: Refused, remainder: ExportRequest | None = None) -> None:
        signal = lease.request.signal
        self._shelves[signal].forget(lease)
        notice = Notice.of(self._clock.now_ns(), refusal, refusal.reason)
        for entry in lease.entries:
            rest = None if remainder is None else pack(signal, remainder.body, remainder.items, entry.received_ns)
            self._burials.append(Burial(signal, entry.sequence, notice, rest))
        items = lease.request.items if remainder is None else remainder.items
        self._dead.arrive(signal, items, len(lease.entries))
        self._entries -= len(lease.entries)
        self._moved.set()
        self._work.set()
        self._outcomes.settle(signal, (entry.sequence for entry in lease.entries), refusal)

    def divide(self, lease: Lease, groups: Sequence[list[Entry]]) -> list[Lease]:
        return self._shelves[lease.request.signal].divide(lease, groups)

    def release(self, lease: Lease) -> None:
        self._shelves[lease.request.signal].put_back(lease)
        self._moved.set()

    async def expire(self, before_ns: int, expired: Expired) -> None:
        for signal, shelf in self._shelves.items():
            self._expire(signal, shelf.pop_older(before_ns), expired)
            while not shelf.ready and await self._expire_tail(signal, before_ns, expired):
                pass

    def items(self, signal: Signal) -> int:
        return self._shelves[signal].items

    @property
    def dead(self) -> DeadLetters:
        return self._dead

    def oldest_ns(self) -> int | None:
        at_hand = [age for shelf in self._shelves.values() if (age := shelf.oldest_ns()) is not None]
        on_disk = [tail.since_ns for tail in self._tails.values() if tail.begins is not None]
        return min(at_hand + on_disk, default=None)

    @property
    def full(self) -> bool:
        return self._room.full

    @property
    def used_bytes(self) -> int:
        return self._room.used

    @property
    def capacity_bytes(self) -> int:
        return self._room.capacity

    def commit_seconds(self) -> float:
        """For how long the commit under way has been, 0 when there is none."""
        return 0.0 if self._commit_began is None else self._clock.monotonic() - self._commit_began

    def stall(self) -> None:
        if self._commit_began is None:
            return
        self._stalled = True
        behind, self._pending = self._pending, []
        for pending in self._under_way + behind:
            _fail(pending, _too_slow())
        # Clients that come again and again must not fill memory with what they were refused.
        self._room.arrive(sum(pending.cost for pending in behind), self._room.used)

    def _delete(self, signal: Signal, entries: list[Entry]) -> None:
        self._deletes.extend((signal, entry.sequence) for entry in entries)
        self._entries -= len(entries)
        self._moved.set()
        self._work.set()

    async def _commit_for_ever(self) -> None:
        while True:
            while not self._pending and not self._deletes and not self._burials and not self._onlookers:
                self._idle.set()
                self._work.clear()
                await self._work.wait()
            self._idle.clear()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            group, self._pending = self._pending, []
            deletes, self._deletes = self._deletes, []
            burials, self._burials = self._burials, []
            onlookers, self._onlookers = self._onlookers, []
            try:
                commit = await self._commit(group, deletes, burials)
            except Exception as error:
                self._onlookers.extend(onlookers)
                self._break_off(group)
                waiting = sum(shelf.items for shelf in self._shelves.values())
                raise QueueError(
                    f"the queue's disk failed: {error}; nothing more is acknowledged; {waiting} items wait in it"
                ) from error
            self._keep(group, commit)
            group.clear()  # or the last bodies and records stay until the next commit
            self._burials[:0] = commit.unburied
            if commit.postponed:
                self._deletes[:0] = deletes
            if not commit.postponed and not commit.unburied:
                for onlooker in onlookers:
                    if not onlooker.done():
                        onlooker.set_result(None)
                continue
            self._onlookers[:0] = onlookers
            _log.error("disk_full", "the disk under the queue is full; clients are told to come back")
            if self._closing:
                return  # what is settled will be delivered again: better twice than never
            await self._clock.sleep(_POSTPONED_SECONDS)

    async def _commit(self, group: list[_Pending], deletes: list[tuple[Signal, int]], burials: list[Burial]) -> Commit:
        self._commit_began = began = self._clock.monotonic()
        self._under_way = group
        appends = [pending.appended for pending in group]
        commit = await asyncio.get_running_loop().run_in_executor(
            self._writer, self._store.commit, appends, deletes, burials
        )
        self._commit_began = None
        self._stalled = False
        self._metrics.commit_seconds.labels().observe(self._clock.monotonic() - began)
        return commit

    def _keep(self, group: list[_Pending], commit: Commit) -> None:
        """A commit is on the disk: its entries are the queue's from now on."""
        if commit.refused and not self._refusing and not commit.postponed:
            _log.error(
                "disk_too_small",
                "the disk under the queue has no room for %(requests)d requests",
                requests=len(commit.refused),
            )
        if group:
            self._refusing = bool(commit.refused)
        for pending in group:
            entry, signal = pending.entry, pending.appended.signal
            if entry.sequence in commit.refused:
                self._room.refused()
                _fail(pending, Retryable("the queue has no room for a request of this size", reason="queue_full"))
                continue
            shelf, tail = self._shelves[signal], self._tails[signal]
            tail.last = entry.sequence
            if tail.begins is None:
                if shelf.held_bytes + entry.size <= self._memory_bytes:
                    shelf.add((entry,))
                    self._moved.set()
                else:
                    tail.begins, tail.since_ns = entry.sequence, entry.received_ns
            pending.committed(entry.items)
            shelf.count(entry.items)
            self._entries += 1
            if not pending.kept.done():
                pending.kept.set_result(None)
        used = commit.used_bytes + self._entries * _NOTICE_BYTES
        self._room.arrive(sum(pending.cost for pending in group), used)

    async def _read_tail(self, signal: Signal, max_bytes: int) -> None:
        """Bring the next entries that are on the disk alone into memory."""
        shelf, tail = self._shelves[signal], self._tails[signal]

        def crowded() -> bool:
            return shelf.held_bytes > 0 and shelf.held_bytes + max_bytes > self._memory_bytes

        while not shelf.ready and tail.begins is not None and crowded():
            self._moved.clear()
            await self._moved.wait()
        async with tail.reading:
            if shelf.ready or tail.begins is None:
                return  # something was released, or everything expired
            budget = max(self._memory_bytes - shelf.held_bytes, 1)
            piece = await tail.read(tail.begins, budget)
            tail.advance(piece)
            shelf.add(piece.entries)
            self._give_up(signal, piece.damaged)

    async def _expire_tail(self, signal: Signal, before_ns: int, expired: Expired) -> bool:
        """Forget what is too old of the next piece on the disk; returns whether there may be more of it."""
        tail = self._tails[signal]
        async with tail.reading:
            if tail.begins is None or tail.since_ns >= before_ns:
                return False
            piece = await tail.read(tail.begins, _EXPIRY_BYTES)
            old = list(takewhile(lambda entry: entry.received_ns < before_ns, piece.entries))
            young = piece.entries[len(old) :]
            if young:
                tail.begins, tail.since_ns = young[0].sequence, young[0].received_ns
                damaged = [(sequence, items) for sequence, items in piece.damaged if sequence < tail.begins]
            else:
                tail.advance(piece)
                damaged = piece.damaged
            self._shelves[signal].count(-sum(entry.items for entry in old))
            self._expire(signal, old, expired)
            self._give_up(signal, damaged)
            return not young

    def _expire(self, signal: Signal, entries: list[Entry], expired: Expired) -> None:
        if entries:
            expired(signal, sum(entry.items for entry in entries))
            self._delete(signal, entries)
            too_old = Retryable("it was older than queue.max_age before it was delivered", reason="expired")
            self._outcomes.settle(signal, (entry.sequence for entry in entries), too_old)

    def _give_up(self, signal: Signal, damaged: list[tuple[int, int]]) -> None:
        for sequence, items in damaged:
            self._shelves[signal].count(-items)
            self._metrics.dropped.labels(signal.value, "damaged").inc(items)
            self._deletes.append((signal, sequence))
            self._entries -= 1
            self._work.set()
            lost = Retryable("it was damaged on the queue's disk before it was delivered", reason="damaged")
            self._outcomes.settle(signal, (sequence,), lost)

    async def _flush(self, committing: asyncio.Task[None]) -> None:
        """Have everything that waits committed: what is settled must not be delivered again after a clean end."""
        self._closing = True
        while not committing.done() and (self._pending or self._deletes or self._burials or not self._idle.is_set()):
            idle = asyncio.create_task(self._idle.wait())
            await asyncio.wait({idle, committing}, return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()

    def _break_off(self, group: list[_Pending]) -> None:
        self._broken = True
        for pending in group + self._pending:
            _fail(pending, _cannot_store())
        self._pending.clear()
        for onlooker in self._onlookers:
            if not onlooker.done():
                onlooker.set_exception(_cannot_store())
        self._onlookers.clear()

    def _stop(self) -> None:
        self._writer.shutdown()
        self._reader.shutdown()
        self._store.close()  # only now: LMDB must not be closed under a thread that uses it


def _fail(pending: _Pending, error: Retryable) -> None:
    if not pending.kept.done():
        pending.kept.set_exception(error)


def _too_slow() -> Retryable:
    return Retryable("the queue's disk does not answer", reason="storage_slow")


def _cannot_store() -> Retryable:
    return Retryable("the queue cannot be written", reason="storage_failed")
