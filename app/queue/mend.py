"""A damaged file is set aside before the service starts, and what it still holds goes on in a new one.

The damaged file keeps its name until the new one is whole and on the disk, so that a crash on the way begins again.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

import lmdb

from app.core.log import Log
from app.queue.check import faults_in_child
from app.queue.contract import QueueError
from app.queue.directory import sync_directory
from app.queue.pages import Pages
from app.queue.record import FORMAT
from app.queue.salvage import format_of, salvage

__all__ = ["check_format", "mend"]

_log = Log(__name__)
_FAULTS_TOLD = 3


def mend(directory: Path) -> bool:
    """Look at the queue's file in `directory`, and replace it where it is damaged; returns whether it was.

    Raises:
        OSError: the disk failed.
        QueueError: a newer version wrote it, there is no room for what it still holds, or it is no file at all.
    """
    data, fresh = directory / "data.mdb", directory / "data.mdb.new"
    if not data.exists():
        return False
    if not data.is_file():
        raise QueueError(f"queue.directory: {data} is no file; move it away, or name another directory")
    began = time.monotonic()
    faults = faults_in_child(directory)
    if not faults:
        _log.info(
            "queue_unclosed",
            "the queue's file was not closed; it is whole, as %(seconds).1f s of looking say",
            seconds=time.monotonic() - began,
        )
        return False
    fresh.unlink(missing_ok=True)
    try:
        with Pages(data) as pages:
            found = format_of(pages)
            if found is not None and _is_number(found):  # else it is part of the damage
                check_format(directory, found)
            finds = salvage(pages, fresh)
        _give_to_owner_of(data, fresh)
    except lmdb.Error as error:
        fresh.unlink(missing_ok=True)
        raise QueueError(
            f"queue.directory: {data} is damaged ({faults[0]}), and what it still holds cannot be written beside it "
            f"({error}); make room on its disk, or move it away to go on without"
        ) from error
    aside = _name_aside(data)
    os.link(data, aside)
    fresh.replace(data)
    sync_directory(directory)
    told = "; ".join(faults[:_FAULTS_TOLD]) + ("; …" if len(faults) > _FAULTS_TOLD else "")
    _log.error(
        "queue_damaged",
        "%(file)s was damaged (%(reason)s): %(salvaged)d records were salvaged, %(lost)s were not%(more)s; the damaged "
        "file is kept as %(kept_as)s, delete it when you have looked at it",
        file=str(data),
        reason=told,
        salvaged=finds.count,
        lost="an unknown number" if finds.lost is None else finds.lost,
        more=", and some may have been delivered before" if finds.stale and finds.count else "",
        kept_as=aside.name,
    )
    return True


def check_format(directory: Path, found: str) -> None:
    """See that this version can read the format that a file says to have.

    Raises:
        QueueError: it cannot.
    """
    if not _is_number(found):
        raise QueueError(
            f"queue.directory: {directory} says that its format is {found[:40]!r}, which is no number; "
            "move its files away, or name another directory"
        )
    if int(found) > FORMAT:
        raise QueueError(
            f"queue.directory: {directory} holds format {found[:40]}, this version reads up to {FORMAT}; "
            "start the newer version again, or name another directory"
        )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _give_to_owner_of(data: Path, fresh: Path) -> None:
    """Let the service's user have the file, though root looks into the queue."""
    owner = data.stat()
    with suppress(PermissionError):  # it is that user's own
        os.chown(fresh, owner.st_uid, owner.st_gid)


def _name_aside(data: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (data.with_name(f"{data.name}.damaged-{stamp}{again}") for again in ("", *(f"-{n}" for n in range(2, 100))))
    return next(name for name in names if not name.exists())
