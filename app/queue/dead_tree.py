"""The dead letters of one signal in the queue's file: a tree of notices beside the tree of records.

A record becomes a dead letter where it is, by a notice under its number, and is skipped by readers from then on. So a
record of any size can be made one in a file that is full, and its body is never written twice. A notice without
a record means nothing, and goes when the file is opened.

Everything here runs inside transactions of the store's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import lmdb

from app.core.request import Signal
from app.queue.letters import DeadLetter, Notice, pack_notice, unpack_notice
from app.queue.record import HEADER_BYTES, peek

__all__ = ["DeadTree", "Tally", "key_of"]


@dataclass(frozen=True, slots=True)
class Tally:
    """How much there is."""

    letters: int = 0
    items: int = 0


def key_of(sequence: int) -> bytes:
    """The key of a record, and of its notice."""
    return sequence.to_bytes(8, "big")


class DeadTree:
    """Notices of `signal`, whose records are in the tree `records`."""

    def __init__(self, environment: lmdb.Environment, signal: Signal, records: lmdb._Database) -> None:
        self._signal = signal
        self._records = records
        self.notices = environment.open_db(f"dead-{signal.value}".encode())

    def look(self, transaction: lmdb.Transaction) -> Tally:
        """Count what is there, and take away notices without a record."""
        letters = items = 0
        orphans: list[bytes] = []
        for key in transaction.cursor(db=self.notices).iternext(values=False):
            record = transaction.get(key, db=self._records)
            if record is None:
                orphans.append(bytes(key))
            else:
                letters += 1
                items += peek(memoryview(record))[0]
        for key in orphans:
            transaction.delete(key, db=self.notices)
        return Tally(letters, items)

    def empty(self, transaction: lmdb.Transaction) -> bool:
        """Whether there is no letter."""
        return not transaction.stat(self.notices)["entries"]

    def holder(self, transaction: lmdb.Transaction) -> Callable[[bytes | memoryview], bool]:
        """Return what tells whether the record of a key is a dead letter."""
        if self.empty(transaction):
            return lambda _: False
        return lambda key: transaction.get(key, db=self.notices) is not None

    def bury(self, transaction: lmdb.Transaction, sequence: int, notice: Notice, record: bytes | None) -> None:
        """Make a record a dead letter; `record`, if given, takes its place."""
        if record is not None:
            transaction.put(key_of(sequence), record, db=self._records)
        transaction.put(key_of(sequence), pack_notice(notice), db=self.notices)

    def forget(self, transaction: lmdb.Transaction, sequence: int) -> None:
        """Take a notice away, if there is one."""
        transaction.delete(key_of(sequence), db=self.notices)

    def letters(self, transaction: lmdb.Transaction, first: int, limit: int) -> list[DeadLetter]:
        """Return at most `limit` letters from number `first` on."""
        found: list[DeadLetter] = []
        cursor = transaction.cursor(db=self.notices)
        more = cursor.set_range(key_of(first))
        while more and len(found) < limit:
            record = transaction.get(cursor.key(), db=self._records)
            if record is not None:
                items, received_ns = peek(memoryview(record))
                sequence, notice = int.from_bytes(cursor.key(), "big"), unpack_notice(bytes(cursor.value()))
                size = max(0, len(record) - HEADER_BYTES)
                found.append(DeadLetter(sequence, self._signal, items, size, received_ns, notice))
            more = cursor.next()
        return found

    def record(self, transaction: lmdb.Transaction, sequence: int) -> bytes | None:
        """Return the record of a letter, None where there is none."""
        if transaction.get(key_of(sequence), db=self.notices) is None:
            return None
        record = transaction.get(key_of(sequence), db=self._records)
        return None if record is None else bytes(record)
