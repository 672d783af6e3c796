"""Whether the queue's file is whole, found out by a process of its own: LMDB dies of what it does not expect.

    python -m app.queue.check DIRECTORY

prints a JSON list of what is wrong with data.mdb in it. All of it is read, because what the disk cannot read would end
the service by SIGBUS; the CRCs of records are checked when their turn comes.
"""

import json
import signal as signals
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import lmdb

from app.queue.contract import QueueError
from app.queue.pages import Head, Pages, Walk

__all__ = ["faults_in_child", "faults_of", "newest"]

_TREES = 64  # more than there are
_DEADLY = {signals.SIGBUS, signals.SIGSEGV, signals.SIGABRT, signals.SIGFPE, signals.SIGILL}


def faults_in_child(directory: Path) -> list[str]:
    """Return what is wrong with the queue's file in `directory`; nothing, if it is whole or there is none yet.

    Raises:
        OSError: the process cannot be started.
        QueueError: it ended without an answer, and not because of the file.
    """
    command = [sys.executable, "-P", "-m", "app.queue.check", str(directory)]
    child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - our own
    if -child.returncode in _DEADLY:
        return [f"whoever reads it is ended by {signals.Signals(-child.returncode).name}"]
    if child.returncode:
        said = child.stderr.decode(errors="replace").strip().splitlines()
        raise QueueError(
            f"queue.directory: {directory} could not be checked after an unclean end (exit code {child.returncode}"
            f"{': ' + said[-1] if said else ''}); start again"
        )
    faults: list[str] = json.loads(child.stdout)
    return faults


def faults_of(directory: Path) -> list[str]:
    """Look at the file in this process, which may die of it."""
    path = directory / "data.mdb"
    if not path.exists() or not path.stat().st_size:
        return []
    return _faults_of_pages(path) or _faults_for_lmdb(directory)


def newest(heads: list[Head | None]) -> Head | None:
    """Return the head that is in force of those that can be read."""
    return max((head for head in heads if head is not None), key=lambda head: head.transaction, default=None)


def _faults_of_pages(path: Path) -> list[str]:
    with Pages(path) as pages:
        heads = pages.heads()
        head = newest(heads)
        if head is None or None in heads:
            return [f"page {number} is no head" for number, head in enumerate(heads) if head is None]
        walk = Walk(pages)
        walk.look_at_free_pages(head.free)
        for named in walk.leaves(head.names, "names"):
            if named.tree is not None:
                walk.read_through(named.tree, named.key.decode(errors="replace"))
        walk.check_use(head.last_page)
        return walk.faults


def _faults_for_lmdb(directory: Path) -> list[str]:
    try:
        environment = lmdb.open(str(directory), readonly=True, lock=False, max_dbs=_TREES)
        with closing(environment), environment.begin(buffers=True) as transaction:
            for name in [bytes(name) for name, _ in transaction.cursor()]:
                tree = environment.open_db(name, transaction, create=False)
                for _ in transaction.cursor(db=tree):
                    pass
    except lmdb.Error as error:
        return [str(error)]
    return []


if __name__ == "__main__":
    print(json.dumps(faults_of(Path(sys.argv[1]))))  # noqa: T201 - this is what it is for
