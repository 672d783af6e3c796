"""What a damaged file still holds, and how it comes into a new one.

Invariants, each with a test of its name:

- A record that the trees lead to is found, whatever is wrong elsewhere.
- Where a tree is broken, its records are also found by themselves, in pages that nothing leads to any more.
- What is found so was written as it is: its CRC matches. Free pages are left alone where it is known which they are.
- A record keeps its number and stays a dead letter; only one whose number is lost gets a new one.
- What is found goes into the new file at once: what is remembered grows with the file's pages, not with its records.
"""

import json
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import lmdb

from app.core.request import Signal
from app.queue.check import newest
from app.queue.dead_tree import key_of
from app.queue.pages import LEAF, PAGE, PAGE_HEADER, Node, Pages, Tree, Walk
from app.queue.record import HEADER_BYTES, length_in, peek, signal_of, unpack

__all__ = ["Finds", "format_of", "salvage"]

_BATCH_BYTES = 8 << 20
_SLACK_BYTES = 64 << 20
_KEY_BYTES = 8
_NAMELESS = struct.Struct(">QQ")  # when it was received, and where it is; so they are in the order in which they came
_NAMELESS_LENGTH = struct.Struct(">Q")


@dataclass(slots=True)
class Finds:
    """What was found, and what was not."""

    count: int = 0
    """How many records were found."""
    known: dict[Signal, int] = field(default_factory=dict)
    """How many records the file says to have, of each signal for which that can be read."""
    stale: bool = False
    """Whether records may be among them that were delivered already: it cannot be told which pages are free."""

    @property
    def lost(self) -> int | None:
        """How many records were not; None where that cannot be known."""
        if len(self.known) < len(Signal):
            return None
        return max(0, sum(self.known.values()) - self.count)


def format_of(pages: Pages) -> str | None:
    """Return the format that the file says to have, if it can be read."""
    head, walk = newest(pages.heads()), Walk(pages)
    for named in () if head is None else walk.leaves(head.names, "names"):
        if named.key == b"about" and named.tree is not None:
            for node in walk.leaves(named.tree, "about"):
                if node.key == b"format":
                    return pages.read(node.offset, node.length).decode(errors="replace")
    return None


def salvage(pages: Pages, path: Path) -> Finds:
    """Make a new file at `path` of what can be read; it is on the disk when this returns.

    Raises:
        lmdb.Error: there is no room for it, or the disk failed.
    """
    environment = lmdb.open(
        str(path),
        subdir=False,
        lock=False,
        map_size=(3 * pages.size + _SLACK_BYTES) // PAGE * PAGE,
        max_dbs=2 * len(Signal) + 2,
        sync=False,  # once, at the end
        mode=0o600,
    )
    with closing(environment):
        fresh = _Fresh(environment)
        finds = _Search(pages, fresh).finds
        fresh.commit()
        environment.sync(True)
    return finds


class _Fresh:
    """The new file, written in pieces so that none of them needs much memory."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self.records = {signal: environment.open_db(signal.value.encode()) for signal in Signal}
        self.notices = {signal: environment.open_db(f"dead-{signal.value}".encode()) for signal in Signal}
        self.loose = environment.open_db(b"loose")
        """Notices that no tree leads to; that of which signal, their number tells. For the time of the search."""
        self.nameless = environment.open_db(b"nameless")
        """Where records are whose number is lost, by when they were received. For the time of the search."""
        self._environment = environment
        self._transaction = environment.begin(write=True)
        self._size = 0

    def put(self, tree: lmdb._Database, key: bytes, value: bytes) -> None:
        """Write a value in the place of what may be there."""
        # In order, as most of it comes, pages are filled; in any other they would be split in halves.
        if not self._transaction.put(key, value, append=True, db=tree):
            self._transaction.put(key, value, db=tree)
        self._size += len(value) + len(key)
        if self._size >= _BATCH_BYTES:
            self.commit()

    def length(self, tree: lmdb._Database, key: bytes) -> int | None:
        """Return how long the value of `key` is; None where there is none."""
        cursor = self._transaction.cursor(db=tree)
        return len(cursor.value()) if cursor.set_key(key) else None

    def items(self, tree: lmdb._Database) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order; others may be put meanwhile, in other trees."""
        cursor = self._transaction.cursor(db=tree)
        found = cursor.first()
        while found:
            key, value = cursor.item()
            yield key, value
            cursor = self._transaction.cursor(db=tree)  # the transaction may be another one
            found = cursor.set_range(key) and cursor.next()

    def count(self, tree: lmdb._Database) -> int:
        """Return how many keys there are."""
        return int(self._transaction.stat(tree)["entries"])

    def highest(self, trees: Iterable[lmdb._Database]) -> int:
        """Return the highest number in trees of records or notices; 0 where there is none."""
        cursors = [self._transaction.cursor(db=tree) for tree in trees]
        return max((int.from_bytes(cursor.key(), "big") for cursor in cursors if cursor.last()), default=0)

    def drop(self, tree: lmdb._Database) -> None:
        """Take a tree out of the file."""
        self._transaction.drop(tree)

    def commit(self) -> None:
        """Hand what was put over to the file."""
        self._transaction.commit()
        self._transaction = self._environment.begin(write=True)
        self._size = 0


