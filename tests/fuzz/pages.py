"""Any file is read to its end without LMDB, and what is found in it with a right checksum was written so.

The bytes are a file, or, where the first is odd, changes to a queue's: page, offset, how many bytes, and these.
"""

import os
import tempfile
from pathlib import Path

from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.check import newest
from app.queue.letters import Notice
from app.queue.pages import PAGE, Pages, Walk
from app.queue.record import DamagedRecord, pack, unpack
from app.queue.salvage import search
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


WHOLE, WRITTEN = made()


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
    while len(changes) > 4:
        page, count = changes[0] % (len(WHOLE) // PAGE), changes[3] % 32
        at = page * PAGE + int.from_bytes(changes[1:3], "big") % PAGE
        file[at : at + count] = changes[4 : 4 + count].ljust(count, b"\0")
        changes = changes[4 + count :]
    return bytes(file[: len(WHOLE)])


def look(path: Path, *, whole: bool) -> None:
    with Pages(path) as pages:
        head = newest(pages.heads())
        walk = Walk(pages)
        if head is not None:
            walk.look_at_free_pages(head.free)
            for named in walk.leaves(head.names, "names"):
                if named.tree is not None:
                    walk.read_through(named.tree, "tree")
            walk.check_use(head.last_page)
        assert not (whole and walk.faults), walk.faults
        finds = search(pages)
        places = [(signal, place) for signal in Signal for place in finds.records[signal].values()]
        for signal, place in [*places, *((signal, place) for _, signal, place in finds.nameless)]:
            assert 0 <= place.offset <= place.offset + place.length <= pages.size, "found outside of the file"
            try:
                record = unpack(signal, memoryview(pages.read(place.offset, place.length)))
            except DamagedRecord:
                continue
            assert record.body in WRITTEN, "found what was never written"
