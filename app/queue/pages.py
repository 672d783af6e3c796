"""LMDB's file, read page by page without LMDB, so that nothing in it can end the process that reads.

Invariants, each with a test of its name:

- A file that LMDB wrote has no faults.
- Whatever the bytes are, reading them ends, and raises nothing; what the disk cannot read is a fault, too.
- What a page says is believed only within that page; a page that is not what its place says is a fault.

The format is that of LMDB 0.9 on a 64-bit machine, in its byte order. A file is made of pages. The first two are heads;
the one with the higher transaction number is in force. It names the roots of two trees: of the pages that are free, and
of the names of the other trees. A node of a leaf has its value beside its key, or in pages of its own (an overflow).
"""

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["BRANCH", "LEAF", "OVERFLOW", "PAGE", "PAGE_HEADER", "STAMP_BYTES", "Head", "Node", "Pages", "Tree", "Walk"]

PAGE = min(mmap.PAGESIZE, 32768)  # LMDB's own choice
PAGE_HEADER = 16
BRANCH, LEAF, OVERFLOW, HEAD = 1, 2, 4, 8

_KINDS = 0x0F | 0x20 | 0x40  # a page is of one of them
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_NOWHERE = 2**64 - 1
_DEEPEST = 32  # of LMDB's cursors
_BIG, _TREE = 1, 2  # what a node's value is: the number of an overflow, or a tree
_HEADER = struct.Struct("=QHHHH")
_OVERFLOW_PAGES = struct.Struct("=I")
_NODE = struct.Struct("=HHHH")
_NUMBER = struct.Struct("=Q")
_TREE_FIELDS = struct.Struct("=IHHQQQQQ")
_STAMP = struct.Struct("=II")
_LAST = struct.Struct("=QQ")
STAMP_BYTES = PAGE_HEADER + _STAMP.size
"""How much of a head never changes."""
_TREES_AT = PAGE_HEADER + 24
_LAST_AT = _TREES_AT + 2 * _TREE_FIELDS.size
_HEAD_BYTES = _LAST_AT + _LAST.size


@dataclass(frozen=True, slots=True)
class Tree:
    """Where a tree begins, and how much is in it."""

    root: int | None
    depth: int
    entries: int


@dataclass(frozen=True, slots=True)
class Head:
    """A state of the file."""

    transaction: int
    last_page: int
    free: Tree
    names: Tree


@dataclass(frozen=True, slots=True)
class Node:
    """A key, and where in the file its value is: `length` bytes from `offset` on."""

    key: bytes
    offset: int
    length: int
    tree: Tree | None = None
    overflow: int | None = None
    """The first of the pages that the value has for itself."""


class Pages:
    """The pages of the file at `path`, from entering to leaving."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self.count = 0
        """Pages, of which the last may be cut off."""

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size
        self.count = -(-self.size // PAGE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Return what is there: less than `length` bytes if the file ends, or the disk cannot read a page, before."""
        parts = []
        at_once = True
        while length > 0 and offset < self.size:
            try:
                part = os.pread(self._descriptor, length if at_once else min(length, PAGE - offset % PAGE), offset)
            except OSError:
                if not at_once:
                    break
                at_once = False
                continue
            if not part:
                break  # it was cut meanwhile
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def page(self, number: int) -> bytes:
        """Return a page; shorter than one, or empty, where the file ends."""
        return self.read(number * PAGE, PAGE)

    def heads(self) -> list[Head | None]:
        """Return both heads, None for one that is none."""
        return [_head(self.read(number * PAGE, _HEAD_BYTES)) for number in range(2)]

    def kind(self, number: int, page: bytes) -> int:
        """Return `BRANCH`, `LEAF` or `OVERFLOW`; 0 for what is no page with this number."""
        if len(page) < PAGE:
            return 0
        own, _, flags, _, _ = _HEADER.unpack_from(page)
        kind = flags & _KINDS
        return kind if own == number and kind in {BRANCH, LEAF, OVERFLOW} else 0

    def run(self, number: int) -> int:
        """Return how many pages the overflow at page `number` says to have; 0 where there is none or the file ends."""
        header = self.read(number * PAGE, PAGE_HEADER)
        if len(header) < PAGE_HEADER:
            return 0
        own, _, flags, _, _ = _HEADER.unpack(header)
        (pages,) = _OVERFLOW_PAGES.unpack_from(header, 12)
        return pages if own == number and flags & _KINDS == OVERFLOW and number + pages <= self.count else 0

    def nodes(self, number: int, page: bytes) -> Iterator[Node | None]:
        """The nodes of leaf page `number` in their order; None for each that does not lie in its page."""
        for at in _slots(page):
            yield _leaf_node(number, page, at)

    def children(self, page: bytes) -> Iterator[int | None]:
        """The pages under a branch page in their order; None for each that cannot be read."""
        for at in _slots(page):
            if at is None or at + _NODE.size > PAGE:
                yield None
            else:
                low, middle, high, _ = _NODE.unpack_from(page, at)
                yield low | middle << 16 | high << 32


