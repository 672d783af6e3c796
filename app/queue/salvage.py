"""What a damaged file still holds, and how it comes into a new one.

Invariants, each with a test of its name:

- A record that the trees lead to is found, whatever is wrong elsewhere.
- Where a tree is broken, its records are also found by themselves, in pages that nothing leads to any more.
- What is found so was written as it is: its CRC matches. Free pages are left alone where it is known which they are.
- A record keeps its number and stays a dead letter; only one whose number is lost gets a new one.
"""

import json
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

__all__ = ["Finds", "Place", "search", "write"]

_BATCH_BYTES = 8 << 20
_SLACK_BYTES = 64 << 20
_KEY_BYTES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the file something is."""

    offset: int
    length: int


@dataclass(slots=True)
class Finds:
    """What was found, by signal and sequence number."""

    records: dict[Signal, dict[int, Place]] = field(default_factory=lambda: {signal: {} for signal in Signal})
    notices: dict[Signal, dict[int, Place]] = field(default_factory=lambda: {signal: {} for signal in Signal})
    """Those of dead letters."""
    nameless: list[tuple[int, Signal, Place]] = field(default_factory=list)
    """Records whose number is lost, with when they were received."""
    format: str | None = None
    """What the file says of itself, if it can be read."""
    known: dict[Signal, int] = field(default_factory=dict)
    """How many records the file says to have, of each signal for which that can be read."""
    stale: bool = False
    """Whether records may be among them that were delivered already: it cannot be told which pages are free."""

    @property
    def count(self) -> int:
        """How many records were found."""
        return sum(map(len, self.records.values())) + len(self.nameless)

    @property
    def lost(self) -> int | None:
        """How many records were not; None where that cannot be known."""
        if len(self.known) < len(Signal):
            return None
        return max(0, sum(self.known.values()) - self.count)


def search(pages: Pages) -> Finds:
    """Find what can be read."""
    return _Search(pages).finds


def write(pages: Pages, finds: Finds, path: Path) -> None:
    """Make a new file at `path` of what was found; it is on the disk when this returns.

    Raises:
        lmdb.Error: there is no room for it, or the disk failed.
    """
    environment = lmdb.open(
        str(path),
        subdir=False,
        lock=False,
        map_size=(2 * pages.size + _SLACK_BYTES) // PAGE * PAGE,
        max_dbs=2 * len(Signal),
        sync=False,  # once, at the end
        mode=0o600,
    )
    with closing(environment):
        trees = {signal: environment.open_db(signal.value.encode()) for signal in Signal}
        dead = {signal: environment.open_db(f"dead-{signal.value}".encode()) for signal in Signal}
        numbers = [number for found in (finds.records, finds.notices) for tree in found.values() for number in tree]
        following = max(numbers, default=0)
        for signal in Signal:
            _copy(pages, environment, trees[signal], sorted(finds.records[signal].items()))
            _copy(pages, environment, dead[signal], sorted(finds.notices[signal].items()))
        for number, (_, signal, place) in enumerate(sorted(finds.nameless, key=lambda one: one[0]), following + 1):
            _copy(pages, environment, trees[signal], [(number, place)])
        environment.sync(True)


def _copy(
    pages: Pages, environment: lmdb.Environment, tree: lmdb._Database, places: Iterable[tuple[int, Place]]
) -> None:
    left = iter(places)
    ended = False
    while not ended:
        ended = True
        size = 0
        with environment.begin(write=True, db=tree) as transaction:
            for number, place in left:
                transaction.put(key_of(number), pages.read(place.offset, place.length), append=True)
                size += place.length
                if size >= _BATCH_BYTES:
                    ended = False
                    break


class _Search:
    """First along the trees, then, for signals whose tree is broken, through all pages that nothing leads to."""

    def __init__(self, pages: Pages) -> None:
        self.finds = Finds()
        self._pages = pages
        self._walk = Walk(pages)
        self._broken = set(Signal)
        self._loose: dict[int, Place] = {}
        """Notices that no tree leads to; that of which signal, their number tells."""
        heads = pages.heads()
        head = newest(heads)
        self._certain = None not in heads
        """Whether the head that was read is that of the last commit, so that what it calls free is."""
        self._free = bytearray(pages.count)
        if head is not None:
            self._walk.look_at_free_pages(head.free)
            self._free = self._walk.free
            self._along(head.names)
        self._highest = max((number for tree in self.finds.records.values() for number in tree), default=0)
        if self._broken:
            self.finds.stale = not self._certain or any(text.startswith("free") for text in self._walk.faults)
            self._through_leaves()
            self._through_overflows()

    def _along(self, names: Tree) -> None:
        finds, walk = self.finds, self._walk
        trees = {named.key.decode(errors="replace"): named.tree for named in walk.leaves(names, "names") if named.tree}
        names_are_whole = not any(fault.startswith("names") for fault in walk.faults)
        if "about" in trees:
            for node in walk.leaves(trees["about"], "about"):
                if node.key == b"format":
                    finds.format = self._pages.read(node.offset, node.length).decode(errors="replace")
        for signal in Signal:
            before = len(walk.faults)
            tree, dead = trees.get(signal.value), trees.get(f"dead-{signal.value}")
            if tree is not None:
                finds.known[signal] = tree.entries
                self._take(signal, walk.leaves(tree, signal.value))
            if dead is not None:
                for node in walk.leaves(dead, f"dead-{signal.value}"):
                    if len(node.key) == _KEY_BYTES:
                        finds.notices[signal][_number(node)] = Place(node.offset, node.length)
            found_all = tree is not None and names_are_whole and len(walk.faults) == before
            if found_all and self._certain:
                self._broken.discard(signal)

    def _take(self, signal: Signal, nodes: Iterator[Node]) -> None:
        for node in nodes:
            # If its body is damaged, its CRC will tell when its turn comes, and its items are counted as dropped.
            if len(node.key) == _KEY_BYTES and signal_of(self._pages.read(node.offset, HEADER_BYTES)) is signal:
                self.finds.records[signal][_number(node)] = Place(node.offset, node.length)

    def _through_leaves(self) -> None:
        pages = self._pages
        for page_number in range(2, pages.count):
            if self._left_alone(page_number):
                continue
            page = pages.page(page_number)
            if pages.kind(page_number, page) != LEAF:
                continue
            for node in pages.nodes(page_number, page):
                if node is not None and node.tree is None and len(node.key) == _KEY_BYTES:
                    self._consider(node, was_free=bool(self._free[page_number]))
        for signal in self._broken:
            finds = self.finds
            for number in self._loose.keys() & finds.records[signal].keys() - finds.notices[signal].keys():
                finds.notices[signal][number] = self._loose[number]

    def _consider(self, node: Node, *, was_free: bool) -> None:
        number = _number(node)
        place = Place(node.offset, node.length)
        raw = self._pages.read(node.offset, node.length)
        signal = signal_of(raw)
        if signal is None:
            if _is_notice(raw):
                self._loose[number] = place
            return
        if was_free and number <= self._highest:
            return  # it was free before the last commit, and the records which that brought have higher numbers
        known = self.finds.records[signal].get(number)
        with suppress(ValueError):
            unpack(signal, memoryview(raw))
            # Of a record and what was left of it after a part was delivered, the latter.
            if signal in self._broken and (known is None or place.length < known.length):
                self.finds.records[signal][number] = place
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
            self.finds.nameless.append((peek(memoryview(raw))[1], signal, Place(start, length)))

    def _left_alone(self, number: int) -> bool:
        return bool(self._walk.reached[number] or (self._certain and self._free[number]))


def _number(node: Node) -> int:
    return int.from_bytes(node.key, "big")


def _is_notice(raw: bytes) -> bool:
    try:
        said = json.loads(raw)
    except ValueError:
        return False
    return isinstance(said, dict) and said.keys() >= {"refused_ns", "reason", "message"}
