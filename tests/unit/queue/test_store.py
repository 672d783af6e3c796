import contextlib
import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from app.core.request import Signal
from app.queue import LmdbStore, QueueError
from app.queue.record import pack
from app.queue.store import PAGE, RESERVE_BYTES, Appended, Found, record_cost
from tests.support.damage import set_aside, zero

MIB = 1 << 20
ROOT = Path(__file__).parents[3]


def appended(sequence: int, length: int = 100, signal: Signal = Signal.TRACES) -> Appended:
    return Appended(signal, sequence, pack(signal, bytes([sequence % 256]) * (length - 20), 1, sequence * 1000))


def records(store: LmdbStore, signal: Signal = Signal.TRACES) -> list[int]:
    return [sequence for sequence, _ in store.read(signal, 0, 1 << 40)[0]]


@contextlib.contextmanager
def opened(directory: Path, max_bytes: int = RESERVE_BYTES + 16 * MIB) -> Iterator[LmdbStore]:
    store = LmdbStore(directory, max_bytes)
    store.open()
    try:
        yield store
    finally:
        store.close()


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)


def test_the_name_of_a_new_file_is_on_the_disk_before_anything_is_kept_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, list[tuple[str, bool]]()

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), (tmp_path / "data.mdb").exists()))

    monkeypatch.setattr(os, "fsync", noted)
    with opened(tmp_path):
        assert (str(tmp_path), True) in synced


# A commit is all or nothing, and is on the disk (data and head) when `commit` returns.


def test_what_was_committed_survives_a_process_that_ends_without_a_word(tmp_path: Path) -> None:
    ended = run(
        """
import os, sys
from pathlib import Path
from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.store import Appended
store = LmdbStore(Path(sys.argv[1]), 32 << 20)
store.open()
store.commit([Appended(Signal.LOGS, n, b"record %d" % n) for n in range(1, 4)], [])
store.commit([], [(Signal.LOGS, 2)])
os._exit(0)
""",
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    with opened(tmp_path) as store:
        assert store.read(Signal.LOGS, 0, 1000) == ([(1, b"record 1"), (3, b"record 3")], True)


def test_a_copy_of_the_file_has_every_commit_that_returned(tmp_path: Path) -> None:
    with opened(tmp_path / "queue") as store:
        for sequence in range(1, 6):
            store.commit([appended(sequence)], [])
            shutil.copytree(tmp_path / "queue", tmp_path / str(sequence))
            with opened(tmp_path / str(sequence)) as copy:
                assert records(copy) == list(range(1, sequence + 1))


def test_a_commit_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(5)], [])
        with pytest.raises(QueueError, match="record 4 of traces is not the newest"):
            store.commit([appended(6), appended(4)], [(Signal.TRACES, 5)])
        assert records(store) == [5]


def test_what_was_found_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(7), appended(8, signal=Signal.LOGS), appended(9), appended(11)], [])
        store.commit([], [(Signal.TRACES, 7)])
    found = LmdbStore(tmp_path, 32 * MIB).open()
    assert found.items == {Signal.TRACES: 2, Signal.METRICS: 0, Signal.LOGS: 1}
    assert found.oldest_ns == {Signal.TRACES: 9000, Signal.LOGS: 8000}
    assert found.next_sequence == 12
    assert found.used_bytes == 2 * PAGE


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(n, 100) for n in range(1, 6)], [])
        first, complete = store.read(Signal.TRACES, 2, 250)
        assert ([n for n, _ in first], complete) == ([2, 3], False)
        rest, complete = store.read(Signal.TRACES, 4, 200)
        assert ([n for n, _ in rest], complete) == ([4, 5], True)
        assert store.read(Signal.TRACES, 6, 200) == ([], True)
        one, complete = store.read(Signal.TRACES, 1, 1)
        assert ([n for n, _ in one], complete) == ([1], False)


# The file never grows above `max_bytes`; `used_bytes` counts the pages that live trees take, not record lengths.