class Walk:
    """Goes through trees from their roots; `faults` says what is not as it should be."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self.faults: list[str] = []
        self.reached = bytearray(pages.count)
        """1 for each page that was met."""
        self.free = bytearray(pages.count)
        """1 for each page that the file says is free."""

    def leaves(self, tree: Tree, name: str, *, ordered: bool = True) -> Iterator[Node]:
        """The nodes of `tree` that can be read, in order; `ordered` if that is the order of the bytes of their keys."""
        entries = 0
        last: bytes | None = None
        if tree.root is not None:
            for node in self._below(tree.root, 1, tree.depth, name):
                entries += 1
                if ordered and last is not None and node.key <= last:
                    self._fault(f"{name}: keys are not in order")
                last = node.key
                yield node
        if entries != tree.entries:
            self._fault(f"{name}: {entries} of {tree.entries} entries can be read")

    def read_through(self, tree: Tree, name: str) -> None:
        """Walk through `tree`, and read its values, which are not looked at."""
        for node in self.leaves(tree, name):
            if len(self._pages.read(node.offset, node.length)) < node.length:
                self._fault(f"{name}: pages from {node.overflow} on cannot be read")

    def look_at_free_pages(self, tree: Tree) -> None:
        """Fill in `free`."""
        for node in self.leaves(tree, "free pages", ordered=False):
            numbers = self._pages.read(node.offset, node.length)
            count = _NUMBER.unpack_from(numbers)[0] if len(numbers) >= _NUMBER.size else -1
            if (count + 1) * _NUMBER.size > len(numbers) or count < 0:
                self._fault("free pages: a list of them is cut off")
                continue
            for (number,) in _NUMBER.iter_unpack(numbers[_NUMBER.size : (count + 1) * _NUMBER.size]):
                if number < 2:
                    self._fault(f"free pages: page {number} cannot be free")
                elif number < len(self.free):
                    self.free[number] = 1

    def check_use(self, last_page: int) -> None:
        """See that what was met is not free, and not behind the last page: the next commits would write over it."""
        both = sum(map(int.__and__, self.reached, self.free))
        if both:
            self._fault(f"{both} pages are in use and free at once")
        if any(self.reached[last_page + 1 :]):
            self._fault(f"pages behind the last one, {last_page}, are in use")

    def _below(self, number: int, depth: int, deepest: int, name: str) -> Iterator[Node]:
        page = self._pages.page(number)
        kind = self._pages.kind(number, page)
        if depth > min(deepest, _DEEPEST) or kind != (LEAF if depth == deepest else BRANCH):
            self._fault(f"{name}: page {number} is none of its own")
        elif self._meet(number, 1, name):
            if kind == LEAF:
                yield from self._in_leaf(number, page, name)
                return
            for child in self._pages.children(page):
                if child is None:
                    self._fault(f"{name}: page {number} is broken")
                else:
                    yield from self._below(child, depth + 1, deepest, name)

    def _in_leaf(self, number: int, page: bytes, name: str) -> Iterator[Node]:
        for node in self._pages.nodes(number, page):
            if node is None:
                self._fault(f"{name}: page {number} is broken")
            elif node.overflow is None:
                yield node
            else:
                run = self._pages.run(node.overflow)
                if run * PAGE < node.length + PAGE_HEADER or node.offset + node.length > self._pages.size:
                    self._fault(f"{name}: pages from {node.overflow} on are not those of their record")
                elif self._meet(node.overflow, run, name):
                    yield node

    def _meet(self, number: int, run: int, name: str) -> bool:
        met = self.reached[number : number + run]
        if number < 2 or any(met):
            self._fault(f"{name}: page {number} belongs to two")
            return False
        self.reached[number : number + run] = b"\1" * run
        return True

    def _fault(self, text: str) -> None:
        self.faults.append(text)


def _head(page: bytes) -> Head | None:
    if len(page) < _HEAD_BYTES:
        return None
    _, _, flags, _, _ = _HEADER.unpack_from(page)
    magic, version = _STAMP.unpack_from(page, PAGE_HEADER)
    (page_size, *_) = _TREE_FIELDS.unpack_from(page, _TREES_AT)
    if flags & _KINDS != HEAD or magic != _MAGIC or version != _VERSION or page_size != PAGE:
        return None
    last_page, transaction = _LAST.unpack_from(page, _LAST_AT)
    free, names = (_tree(page, _TREES_AT + number * _TREE_FIELDS.size) for number in range(2))
    return Head(transaction, last_page, free, names)


def _tree(page: bytes, at: int) -> Tree:
    _, _, depth, _, _, _, entries, root = _TREE_FIELDS.unpack_from(page, at)
    return Tree(None if root == _NOWHERE else root, depth, entries)


def _slots(page: bytes) -> Iterator[int | None]:
    """Where the nodes of a page begin, in the order of their keys; None for what is outside of it."""
    _, _, _, lower, upper = _HEADER.unpack_from(page)
    if not PAGE_HEADER <= lower <= upper <= PAGE or lower % 2:
        yield None
        return
    for (at,) in struct.iter_unpack("=H", page[PAGE_HEADER:lower]):
        yield at if upper <= at <= PAGE - _NODE.size else None


def _leaf_node(number: int, page: bytes, at: int | None) -> Node | None:
    if at is None:
        return None
    low, high, flags, key_bytes = _NODE.unpack_from(page, at)
    length = low | high << 16
    begins = at + _NODE.size + key_bytes
    here = _NUMBER.size if flags & _BIG else length
    if begins + here > PAGE:
        return None
    key = page[at + _NODE.size : begins]
    if flags & _BIG:
        (overflow,) = _NUMBER.unpack_from(page, begins)
        return Node(key, overflow * PAGE + PAGE_HEADER, length, overflow=overflow)
    tree = _tree(page, begins) if flags & _TREE and length == _TREE_FIELDS.size else None
    return Node(key, number * PAGE + begins, length, tree)
