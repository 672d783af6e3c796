"""A disk that fails, or hesitates, when a test says so."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

from app.core.request import Signal
from app.queue.letters import DeadLetter
from app.queue.store import Appended, Burial, Commit, Found, Store

__all__ = ["FaultyStore", "Gate"]


class Gate:
    """Where a thread can be made to wait. Open at first."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._reached = threading.Event()

    def shut(self) -> None:
        self._reached.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def reached(self) -> None:
        """Return when a thread waits at the gate."""
        if not await asyncio.to_thread(self._reached.wait, 10):
            raise TimeoutError("nobody came to the gate")

    def go_through(self) -> None:
        """Wait here while the gate is shut. For threads."""
        if not self._open.is_set():
            self._reached.set()
            if not self._open.wait(10):
                raise TimeoutError("the gate was never opened")


class FaultyStore:
    """A `Store` in front of a real one. Errors that are set are raised in place of the work."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.open_error: Exception | None = None
        self.commit_error: Exception | None = None
        self.read_error: Exception | None = None
        self.postpone = False
        """Whether commits say that the disk is full, and do nothing."""
        self.before_commit = Gate()
        self.after_commit = Gate()
        """What was committed is on the disk, and the caller does not know it yet."""
        self.before_read = Gate()
        self.after_read = Gate()
        self.commits: list[tuple[list[Appended], list[tuple[Signal, int]]]] = []
        """What each commit that went through was given."""
        self.burials: list[Burial] = []
        """What was made a dead letter."""
        self.unburied = False
        """Whether commits say that no notice fits."""
        self.reads: list[tuple[Signal, int]] = []
        """From where each read began."""
        self.closed = False
        self._readers = 0
        self._used_bytes = 0

    def open(self) -> Found:
        if self.open_error is not None:
            raise self.open_error
        found = self.inner.open()
        self._used_bytes = found.used_bytes
        return found

    def commit(
        self, appends: Sequence[Appended], deletes: Sequence[tuple[Signal, int]], burials: Sequence[Burial] = ()
    ) -> Commit:
        self.before_commit.go_through()
        if self.commit_error is not None:
            raise self.commit_error
        if self.postpone:
            return Commit(frozenset(append.sequence for append in appends), True, self._used_bytes, tuple(burials))
        if self.unburied and burials:
            commit = replace(self.inner.commit(appends, deletes), unburied=tuple(burials))
        else:
            commit = self.inner.commit(appends, deletes, burials)
            self.burials += burials
        self._used_bytes = commit.used_bytes
        self.commits.append((list(appends), list(deletes)))
        self.after_commit.go_through()
        return commit

    def read(self, signal: Signal, first: int, max_bytes: int) -> tuple[list[tuple[int, bytes]], bool]:
        self._readers += 1
        try:
            self.before_read.go_through()
            if self.read_error is not None:
                raise self.read_error
            self.reads.append((signal, first))
            records = self.inner.read(signal, first, max_bytes)
            self.after_read.go_through()
        finally:
            self._readers -= 1
        return records

    def dead_letters(self, signal: Signal, first: int, limit: int) -> list[DeadLetter]:
        return self.inner.dead_letters(signal, first, limit)

    def dead_record(self, signal: Signal, sequence: int) -> bytes | None:
        return self.inner.dead_record(signal, sequence)

    def close(self) -> None:
        if self._readers:
            raise RuntimeError("closed under a reader")
        self.closed = True
        self.inner.close()
