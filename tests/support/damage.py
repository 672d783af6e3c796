"""Damage to a queue's file: what bad disks, bad backups and bad commands do to it."""

import os
import random
from pathlib import Path

from app.core.request import Signal
from app.queue.check import newest
from app.queue.pages import BRANCH, LEAF, OVERFLOW, PAGE, Pages, Tree, Walk

__all__ = ["cut", "flip", "overwrite", "pages_of", "places", "scribble", "set_aside", "zero"]


def set_aside(directory: Path) -> list[Path]:
    """The damaged files that were kept."""
    return sorted(directory.glob("data.mdb.damaged-*"))


def overwrite(directory: Path, offset: int, data: bytes) -> None:
    """Write over a part of the file."""
    descriptor = os.open(directory / "data.mdb", os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, offset)
    finally:
        os.close(descriptor)


def zero(directory: Path, *pages: int) -> None:
    """Fill pages with zeros, as a disk does that lost them."""
    for page in pages:
        overwrite(directory, page * PAGE, bytes(PAGE))


def scribble(directory: Path, *pages: int, seed: int = 1) -> None:
    """Fill pages with something else."""
    for page in pages:
        overwrite(directory, page * PAGE, random.Random(seed + page).randbytes(PAGE))


def flip(directory: Path, offset: int) -> None:
    """Change a bit of the byte at `offset`."""
    (byte,) = (directory / "data.mdb").read_bytes()[offset : offset + 1]
    overwrite(directory, offset, bytes([byte ^ 1]))


def cut(directory: Path, size: int) -> None:
    """Cut the file to `size` bytes."""
    os.truncate(directory / "data.mdb", size)


def pages_of(directory: Path, signal: Signal, kind: int) -> list[int]:
    """The pages of `kind` (`BRANCH`, `LEAF`, `OVERFLOW`: the first of each) in the tree of a signal's records."""
    with Pages(directory / "data.mdb") as pages:
        walk = Walk(pages)
        nodes = list(walk.leaves(_tree(pages, signal.value), signal.value))
        if kind == OVERFLOW:
            return [node.overflow for node in nodes if node.overflow is not None]
        assert kind in {BRANCH, LEAF}
        return [n for n in range(pages.count) if walk.reached[n] and pages.kind(n, pages.page(n)) == kind]


def places(directory: Path, tree: str) -> dict[int, tuple[int, int]]:
    """Where in the file the values of a tree are, by number: offset and length."""
    with Pages(directory / "data.mdb") as pages:
        nodes = Walk(pages).leaves(_tree(pages, tree), tree)
        return {int.from_bytes(node.key, "big"): (node.offset, node.length) for node in nodes}


def _tree(pages: Pages, name: str) -> Tree:
    head = newest(pages.heads())
    assert head is not None
    trees = {named.key: named.tree for named in Walk(pages).leaves(head.names, "names")}
    tree = trees[name.encode()]
    assert tree is not None
    return tree