@pytest.mark.parametrize(
    "length", [*range(60, 2000, 231), 2021, 2022, 2023, 2030, 2050, 4070, 4080, 4081, 4090, 20_000, 350_000]
)
def test_a_record_costs_what_the_file_really_takes_for_it(tmp_path: Path, length: int) -> None:
    number = max(12, min(2000, 4 * MIB // length))
    with opened(tmp_path) as store:
        used = store.commit([appended(n, length) for n in range(1, number + 1)], []).used_bytes
        assert record_cost(length) * number == pytest.approx(used, rel=0.04, abs=2 * PAGE)


@pytest.mark.parametrize("lengths", [[2030], [2050], [4090], [350_000], [2030, 2050, 4090, 350_000]])
def test_the_file_stays_in_its_bound_at_95_percent_with_acks_out_of_order(tmp_path: Path, lengths: list[int]) -> None:
    chance = random.Random(7)
    capacity = 24 * MIB
    max_bytes = RESERVE_BYTES + capacity
    waiting: list[tuple[Signal, int]] = []
    used = sequence = refused = 0
    with opened(tmp_path, max_bytes) as store:
        for _ in range(250):
            group = []
            reserved = 0
            while len(group) < 200 and used + reserved < 0.95 * capacity:
                sequence += 1
                length = chance.choice(lengths)
                reserved += record_cost(length)
                group.append(appended(sequence, length, chance.choice(list(Signal))))
            settled = [
                waiting.pop(chance.randrange(len(waiting))) for _ in range(min(len(waiting), max(1, len(waiting) // 8)))
            ]
            commit = store.commit(group, settled)
            used = commit.used_bytes
            refused += len(commit.refused)
            waiting += [(a.signal, a.sequence) for a in group if a.sequence not in commit.refused]
            assert not commit.postponed
            assert used <= capacity
            assert (tmp_path / "data.mdb").stat().st_size <= max_bytes
        assert sorted(n for signal in Signal for n in records(store, signal)) == sorted(n for _, n in waiting)
    assert sequence > 500
    assert refused <= sequence // 50


# Acknowledgements pass even when no record fits any more.


def test_acks_pass_when_no_record_fits(tmp_path: Path) -> None:
    with opened(tmp_path, 4 * MIB) as store:  # no reserve at all: the caller did not count
        sequence = 0
        refused: frozenset[int] = frozenset()
        while not refused:
            assert sequence < 5000, "more than there is room for"
            sequence += 10
            refused = store.commit([appended(n, 4000) for n in range(sequence - 9, sequence + 1)], []).refused
        kept = records(store)
        commit = store.commit([appended(sequence + 1, 3 * MIB)], [(Signal.TRACES, n) for n in kept[:20]])
        assert commit.refused == {sequence + 1}
        assert not commit.postponed
        assert records(store) == kept[20:]


def test_what_fits_of_a_group_is_kept_and_the_rest_is_named(tmp_path: Path) -> None:
    with opened(tmp_path, 4 * MIB) as store:
        commit = store.commit([appended(1), appended(2, 8 * MIB), appended(3), appended(4)], [])
        assert commit.refused == {2}
        assert records(store) == [1, 3, 4]


def test_acks_pass_after_the_bound_was_lowered_below_what_is_there(tmp_path: Path) -> None:
    with opened(tmp_path, 64 * MIB) as store:
        for first in range(1, 4001, 400):
            store.commit([appended(n, 4000) for n in range(first, first + 400)], [])
    store = LmdbStore(tmp_path, 8 * MIB)
    found = store.open()
    assert found.items[Signal.TRACES] == 4000
    for first in range(1, 4001, 80):
        commit = store.commit([], [(Signal.TRACES, n) for n in range(first, first + 80)])
        assert not commit.postponed
    assert commit.used_bytes == 0
    store.close()


# One process at a time holds the directory.


def test_a_directory_that_another_process_holds_is_refused_with_its_pid(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import sys; from pathlib import Path; from app.queue import LmdbStore;"
                "LmdbStore(Path(sys.argv[1]), 32 << 20).open(); print('held', flush=True); sys.stdin.read()"
            ),
            tmp_path,
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        store = LmdbStore(tmp_path, 32 * MIB)
        with pytest.raises(QueueError, match=rf"held by another process \(pid {holder.pid}\); stop it"):
            store.open()
        holder.kill()
        holder.communicate()
    store.open()  # what a killed process held is free
    store.close()
    store.close()


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there" / "yet"
    with opened(directory):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "data.mdb").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(QueueError, match=r"file/queue cannot be written \(Not a directory\); give the service's user"):
        LmdbStore(tmp_path / "file" / "queue", 32 * MIB).open()
    with pytest.raises(QueueError, match=r"cannot be written \(File exists\)"):
        LmdbStore(tmp_path / "file", 32 * MIB).open()


def test_a_directory_that_cannot_be_opened_is_a_clear_error_and_let_go(tmp_path: Path) -> None:
    (tmp_path / "lock.mdb").mkdir()
    for _ in range(2):  # the second would be told that the directory is held, if the first had kept it
        with pytest.raises(QueueError, match=r"cannot be opened as a queue .*; move its files away"):
            LmdbStore(tmp_path, 32 * MIB).open()


def test_a_bound_beyond_what_can_be_mapped_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(
        QueueError, match=r"queue.max_bytes: 100 TiB is more than this machine can map .*; give the que"
    ):
        LmdbStore(tmp_path, 100 << 40).open()


# What is left of a bad end is looked at before it is used.


def test_after_a_clean_end_nobody_looks_and_after_any_other_somebody_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def looked() -> bool:
        found = "the queue's file was not closed; it is whole" in caplog.text
        caplog.clear()
        return found

    with opened(tmp_path / "queue") as store:
        assert not looked(), "there is no file yet"
        shutil.copytree(tmp_path / "queue", tmp_path / "killed")
        store.commit([appended(1)], [])
    with opened(tmp_path / "queue"):
        assert not looked()
    with opened(tmp_path / "killed"):
        assert looked()
    with opened(tmp_path / "queue") as store, pytest.raises(QueueError, match="not the newest"):
        store.commit([appended(6), appended(4)], [])
    with opened(tmp_path / "queue"):
        assert looked()


def test_a_file_that_was_damaged_after_a_clean_end_is_mended(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(1), appended(2)], [])
    zero(tmp_path, 0)
    with opened(tmp_path) as store:
        assert records(store) == [1, 2]
    assert len(set_aside(tmp_path)) == 1


def test_trouble_without_damage_is_no_reason_to_set_a_file_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(1)], [])

    def fail(*_: object, **__: object) -> None:
        raise lmdb.Error("no")

    with monkeypatch.context() as patch:
        patch.setattr(lmdb, "open", fail)
        with pytest.raises(QueueError, match=r"cannot be opened as a queue \(no\)"):
            LmdbStore(tmp_path, 32 * MIB).open()
    with opened(tmp_path) as store:
        assert records(store) == [1]
    assert not set_aside(tmp_path)


def test_a_commit_into_a_file_that_is_not_there_any_more_is_none(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit([appended(1)], [])
        (tmp_path / "data.mdb").unlink()
        with pytest.raises(QueueError, match="taken away while it was in use"):
            store.commit([appended(2)], [])


@pytest.mark.parametrize(
    ("written", "refusal"),
    [
        (b"0", None),
        (b"1", None),
        (b"2", "holds format 2, this version reads up to 1; start the newer version"),
        (b"one", "says that its format is 'one', which is no number; move its files away"),
        (b"\xff", "says that its format is '\ufffd', which is no number"),
        (b"", "says that its format is '', which is no number"),
    ],
)
def test_a_newer_format_is_refused_and_an_older_one_is_not(tmp_path: Path, written: bytes, refusal: str | None) -> None:
    environment = lmdb.open(str(tmp_path), max_dbs=4)
    with environment.begin(write=True, db=environment.open_db(b"about")) as transaction:
        transaction.put(b"format", written)
    environment.close()
    store = LmdbStore(tmp_path, 32 * MIB)
    if refusal is None:
        assert store.open() == Found(dict.fromkeys(Signal, 0), {}, 1, 0)
    else:
        with pytest.raises(QueueError, match=refusal):
            store.open()
        assert not set_aside(tmp_path)
    store.close()


def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, 32 * MIB)
    with pytest.raises(QueueError, match="is not open"):
        store._write((), ())
    with pytest.raises(QueueError, match="is not open"):
        store._witness.look()


def test_a_failing_disk_is_told_and_not_taken_for_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it fails: in the first attempt, or when deletes go first, or when halves are tried."""
    broken = lmdb.Error("Input/output error")
    full = lmdb.MapFullError("full")
    monkeypatch.setattr(LmdbStore, "_is_full", lambda _, error: error is full)
    with opened(tmp_path) as store:
        for outcomes in ([broken], [full, broken], [full, None, broken], [full, None, full, broken]):
            left = list(outcomes)

            def write(*_: object, left: list[lmdb.Error | None] = left) -> int:
                outcome = left.pop(0)
                if outcome is not None:
                    raise outcome
                return 0

            monkeypatch.setattr(store, "_write", write)
            with pytest.raises(lmdb.Error, match="Input/output"):
                store.commit([appended(1), appended(2)], [])
            assert left == []


# A small disk under the file.

_WITH_A_SMALL_DISK = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, PRIVATE = 0x20000, 0x10000000, 0x44000
uid, gid = os.getuid(), os.getgid()
if libc.unshare(NEWNS) and libc.unshare(NEWNS | NEWUSER):
    sys.exit(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
if os.getuid() != uid:
    open("/proc/self/setgroups", "w").write("deny")
    open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
    open("/proc/self/gid_map", "w").write(f"0 {gid} 1")
libc.mount(None, b"/", None, PRIVATE, None)
if libc.mount(b"none", sys.argv[1].encode(), b"tmpfs", 0, b"size=2m"):
    sys.exit(f"no tmpfs: {os.strerror(ctypes.get_errno())}")
from pathlib import Path
from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.record import pack
from app.queue.store import Appended
disk = Path(sys.argv[1])
def record(n, length=50_000):
    return Appended(Signal.TRACES, n, pack(Signal.TRACES, bytes(length - 20), 1, n))
def fill():
    with open(disk / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
"""


def on_a_small_disk(tmp_path: Path, code: str) -> dict[str, object]:
    """Run `code` in a process that has a disk of 2 MiB of its own; what it prints last is its result."""
    ended = run(_WITH_A_SMALL_DISK + code, tmp_path)
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert isinstance(result, dict)
    return result


def test_a_full_disk_refuses_records_lets_acks_pass_and_resumes_when_freed(tmp_path: Path) -> None:
    result = on_a_small_disk(
        tmp_path,
        """
store = LmdbStore(disk / "queue", 64 << 20)
store.open()
n, refused = 0, frozenset()
while not refused:
    n += 1
    refused = store.commit([record(n)], []).refused
kept = [k for k, _ in store.read(Signal.TRACES, 0, 1 << 30)[0]]
acks = store.commit([], [(Signal.TRACES, k) for k in kept[:5]])
after = [k for k, _ in store.read(Signal.TRACES, 0, 1 << 30)[0]]
store.commit([record(n + 1, 100)], [])
again = store.commit([record(n + 2)], [])
store.close()
store = LmdbStore(disk / "queue", 64 << 20)
print(json.dumps(dict(n=n, refused=list(refused), kept=kept, postponed=acks.postponed, after=after,
    again=list(again.refused), found=store.open().next_sequence)))
""",
    )
    number = result["n"]
    assert isinstance(number, int)
    assert number > 20
    assert result["refused"] == [number]
    assert result["kept"] == list(range(1, number))
    assert result["postponed"] is False
    assert result["after"] == list(range(6, number))
    assert result["again"] == []
    assert result["found"] == number + 3


def test_a_disk_without_one_free_page_postpones_acks_until_there_is(tmp_path: Path) -> None:
    result = on_a_small_disk(
        tmp_path,
        """
store = LmdbStore(disk / "queue", 64 << 20)
store.open()
store.commit([record(n) for n in range(1, 11)], [])
fill()
full = store.commit([record(11)], [(Signal.TRACES, 1)])
kept = [k for k, _ in store.read(Signal.TRACES, 0, 1 << 30)[0]]
os.unlink(disk / "filler")
freed = store.commit([record(12)], [(Signal.TRACES, 1)])
after = [k for k, _ in store.read(Signal.TRACES, 0, 1 << 30)[0]]
print(json.dumps(dict(refused=list(full.refused), postponed=full.postponed, kept=kept,
    same=full.used_bytes > 0, freed=[list(freed.refused), freed.postponed], after=after)))
""",
    )
    assert result == {
        "refused": [11],
        "postponed": True,
        "kept": list(range(1, 11)),
        "same": True,
        "freed": [[], False],
        "after": [*range(2, 11), 12],
    }


def test_a_queue_opens_again_on_a_full_disk_and_lets_acks_pass_when_there_is_room(tmp_path: Path) -> None:
    result = on_a_small_disk(
        tmp_path,
        """
store = LmdbStore(disk / "queue", 64 << 20)
store.open()
store.commit([record(n) for n in range(1, 11)], [])
store.close()
fill()
store = LmdbStore(disk / "queue", 64 << 20)
found = store.open()
read = [k for k, _ in store.read(Signal.TRACES, 0, 1 << 30)[0]]
os.unlink(disk / "filler")
acks = store.commit([], [(Signal.TRACES, k) for k in read])
print(json.dumps(dict(next=found.next_sequence, read=read, used=acks.used_bytes)))
""",
    )
    assert result == {"next": 11, "read": list(range(1, 11)), "used": 0}


def test_a_full_disk_at_the_start_is_a_clear_error_and_no_death(tmp_path: Path) -> None:
    result = on_a_small_disk(
        tmp_path,
        """
from app.queue import QueueError
fill()
try:
    LmdbStore(disk / "queue", 64 << 20).open()
except QueueError as error:
    print(json.dumps(dict(error=str(error))))
""",
    )
    assert "No space left on device" in str(result["error"])


def test_without_room_for_what_is_salvaged_nothing_is_changed_and_the_error_says_so(tmp_path: Path) -> None:
    result = on_a_small_disk(
        tmp_path,
        """
from app.queue import QueueError
from tests.support.damage import zero
store = LmdbStore(disk / "queue", 64 << 20)
store.open()
for n in range(1, 11):
    store.commit([record(n)], [])
data = disk / "queue" / "data.mdb"
zero(disk / "queue", 0)
before = data.read_bytes()
store.close()
with open(disk / "queue" / "owner", "r+") as owner:
    owner.write("12345 ")  # what a kill leaves
fill()
try:
    LmdbStore(disk / "queue", 64 << 20).open()
except QueueError as failure:
    error = str(failure)
same = data.read_bytes() == before
names = sorted(path.name for path in (disk / "queue").iterdir())
os.unlink(disk / "filler")
again = LmdbStore(disk / "queue", 64 << 20)
again.open()
print(json.dumps(dict(error=error, same=same, names=names,
    kept=[k for k, _ in again.read(Signal.TRACES, 0, 1 << 30)[0]])))
""",
    )
    assert "is damaged (page 0 is no head), and what it still holds cannot be written beside it" in str(result["error"])
    assert "make room on its disk" in str(result["error"])
    assert result["same"] is True
    assert result["names"] == ["data.mdb", "lock.mdb", "owner"]
    assert result["kept"] == list(range(1, 11))


_WITH_A_LIMIT = """
import json, resource, signal, sys
from pathlib import Path
from app.core.request import Signal
from app.queue import LmdbStore
from app.queue.record import pack
from app.queue.store import Appended
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
def record(n, length=50_000):
    return Appended(Signal.TRACES, n, pack(Signal.TRACES, bytes(length - 20), 1, n))
store = LmdbStore(Path(sys.argv[1]) / "queue", 64 << 20)
store.open()
n, refused = 0, frozenset()
while not refused:
    n += 1
    refused = store.commit([record(n)], []).refused
kept = [k for k, _ in store.read(Signal.TRACES, 0, 1 << 30)[0]]
acks = store.commit([], [(Signal.TRACES, k) for k in kept[:5]])
store.commit([record(n + 1, 100)], [])
again = store.commit([record(n + 2)], [])
print(json.dumps(dict(n=n, kept=kept, postponed=acks.postponed, again=list(again.refused))))
"""


@pytest.mark.parametrize("limit", [2 << 20, (2 << 20) + 1000], ids=["at the end of a page", "within a page"])
def test_a_file_that_may_not_grow_is_a_full_disk_though_the_disk_has_room(tmp_path: Path, limit: int) -> None:
    """A quota shows so too: the write that meets it is cut short, which LMDB calls an I/O error."""
    ended = run(_WITH_A_LIMIT, tmp_path, limit)
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["n"] > 20
    assert result["kept"] == list(range(1, result["n"]))
    assert (result["postponed"], result["again"]) == (False, [])


def test_a_read_only_directory_is_a_clear_error(tmp_path: Path) -> None:
    result = on_a_small_disk(
        tmp_path,
        """
from app.queue import QueueError
REMOUNT_RDONLY = 0x21
assert libc.mount(None, str(disk).encode(), None, REMOUNT_RDONLY, None) == 0
try:
    LmdbStore(disk / "queue", 64 << 20).open()
except QueueError as error:
    print(json.dumps(dict(error=str(error))))
""",
    )
    assert "cannot be written (Read-only file system); give the service's user a directory" in str(result["error"])


# What a failing disk looks like.


@pytest.mark.parametrize(
    ("code", "free", "full"),
    [
        (errno.ENOSPC, 1 << 40, True),
        (errno.EDQUOT, 1 << 40, True),
        (errno.EFBIG, 1 << 40, True),
        (errno.EIO, 0, True),
        (errno.EIO, 1 << 40, False),
        (errno.EROFS, 0, False),
    ],
)
@pytest.mark.parametrize("lost", [False, True], ids=["nothing lost", "a write was lost"])
def test_only_a_disk_without_room_is_full_and_every_other_error_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, free: int, full: bool, lost: bool
) -> None:
    class Space:
        f_bavail = free
        f_frsize = 1

    error = lmdb.Error("disk")
    error.code = code

    def sync(_: int) -> None:
        if lost:
            raise OSError(code, "a write was lost")

    with opened(tmp_path) as store:
        monkeypatch.setattr(os, "statvfs", lambda _: Space)
        monkeypatch.setattr(os, "fdatasync", sync)
        assert store._is_full(error) is (full and not lost)


@pytest.mark.parametrize(
    ("code", "full"), [(errno.EDQUOT, True), (errno.ENOSPC, True), (errno.EFBIG, True), (errno.EIO, False)]
)
def test_a_short_write_is_a_full_disk_where_no_more_room_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, full: bool
) -> None:
    def allocate(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    error = lmdb.Error("mdb_txn_commit: Input/output error")
    error.code = errno.EIO
    with opened(tmp_path) as store:
        assert not store._is_full(error), "the disk gives room"
        assert {path.name for path in tmp_path.iterdir()} == {"data.mdb", "lock.mdb", "owner"}
        monkeypatch.setattr(os, "posix_fallocate", allocate)
        assert store._is_full(error) is full
