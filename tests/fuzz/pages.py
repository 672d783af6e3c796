"""Any file is read to its end without LMDB, and what is found in it with a right checksum was written so.

The bytes are a file, or, where the first is odd, changes to a queue's: where (two bytes count the file's structure, not
its contents), how many bytes, and these.
"""

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import lmdb

from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.check import newest
from app.queue.letters import Notice
from app.queue.pages import BRANCH, LEAF, PAGE, PAGE_HEADER, Node, Pages, Walk
from app.queue.record import DamagedRecord, pack, unpack
from app.queue.salvage import salvage
from app.queue.store import Appended, Burial

LENGTHS = (1, 60, 700, 1990, 3000, 9000)


def made() -> tuple[bytes, set[bytes]]:
    """A queue's file, and the bodies that were ever written to it."""
    bodies = {n: bytes([n]) * LENGTHS[n % len(LENGTHS)] for n in range(1, 37)}
    signals = list(Signal)
    with tempfile.TemporaryDirectory() as directory:
        store = LmdbStore(Path(directory), 64 << 20)
        store.open()
        for first in range(1, 37, 12):
            group = [(signals[n % 3], n) for n in range(first, first + 12)]
            gone = [(signals[n % 3], n) for n in range(max(1, first - 12), first) if n % 2]
            dead = (
                [Burial(signal, n, Notice(n, "invalid", "no")) for signal, n in group if n % 4 == 0]
                if first > 1
                else []
            )
            store.commit([Appended(each, n, pack(each, bodies[n], 1, n)) for each, n in group], gone)
            store.commit([], [], dead)
        store.close()
        return (Path(directory) / "data.mdb").read_bytes(), set(bodies.values())


def structure(file: bytes) -> list[int]:
    """Where the bytes are that lead to others: heads, page headers, slots, and the nodes but for what they hold."""
    places = [*range(200), *range(PAGE, PAGE + 200)]
    for at in range(2 * PAGE, len(file), PAGE):
        kind, lower = struct.unpack_from("=HH", file, at + 10)
        places += range(at, at + PAGE_HEADER)
        if kind in {BRANCH, LEAF}:
            places += range(at + PAGE_HEADER, at + lower)
            for (slot,) in struct.iter_unpack("=H", file[at + PAGE_HEADER : at + lower]):
                places += range(at + slot, at + min(slot + 24, PAGE))
    return places


WHOLE, WRITTEN = made()
STRUCTURE = structure(WHOLE)


def check(data: bytes) -> None:
    file = changed(data[1:]) if data[:1] and data[0] & 1 else data
    descriptor = os.memfd_create("queue")
    try:
        os.write(descriptor, file)
        look(Path(f"/proc/self/fd/{descriptor}"), whole=file == WHOLE)
    finally:
        os.close(descriptor)


def changed(changes: bytes) -> bytes:
    file = bytearray(WHOLE)
    while len(changes) > 3:
        at, count = STRUCTURE[int.from_bytes(changes[:2], "big") % len(STRUCTURE)], 1 + changes[2] % 16
        some = changes[3 : 3 + count]
        file[at : at + len(some)] = some
        changes = changes[3 + count :]
    return bytes(file[: len(WHOLE)])


def look(path: Path, *, whole: bool) -> None:
    with Pages(path) as pages:
        head = newest(pages.heads())
        walk = Walk(pages)
        nodes: list[Node] = []
        if head is not None:
            walk.look_at_free_pages(head.free)
            for named in walk.leaves(head.names, "names"):
                if named.tree is not None:
                    nodes += walk.leaves(named.tree, "tree")
            Walk(pages).read_through(head.names, "names")
            walk.check_use(head.last_page)
        assert not (whole and walk.faults), walk.faults
        overflows = [node.overflow for node in nodes if node.overflow is not None]
        assert len(set(overflows)) == len(overflows), "the same was read twice"
        for node in nodes:
            end = node.offset + node.length
            assert end <= node.offset - node.offset % PAGE + PAGE or node.overflow is not None, "a node leaves its page"
            assert end <= pages.size, "a node leaves the file"
        assert len(walk.reached) == len(walk.free) == pages.count, "pages were met that are not there"
        with tempfile.TemporaryDirectory() as directory:
            fresh = Path(directory) / "data.mdb"
            salvage(pages, fresh)
            for signal, raw in records_in(fresh):
                try:
                    record = unpack(signal, memoryview(raw))
                except DamagedRecord:
                    continue
                assert record.body in WRITTEN, "found what was never written"


def records_in(path: Path) -> Iterator[tuple[Signal, bytes]]:
    environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=len(Signal))
    with closing(environment), environment.begin() as transaction:
        for signal in Signal:
            tree = environment.open_db(signal.value.encode(), transaction, create=False)
            for _, raw in transaction.cursor(db=tree):
                yield signal, raw
