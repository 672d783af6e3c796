"""Files that may change while they are in use, such as a secret that Kubernetes replaces by moving a link."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from app.core.log import Log

__all__ = ["Watched"]

_log = Log(__name__)
_LOOK_EVERY = 1.0

_TRIES = 5

T = TypeVar("T")
_Status = list[tuple[int, ...]]


class Watched(Generic[T]):
    """What one file holds now, or several together: what `parse` makes of their contents.

    They are looked at once a second at most and read again when one is another or has changed. What cannot be read
    leaves the value as it was, with an error in the log that `key`, the setting with the path, begins.

    Raises:
        OSError: a file cannot be read at the start.
        ValueError: `parse` says that they do not hold what they should at the start.
    """

    def __init__(
        self,
        key: str,
        paths: Sequence[Path],
        parse: Callable[..., T],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        reloaded: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._key = key
        self._paths = paths
        self._parse = parse
        self._monotonic = monotonic
        self._reloaded = reloaded
        self._looked = monotonic()
        self._failure: str | None = None
        self._seen, self._value = self._read()

    def current(self) -> T:
        """The value for what happens now."""
        if self._monotonic() - self._looked >= _LOOK_EVERY:
            self._looked = self._monotonic()
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            changed = self._status() != self._seen
            if changed:
                self._seen, self._value = self._read()
        except (OSError, ValueError) as error:
            if str(error) != self._failure:
                names = ", ".join(repr(str(path)) for path in self._paths)
                _log.error(
                    "file_not_read_again",
                    "%(setting)s: %(files)s cannot be read again, what it held stays in force: %(reason)s",
                    kind=self._key,
                    setting=self._key,
                    files=names,
                    reason=str(error),
                )
                self._reloaded(False)
            self._failure = str(error)
        else:
            self._failure = None
            if changed:
                self._reloaded(True)

    def _read(self) -> tuple[_Status, T]:
        """What the files hold, with their status. They are read once more where a link was moved meanwhile: some would
        be of one directory, some of another.
        """
        for _ in range(_TRIES):
            seen = self._status()
            try:
                value = self._parse(*(path.read_bytes() for path in self._paths))
            except (OSError, ValueError):
                if self._status() == seen:
                    raise
            else:
                if self._status() == seen:
                    return seen, value
        raise ValueError("they change while they are read; write them elsewhere and move them here")

    def _status(self) -> _Status:
        statuses = (os.stat(path) for path in self._paths)  # noqa: PTH116 - the one call, without a Path's detour
        return [(of.st_dev, of.st_ino, of.st_mtime_ns, of.st_ctime_ns, of.st_size) for of in statuses]
