"""Log lines: JSON for machines, text for people, both to standard error. Nothing is logged per request.

Of warnings, errors and what else may come again and again one of its kind is told in a minute; how many there were
besides is told with the next, or when the minute is over.
"""

import codecs
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from app.core.log import SpanIds, inside

__all__ = ["Lines", "configure", "set_level", "tell_what_was_held_back"]

_QUIET_SECONDS: Final = 60.0
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_LIBRARY: Final = "library"
"""The event of lines that are not ours."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``event``, ``message``, ``logger`` and ``fields``; where there are
    such ``more_like_it``, ``trace_id``, ``span_id`` and ``exception``. In ASCII where the stream has no more.
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._ascii_only = ascii_only

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", _LIBRARY),
            "message": record.getMessage(),
            "logger": record.name,
            "fields": _fields(record),
        }
        if more := _more(record):
            line["more_like_it"] = more
        ids: SpanIds | None = getattr(record, "span", None)
        if ids is not None:
            line |= {"trace_id": ids.trace_id, "span_id": ids.span_id}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=self._ascii_only, default=str)


class TextFormatter(logging.Formatter):
    """``12:34:56.789 info    app.queue.disk: recovered 12 spans from the queue``, the level in `colour`."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(level)s %(name)s: %(text)s", "%H:%M:%S")
        self._colour = colour

    def usesTime(self) -> bool:  # noqa: N802 - the name is logging's
        return True

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        level, more = record.levelname.lower(), _more(record)
        padded = f"{level:<7}"
        record.level = f"\x1b[{_COLOURS[level]}m{padded}\x1b[0m" if self._colour and level in _COLOURS else padded
        # What others say may be in it: it shall neither begin a line nor command a terminal.
        text = _harmless(record.getMessage())
        record.text = f"{text} (and {more} more like it)" if more else text
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        # Indented, because the exception's message may have lines.
        return "\n".join(f"  {_harmless(line)}" for line in super().formatException(ei).split("\n"))


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines to a stream, and of those that are alike one in a minute."""

    def __init__(self, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._monotonic = monotonic
        self._quiet_until: dict[tuple[str, ...], float] = {}
        self._held: dict[tuple[str, ...], tuple[int, logging.LogRecord]] = {}
        """How many lines of a kind are not told yet, and the last of them."""

    def handle(self, record: logging.LogRecord) -> bool:
        record.span = inside.get()
        self.acquire()
        try:
            repeats = record.levelno >= logging.WARNING or getattr(record, "kind", "") != ""
            if repeats and not self._passes(record):
                return False
            self.emit(record)
            return True
        finally:
            self.release()

    def tell_what_was_held_back(self, *, all_of_it: bool = False) -> None:
        """Tell the last of what was held back, with how many there were besides, where its minute is over."""
        self.acquire()
        try:
            now = self._monotonic()
            for kind, (held, record) in list(self._held.items()):
                if all_of_it or now >= self._quiet_until[kind]:
                    del self._held[kind]
                    self._quiet_until[kind] = now + _QUIET_SECONDS
                    record.more = held - 1
                    self.emit(record)
            self._quiet_until = {kind: end for kind, end in self._quiet_until.items() if end > now}
        finally:
            self.release()

    def close(self) -> None:
        self.tell_what_was_held_back(all_of_it=True)
        super().close()

    def _passes(self, record: logging.LogRecord) -> bool:
        kind, now = _kind(record), self._monotonic()
        held, _ = self._held.pop(kind, (0, record))
        if now < self._quiet_until.get(kind, 0.0):
            record.exc_info = None  # its frames would keep requests in memory; one like it was told
            self._held[kind] = held + 1, record
            return False
        self._quiet_until[kind] = now + _QUIET_SECONDS
        record.more = held
        return True


def configure(level: str, form: Literal["json", "text"], stream: TextIO = sys.stderr) -> None:
    """Send every log record from `level` on to `stream`. Libraries speak from warnings on.

    Text has colours on a terminal, unless ``NO_COLOR`` is set or it is a dumb one.
    """
    handler = Lines(stream)
    colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    narrow = codecs.lookup(stream.encoding or "utf-8").name != "utf-8"
    handler.setFormatter(JsonFormatter(ascii_only=narrow) if form == "json" else TextFormatter(colour=colour))
    logging.getLogger().handlers[:] = [handler]
    set_level(level)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_tells_no_metadata)


def set_level(level: str) -> None:
    """Log from `level` on."""
    logging.getLogger().setLevel(max(logging.WARNING, level_number(level)))
    logging.getLogger("app").setLevel(level_number(level))


def tell_what_was_held_back(*, all_of_it: bool = False) -> None:
    """Tell what was held back for a minute, or all of it; to be called now and then, and at the end."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Lines):
            handler.tell_what_was_held_back(all_of_it=all_of_it)


def level_number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _tells_no_metadata(record: logging.LogRecord) -> bool:
    """Drop what gRPC logs, with a traceback, of each text of a client that is no UTF-8: it may be a key with a typo."""
    return not str(record.msg).startswith("Invalid encoding on ")


def _kind(record: logging.LogRecord) -> tuple[str, ...]:
    """What is alike: of ours by its event and kind, of libraries by the line of code."""
    event = getattr(record, "event", None)
    if event is None:
        return record.name, record.levelname, record.pathname, str(record.lineno)
    return event, getattr(record, "kind", "")


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    return record.args if isinstance(record.args, Mapping) else {}


def _harmless(text: str) -> str:
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _more(record: logging.LogRecord) -> int:
    """How many lines like it were held back."""
    return getattr(record, "more", 0)