class _Search:
    """First along the trees, then, for signals whose tree is broken, through all pages that nothing leads to."""

    def __init__(self, pages: Pages, fresh: _Fresh) -> None:
        self.finds = Finds()
        self._pages = pages
        self._fresh = fresh
        self._walk = Walk(pages)
        self._broken = set(Signal)
        heads = pages.heads()
        head = newest(heads)
        self._certain = None not in heads
        """Whether the head that was read is that of the last commit, so that what it calls free is."""
        self._free = bytearray(pages.count)
        if head is not None:
            self._walk.look_at_free_pages(head.free)
            self._free = self._walk.free
            self._along(head.names)
        self._highest = fresh.highest(fresh.records.values())
        if self._broken:
            self.finds.stale = not self._certain or any(text.startswith("free") for text in self._walk.faults)
            self._through_leaves()
            self._through_overflows()
            self._name_the_nameless()
        for tree in (fresh.loose, fresh.nameless):
            fresh.drop(tree)
        self.finds.count = sum(map(fresh.count, fresh.records.values()))

    def _along(self, names: Tree) -> None:
        finds, walk, fresh = self.finds, self._walk, self._fresh
        trees = {named.key.decode(errors="replace"): named.tree for named in walk.leaves(names, "names") if named.tree}
        names_are_whole = not any(fault.startswith("names") for fault in walk.faults)
        if "about" in trees:
            for _ in walk.leaves(trees["about"], "about"):
                pass  # its pages are met
        for signal in Signal:
            before = len(walk.faults)
            tree, dead = trees.get(signal.value), trees.get(f"dead-{signal.value}")
            if tree is not None:
                finds.known[signal] = tree.entries
                self._take(signal, walk.leaves(tree, signal.value))
            if dead is not None:
                for node in walk.leaves(dead, f"dead-{signal.value}"):
                    if len(node.key) == _KEY_BYTES:
                        fresh.put(fresh.notices[signal], node.key, self._pages.read(node.offset, node.length))
            found_all = tree is not None and names_are_whole and len(walk.faults) == before
            if found_all and self._certain:
                self._broken.discard(signal)

    def _take(self, signal: Signal, nodes: Iterator[Node]) -> None:
        for node in nodes:
            # If its body is damaged, its CRC will tell when its turn comes, and its items are counted as dropped.
            if len(node.key) == _KEY_BYTES and signal_of(self._pages.read(node.offset, HEADER_BYTES)) is signal:
                raw = self._pages.read(node.offset, node.length)
                self._fresh.put(self._fresh.records[signal], node.key, raw)

    def _through_leaves(self) -> None:
        pages = self._pages
        for _, page_number in sorted(self._loose_leaves()):
            for node in pages.nodes(page_number, pages.page(page_number)):
                if node is not None and node.tree is None and len(node.key) == _KEY_BYTES:
                    self._consider(node, was_free=bool(self._free[page_number]))
        fresh = self._fresh
        for key, notice in fresh.items(fresh.loose):
            for signal in self._broken:
                is_a_record = fresh.length(fresh.records[signal], key) is not None
                if is_a_record and fresh.length(fresh.notices[signal], key) is None:
                    fresh.put(fresh.notices[signal], key, notice)

    def _loose_leaves(self) -> Iterator[tuple[bytes, int]]:
        """Each leaf that nothing leads to, behind its first key: put in order, they fill the new file's pages."""
        pages = self._pages
        for page_number in range(2, pages.count):
            if self._left_alone(page_number):
                continue
            page = pages.page(page_number)
            if pages.kind(page_number, page) == LEAF:
                yield next((node.key for node in pages.nodes(page_number, page) if node is not None), b""), page_number

    def _consider(self, node: Node, *, was_free: bool) -> None:
        fresh = self._fresh
        raw = self._pages.read(node.offset, node.length)
        signal = signal_of(raw)
        if signal is None:
            if _is_notice(raw):
                fresh.put(fresh.loose, node.key, raw)
            return
        if was_free and int.from_bytes(node.key, "big") <= self._highest:
            return  # it was free before the last commit, and the records which that brought have higher numbers
        known = fresh.length(fresh.records[signal], node.key)
        with suppress(ValueError):
            unpack(signal, memoryview(raw))
            # Of a record and what was left of it after a part was delivered, the latter.
            if signal in self._broken and (known is None or len(raw) < known):
                fresh.put(fresh.records[signal], node.key, raw)
            if node.overflow is not None:
                run = self._pages.run(node.overflow)
                self._walk.reached[node.overflow : node.overflow + run] = b"\1" * run

    def _through_overflows(self) -> None:
        pages = self._pages
        number = 2
        while number < pages.count:
            run = 0 if self._left_alone(number) or self._free[number] else pages.run(number)
            if run:
                self._measure(number, run)
            number += max(1, run)

    def _measure(self, number: int, run: int) -> None:
        start, pages = number * PAGE + PAGE_HEADER, self._pages
        signal = signal_of(pages.read(start, HEADER_BYTES))
        if signal not in self._broken:
            return
        room = run * PAGE - PAGE_HEADER
        raw = pages.read(start, room)
        length = length_in(raw, room - PAGE + 1)
        if length is not None:
            key = _NAMELESS.pack(peek(memoryview(raw))[1], start)
            self._fresh.put(self._fresh.nameless, key, _NAMELESS_LENGTH.pack(length))

    def _name_the_nameless(self) -> None:
        fresh = self._fresh
        following = fresh.highest([*fresh.records.values(), *fresh.notices.values()]) + 1
        for number, (key, value) in enumerate(fresh.items(fresh.nameless), following):
            raw = self._pages.read(_NAMELESS.unpack(key)[1], _NAMELESS_LENGTH.unpack(value)[0])
            signal = signal_of(raw)
            if signal is not None:  # it was one when it was found
                fresh.put(fresh.records[signal], key_of(number), raw)

    def _left_alone(self, number: int) -> bool:
        return bool(self._walk.reached[number] or (self._certain and self._free[number]))


def _is_notice(raw: bytes) -> bool:
    try:
        said = json.loads(raw)
    except ValueError:
        return False
    return isinstance(said, dict) and said.keys() >= {"refused_ns", "reason", "message"}
