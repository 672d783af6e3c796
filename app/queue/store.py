"""The queue's file: LMDB, one tree a signal, ordered by sequence number.

Invariants, each with a test of its name:

- A commit is all or nothing, and is on the disk (data and head) when `commit` returns.
- The file never grows above `max_bytes`; `used_bytes` counts the pages that live trees take, not record lengths.
- Acknowledgements pass even when no record fits any more, and so does what makes a record a dead letter.
- One process at a time holds the directory.

Nothing here knows asyncio; every method may block. `commit` belongs to one thread, `read` to another.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import lmdb

from app.core.request import Signal
from app.queue.changes import Appended, Burial, Commit, Found, Store
from app.queue.contract import QueueError
from app.queue.dead_tree import DeadTree, key_of
from app.queue.directory import Directory, sync_directory
from app.queue.letters import DeadLetter
from app.queue.mend import check_format, mend
from app.queue.pages import PAGE, PAGE_HEADER
from app.queue.record import FORMAT, peek
from app.queue.witness import Witness

__all__ = ["PAGE", "Appended", "Burial", "Commit", "Found", "LmdbStore", "Store", "record_cost"]

RESERVE_BYTES = 16 << 20
"""Kept free of records: LMDB copies the pages that it changes, so a full file would refuse deletes too."""

_LOCK_FILE_BYTES = 16 << 10  # more than LMDB's table of 126 readers takes
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NODE_OVERHEAD = 8 + 8 + 2  # LMDB's node header, our key, and the node's slot in its page
_LARGEST_NODE = (PAGE - PAGE_HEADER) // 2 - 2  # two nodes must fit a leaf; a larger value gets pages of its own


def record_cost(length: int) -> int:
    """Bytes of the file that a record of `length` bytes takes: pages of its own, or its share of a leaf page."""
    node = length + _NODE_OVERHEAD
    if node - 2 > _LARGEST_NODE:
        return -(-(length + PAGE_HEADER) // PAGE) * PAGE + 2 * _NODE_OVERHEAD
    return PAGE // ((PAGE - PAGE_HEADER) // node)


class LmdbStore:
    """LMDB under `directory`, at most `max_bytes` large."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._held = Directory(directory)
        self._environment: lmdb.Environment | None = None
        self._opened: Witness | None = None
        self._sound = False
        """Whether the next start need not look at the file before it uses it."""
        self._trees: dict[Signal, lmdb._Database] = {}
        self._dead: dict[Signal, DeadTree] = {}

    def open(self) -> Found:
        """Take the directory, make it if need be, and look at what is there.

        Raises:
            QueueError: it cannot be made or written, another process holds it, or a newer version wrote it.
        """
        try:
            self._held.take()
            if not self._held.ended_well:
                mend(self._directory)
            try:
                found = self._open_file()
            except lmdb.Error:
                self._close_file()
                if not self._held.ended_well or not mend(self._directory):
                    raise
                found = self._open_file()
        except lmdb.MemoryError as error:
            self.close()
            raise QueueError(
                f"queue.max_bytes: {self._max_bytes / 2**40:g} TiB is more than this machine can map ({error}); "
                "give the queue no more than its disk has"
            ) from error
        except (lmdb.Error, OSError) as error:
            self.close()
            raise QueueError(
                f"queue.directory: {self._directory} cannot be opened as a queue ({error}); "
                "move its files away, or name another directory"
            ) from error
        except QueueError:
            self.close()
            raise
        self._sound = True
        return found

    def commit(
        self, appends: Sequence[Appended], deletes: Sequence[tuple[Signal, int]], burials: Sequence[Burial] = ()
    ) -> Commit:
        """Write and forget, in one transaction if it fits; synced when it returns.

        Raises:
            lmdb.Error: the disk failed; what is on it is as it was before.
            QueueError: the file is not the one that the next start will find.
        """
        with self._in_doubt():
            commit = self._commit(appends, deletes, burials)
            self._witness.look()
        return commit

    def _commit(
        self, appends: Sequence[Appended], deletes: Sequence[tuple[Signal, int]], burials: Sequence[Burial]
    ) -> Commit:
        refused: set[int] = set()
        self._env.reader_check()  # another program that was killed while it read would keep every page from now on
        try:
            return Commit(frozenset(), postponed=False, used_bytes=self._write(appends, deletes, burials))
        except lmdb.Error as error:
            if not self._is_full(error):
                raise
        # Deletes first and alone: they free what the appends need.
        try:
            used = self._write((), deletes)
        except lmdb.Error as error:
            if not self._is_full(error):
                raise
            refused = {append.sequence for append in appends}
            return Commit(frozenset(refused), True, self._used_now(), tuple(burials))
        unburied: list[Burial] = []
        bare = [replace(burial, notice=burial.notice.without_words()) for burial in burials]
        used = self._bury_what_fits(bare, unburied, used)
        used = self._append_what_fits(appends, refused, used)
        return Commit(frozenset(refused), False, used, tuple(unburied))

    def read(self, signal: Signal, first: int, max_bytes: int) -> tuple[list[tuple[int, bytes]], bool]:
        """Return records of `signal` from number `first`, up to `max_bytes` but at least one, and if these are all."""
        records: list[tuple[int, bytes]] = []
        size = 0
        with self._in_doubt(), self._env.begin(db=self._trees[signal], buffers=True) as transaction:
            cursor = transaction.cursor()
            dead = self._dead[signal].holder(transaction)
            found = cursor.set_range(key_of(first))
            while found:
                if dead(cursor.key()):
                    found = cursor.next()
                    continue
                length = len(cursor.value())
                if records and size + length > max_bytes:
                    return records, False
                records.append((int.from_bytes(cursor.key(), "big"), bytes(cursor.value())))
                size += length
                found = cursor.next()
        return records, True

    def dead_letters(self, signal: Signal, first: int, limit: int) -> list[DeadLetter]:
        """Return at most `limit` dead letters of `signal` from number `first` on."""
        with self._in_doubt(), self._env.begin(buffers=True) as transaction:
            return self._dead[signal].letters(transaction, first, limit)

    def dead_record(self, signal: Signal, sequence: int) -> bytes | None:
        """Return the record of a dead letter; None where there is no such letter."""
        with self._in_doubt(), self._env.begin(buffers=True) as transaction:
            return self._dead[signal].record(transaction, sequence)

    def close(self) -> None:
        """Close the file and let the directory go. Safe to call twice."""
        self._close_file()
        self._held.leave(well=self._sound)
        self._sound = False

    def _open_file(self) -> Found:
        _reserve_lock_file(self._directory / "lock.mdb")
        self._environment = lmdb.open(
            str(self._directory),
            map_size=self._max_bytes // PAGE * PAGE,
            max_dbs=2 * len(Signal) + 1,
            # What a commit promises: data and head are synced, in this order, before it returns.
            sync=True,
            metasync=True,
            # Written by pwrite: a full disk is an error here, and not a SIGBUS as it is through a map.
            writemap=False,
            # What the page cache let go of comes back ten times faster than page by page, whatever the records' sizes.
            readahead=True,
            mode=0o600,
        )
        self._opened = Witness(self._directory / "data.mdb")
        self._check_format()
        for signal in Signal:
            self._trees[signal] = self._env.open_db(signal.value.encode())
            self._dead[signal] = DeadTree(self._env, signal, self._trees[signal])
        sync_directory(self._directory)
        found = self._look()
        self._keep_reserve(found.used_bytes)
        return found

    def _close_file(self) -> None:
        if self._environment is not None:
            self._environment.close()
            self._environment = None
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @contextmanager
    def _in_doubt(self) -> Iterator[None]:
        """After a failure in here the next start looks at the file before it uses it."""
        try:
            yield
        except Exception:
            self._sound = False
            raise

    @property
    def _witness(self) -> Witness:
        if self._opened is None:
            raise self._not_open()
        return self._opened

    @property
    def _env(self) -> lmdb.Environment:
        if self._environment is None:
            raise self._not_open()
        return self._environment

    def _not_open(self) -> QueueError:
        return QueueError(f"the queue in {self._directory} is not open")

    def _check_format(self) -> None:
        about = self._env.open_db(b"about")
        with self._env.begin(write=True, db=about) as transaction:
            found = transaction.get(b"format")
            if found is None:
                transaction.put(b"format", str(FORMAT).encode())
            else:
                check_format(self._directory, found.decode(errors="replace"))

    def _look(self) -> Found:
        items: dict[Signal, int] = {}
        entries = last = 0
        oldest: dict[Signal, int] = {}
        with self._env.begin(write=True, buffers=True) as transaction:
            dead = {signal: tally for signal, tree in self._dead.items() if (tally := tree.look(transaction)).letters}
            for signal, tree in self._trees.items():
                cursor = transaction.cursor(db=tree)
                is_dead = self._dead[signal].holder(transaction)
                items[signal] = 0
                for key, value in cursor.iternext():
                    if not is_dead(key):
                        item_count, received_ns = peek(value)
                        items[signal] += item_count
                        oldest.setdefault(signal, received_ns)
                        entries += 1
                if cursor.last():
                    last = max(last, int.from_bytes(cursor.key(), "big"))
            used = self._used(transaction)
        return Found(items, oldest, last + 1, used, entries, dead)

    def _keep_reserve(self, used: int) -> None:
        """Make the map larger where `max_bytes` was lowered below what is there: it must not refuse deletes."""
        needed = used + RESERVE_BYTES // 2
        if needed > self._max_bytes:
            self._env.set_mapsize(-(-needed // PAGE) * PAGE)

    def _write(
        self,
        appends: Iterable[Appended],
        deletes: Iterable[tuple[Signal, int]],
        burials: Iterable[Burial] = (),
    ) -> int:
        with self._env.begin(write=True) as transaction:
            with_dead = {signal for signal, dead in self._dead.items() if not dead.empty(transaction)}
            for signal, sequence in deletes:
                transaction.delete(key_of(sequence), db=self._trees[signal])
                if signal in with_dead:
                    self._dead[signal].forget(transaction, sequence)
            for burial in burials:
                self._dead[burial.signal].bury(transaction, burial.sequence, burial.notice, burial.record)
            for append in appends:
                key, tree = key_of(append.sequence), self._trees[append.signal]
                if append.replaces is not None:
                    transaction.delete(key_of(append.replaces), db=tree)
                    self._dead[append.signal].forget(transaction, append.replaces)
                if not transaction.put(key, append.record, append=True, db=tree):
                    raise QueueError(f"record {append.sequence} of {append.signal.value} is not the newest")
            return self._used(transaction)

    def _append_what_fits(self, appends: Sequence[Appended], refused: set[int], used: int) -> int:
        try:
            return self._write(appends, ())
        except lmdb.Error as error:
            if not self._is_full(error):
                raise
        if len(appends) == 1:
            refused.add(appends[0].sequence)
            return used
        middle = len(appends) // 2
        used = self._append_what_fits(appends[:middle], refused, used)
        return self._append_what_fits(appends[middle:], refused, used)

    def _bury_what_fits(self, burials: Sequence[Burial], unburied: list[Burial], used: int) -> int:
        if not burials:
            return used
        try:
            return self._write((), (), burials)
        except lmdb.Error as error:
            if not self._is_full(error):
                raise
        if len(burials) == 1:
            unburied.append(burials[0])
            return used
        middle = len(burials) // 2
        used = self._bury_what_fits(burials[:middle], unburied, used)
        return self._bury_what_fits(burials[middle:], unburied, used)

    def _is_full(self, error: lmdb.Error) -> bool:
        if isinstance(error, lmdb.MapFullError):
            return True
        if error.code not in {*_NO_ROOM, errno.EIO}:
            return False
        # LMDB calls a short write EIO; on a disk without room that is what a full disk looks like.
        if error.code == errno.EIO and self._gives_room():
            return False
        # A write that is refused is a full disk. A sync that fails has lost what was written, whatever it says.
        return not self._witness.lost_a_write()

    def _gives_room(self) -> bool:
        """Whether the file could grow: the disk has room, and no quota and no limit on a file's size ends before it."""
        free = os.statvfs(self._directory)
        if free.f_bavail * free.f_frsize < RESERVE_BYTES:
            return False
        try:
            with TemporaryFile(dir=self._directory) as trial:
                os.posix_fallocate(trial.fileno(), (self._directory / "data.mdb").stat().st_size, RESERVE_BYTES)
        except OSError as error:
            return error.errno not in _NO_ROOM
        return True

    def _used_now(self) -> int:
        with self._env.begin() as transaction:
            return self._used(transaction)

    def _used(self, transaction: lmdb.Transaction) -> int:
        stats = [transaction.stat(tree) for tree in self._trees.values()]
        stats += [transaction.stat(dead.notices) for dead in self._dead.values()]
        return sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats) * PAGE


def _reserve_lock_file(path: Path) -> None:
    """Have LMDB's lock file lie on the disk: it is written through a map, and on a full disk that is a SIGBUS."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)
