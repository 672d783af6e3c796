"""Log lines: JSON for machines, text for people, both to standard error. Nothing is logged per request."""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, TextIO

__all__ = ["Sparingly", "configure", "set_level"]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, and ``exception`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``12:34:56.789 info    app.queue.disk: recovered 12 spans from the queue``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(level)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.level = record.levelname.lower()
        return super().format(record)


def configure(level: str, form: Literal["json", "text"], stream: TextIO = sys.stderr) -> None:
    """Send every log record from `level` on to `stream`. Libraries speak from warnings on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.getLogger().handlers[:] = [handler]
    set_level(level)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_tells_no_metadata)


def set_level(level: str) -> None:
    """Log from `level` on."""
    logging.getLogger().setLevel(max(logging.WARNING, level_number(level)))
    logging.getLogger("app").setLevel(level_number(level))


def _tells_no_metadata(record: logging.LogRecord) -> bool:
    """Drop what gRPC logs, with a traceback, of each text of a client that is no UTF-8: it may be a key with a typo."""
    return not str(record.msg).startswith("Invalid encoding on ")


def level_number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


class Sparingly:
    """Logs what may happen a thousand times a second at most once in `seconds` per kind, and says how often it did."""

    def __init__(
        self, log: logging.Logger, seconds: float = 10.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._monotonic = monotonic
        self._quiet_until: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def error(self, kind: str, message: str, *values: object) -> None:
        """Log `message % values`, unless one of its `kind` was logged lately."""
        now = self._monotonic()
        if now < self._quiet_until.get(kind, 0.0):
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._quiet_until[kind] = now + self._seconds
        unsaid = self._unsaid.pop(kind, 0)
        self._log.error(message + (f" (and {unsaid} more like it)" if unsaid else ""), *values)
