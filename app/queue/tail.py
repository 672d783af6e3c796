"""The part of a signal's entries that is on the disk alone, because memory has no room for it."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from app.core.log import Log
from app.core.request import Signal
from app.queue.contract import Entry
from app.queue.record import DamagedRecord, unpack
from app.queue.store import Store

__all__ = ["Piece", "Tail"]

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read of a tail at a time."""

    entries: list[Entry]
    damaged: list[tuple[int, int]]
    """Sequence number and items of what is not what was written."""
    follows: int
    """The sequence number to go on with."""


class Tail:
    """Where the tail begins and ends, and how it is read: by one reader at a time, who holds `reading`."""

    def __init__(self, signal: Signal, store: Store, reader: Executor) -> None:
        self._signal = signal
        self._store = store
        self._reader = reader
        self.begins: int | None = None
        """Its first sequence number; all that follow are on the disk alone too. None: all that waits is at hand."""
        self.since_ns = 0
        """None of it was received before this."""
        self.last = 0
        """The last sequence number that was committed, and counted."""
        self.reading = asyncio.Lock()

    async def read(self, first: int, max_bytes: int) -> Piece:
        """Read from sequence number `first` on, up to `max_bytes` but at least one entry."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, first, self.last, max_bytes)

    def advance(self, piece: Piece) -> None:
        """What was read is not on the disk alone any more; what was committed since the read began is."""
        self.begins = piece.follows if piece.follows <= self.last else None
        if piece.entries:
            self.since_ns = piece.entries[-1].received_ns

    def _read(self, first: int, last: int, max_bytes: int) -> Piece:
        records, complete = self._store.read(self._signal, first, max_bytes)
        # A commit whose end the event loop has not heard of yet may be seen here already; it is not counted yet.
        known = [(sequence, raw) for sequence, raw in records if sequence <= last]
        follows = last + 1 if complete or len(known) < len(records) else known[-1][0] + 1
        entries: list[Entry] = []
        damaged: list[tuple[int, int]] = []
        for sequence, raw in known:
            try:
                record = unpack(self._signal, memoryview(raw))
            except DamagedRecord as error:
                _log.error(
                    "record_damaged",
                    "record %(sequence)d of the queue's %(signal)s is damaged and given up: %(reason)s",
                    kind=self._signal.value,
                    sequence=sequence,
                    signal=self._signal.value,
                    reason=str(error),
                )
                damaged.append((sequence, error.items))
            else:
                entries.append(Entry(sequence, record.items, len(record.body), record.received_ns, record.body))
        return Piece(entries, damaged, follows)
