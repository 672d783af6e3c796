import errno
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.check import faults_in_child, faults_of
from app.queue.contract import QueueError
from app.queue.pages import BRANCH, LEAF, OVERFLOW, PAGE, Pages
from app.queue.record import pack
from app.queue.store import Appended
from tests.support.damage import cut, overwrite, pages_of, places, scribble, zero

TRACES = Signal.TRACES


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A queue of 600 records, small ones and large ones, a third of it delivered."""
    store = LmdbStore(tmp_path, 64 << 20)
    store.open()
    for first in range(1, 601, 100):
        group = [
            (n, pack(TRACES, bytes([n % 256]) * (5000 if n % 3 else 300), 1, n)) for n in range(first, first + 100)
        ]
        store.commit([Appended(TRACES, n, record) for n, record in group], [(TRACES, n) for n in range(1, first // 3)])
    store.close()
    return tmp_path


# A file that LMDB wrote has no faults.


def test_a_file_that_lmdb_wrote_has_no_faults(directory: Path) -> None:
    assert faults_of(directory) == []
    assert faults_in_child(directory) == []


def test_a_file_that_was_just_made_has_no_faults(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == []
    (tmp_path / "data.mdb").touch()
    assert faults_of(tmp_path) == []
    store = LmdbStore(tmp_path, 64 << 20)
    store.open()
    store.close()
    assert faults_of(tmp_path) == []


def test_a_file_that_is_cut_while_it_is_read_ends_there(directory: Path) -> None:
    with Pages(directory / "data.mdb") as pages:
        cut(directory, PAGE + 10)
        assert len(pages.read(0, 10 * PAGE)) == PAGE + 10


# What a page says is believed only within that page; a page that is not what its place says is a fault.


def in_page(page: int, offset: int, data: bytes) -> Callable[[Path], None]:
    return lambda directory: overwrite(directory, page * PAGE + offset, data)


def of_kind(kind: int, offset: int, data: bytes) -> Callable[[Path], None]:
    return lambda directory: overwrite(directory, pages_of(directory, TRACES, kind)[0] * PAGE + offset, data)


def first_node(kind: int, offset: int, data: bytes) -> Callable[[Path], None]:
    """Change what the first node of the first page of `kind` says."""

    def damage(directory: Path) -> None:
        page = pages_of(directory, TRACES, kind)[0]
        raw = (directory / "data.mdb").read_bytes()[page * PAGE :][:PAGE]
        (at,) = struct.unpack_from("=H", raw, 16)
        overwrite(directory, page * PAGE + at + offset, data)

    return damage


FAR = (1 << 40).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda directory: zero(directory, 0), "page 0 is no head"),
        (lambda directory: zero(directory, 0, 1), "page 1 is no head"),
        (lambda directory: cut(directory, 100), "page 0 is no head"),
        (in_page(1, 16, b"\0"), "page 1 is no head"),
        (of_kind(LEAF, 0, FAR), "is none of its own"),
        (of_kind(LEAF, 10, b"\1"), "is none of its own"),
        (of_kind(LEAF, 12, b"\xff\xff"), "is broken"),
        (of_kind(LEAF, 16, b"\xff\xff"), "is broken"),
        (of_kind(BRANCH, 0, FAR), "is none of its own"),
        (of_kind(BRANCH, 16, b"\xff\xff"), "is broken"),
        (first_node(BRANCH, 0, b"\1\0\0\0\0\0"), "is none of its own"),
        (first_node(BRANCH, 0, b"\xff" * 6), "is none of its own"),
        (first_node(LEAF, 0, b"\xff\xff\xff\xff"), "is broken"),
        (first_node(LEAF, 6, b"\xff\xff"), "is broken"),
        (first_node(LEAF, 8, b"\xff"), "keys are not in order"),
        (of_kind(OVERFLOW, 0, FAR), "are not those of their record"),
        (of_kind(OVERFLOW, 12, b"\1\0\0\0"), "are not those of their record"),
        (lambda directory: cut(directory, 20 * PAGE), "is none of its own"),
    ],
)
def test_a_page_that_is_not_what_its_place_says_is_a_fault(
    directory: Path, damage: Callable[[Path], None], fault: str
) -> None:
    damage(directory)
    assert any(fault in text for text in faults_of(directory)), faults_of(directory)


def test_a_page_that_two_lead_to_is_a_fault(directory: Path) -> None:
    branch = pages_of(directory, TRACES, BRANCH)[0]
    raw = (directory / "data.mdb").read_bytes()[branch * PAGE :][:PAGE]
    first, second = struct.unpack_from("=HH", raw, 16)
    overwrite(directory, branch * PAGE + first, raw[second : second + 4])
    assert any("belongs to two" in text for text in faults_of(directory))


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        (lambda used: (1, used), "pages are in use and free at once"),
        (lambda _: (1, 1), "page 1 cannot be free"),
        (lambda _: (1 << 40,), "a list of them is cut off"),
        (lambda _: (1, 1 << 40), None),
    ],
)
def test_what_cannot_be_free_is_a_fault(
    directory: Path, numbers: Callable[[int], tuple[int, ...]], fault: str | None
) -> None:
    """A commit would write over pages that are in use."""
    with Pages(directory / "data.mdb") as pages:
        head = max((head for head in pages.heads() if head), key=lambda head: head.transaction)
        assert head.free.root is not None
        page = pages.page(head.free.root)
        (node,) = [node for node in pages.nodes(head.free.root, page) if node][:1]
    used = pages_of(directory, TRACES, LEAF)[0]
    overwrite(directory, node.offset, b"".join(n.to_bytes(8, "little") for n in numbers(used)))
    faults = faults_of(directory)
    assert any(fault in text for text in faults) if fault else all("cannot" not in text for text in faults)


def test_pages_behind_the_last_one_are_a_fault(directory: Path) -> None:
    for page in range(2):
        overwrite(directory, page * PAGE + 16 + 24 + 96, (10).to_bytes(8, "little"))
    assert "pages behind the last one, 10, are in use" in faults_of(directory)


# Whatever the bytes are, reading them ends, and raises nothing; what the disk cannot read is a fault, too.


def test_reading_ends_whatever_the_bytes_are(directory: Path) -> None:
    data = (directory / "data.mdb").read_bytes()
    for seed in range(40):
        chance = random.Random(seed)
        changed = bytearray(data)
        for _ in range(200):
            # What pages say of themselves is at their beginning and end.
            at = chance.randrange(len(data) // PAGE) * PAGE + chance.choice((chance.randrange(64), PAGE - 40))
            changed[at] = chance.randrange(256)
        (directory / "data.mdb").write_bytes(changed)
        faults = faults_in_child(directory)
        assert all(isinstance(text, str) for text in faults)
        if seed % 10 == 0:
            assert faults


def test_the_child_tells_what_it_found_and_leaves_crcs_to_others(directory: Path) -> None:
    scribble(directory, places(directory, "traces")[599][0] // PAGE + 1)
    assert faults_in_child(directory) == []
    zero(directory, pages_of(directory, TRACES, LEAF)[3])
    first, *_ = faults_in_child(directory)
    assert first.startswith("traces: page ")


@pytest.mark.parametrize(
    ("kind", "fault"), [(LEAF, "is none of its own"), (OVERFLOW, "on cannot be read"), (BRANCH, "is none of its own")]
)
def test_what_the_disk_cannot_read_is_a_fault(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: int, fault: str
) -> None:
    bad = pages_of(directory, TRACES, kind)[1 if kind != BRANCH else 0] + (kind == OVERFLOW)
    good = os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        if offset // PAGE <= bad <= (offset + length - 1) // PAGE:
            raise OSError(errno.EIO, "Input/output error")
        return good(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert any(fault in text for text in faults_of(directory)), faults_of(directory)


# The child may die; what of, makes a difference.


def test_a_file_that_kills_who_reads_it_is_damaged(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", _script(directory, "kill -BUS $$"))
    assert faults_in_child(directory) == ["whoever reads it is ended by SIGBUS"]


@pytest.mark.parametrize(
    ("does", "said"),
    [("kill -KILL $$", r"exit code -9\); start again"), ("echo no module >&2; exit 1", r"exit code 1: no module\)")],
)
def test_a_child_that_ends_for_another_reason_says_nothing_of_the_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch, does: str, said: str
) -> None:
    monkeypatch.setattr("sys.executable", _script(directory, does))
    with pytest.raises(QueueError, match=said):
        faults_in_child(directory)


def test_what_lmdb_itself_does_not_read_is_a_fault(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise lmdb.InvalidError("mdb_env_open: File is not an LMDB file")

    monkeypatch.setattr(lmdb, "open", refuse)
    assert faults_of(directory) == ["mdb_env_open: File is not an LMDB file"]


def _script(directory: Path, text: str) -> str:
    path = directory / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)
