"""Log lines: each is an event with a name that stays, a sentence for people, and the sentence's values for machines.

A name says what happened in lower case with underscores, and belongs to one line alone. A value is named after what it
is, with its unit. How lines are written is `app.telemetry.logs`' business; libraries' come from `logging` as they are.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["Log", "SpanIds", "inside", "within"]


@dataclass(frozen=True, slots=True)
class SpanIds:
    """Of the service's own span that is under way; both in hex."""

    trace_id: str
    span_id: str


inside: ContextVar[SpanIds | None] = ContextVar("inside", default=None)
"""The span that what is logged now belongs to."""


@contextmanager
def within(ids: SpanIds | None) -> Iterator[None]:
    """Have what is logged belong to a span, if there is one."""
    if ids is None:
        yield
        return
    before = inside.set(ids)
    try:
        yield
    finally:
        inside.reset(before)


class Log:
    """Where a module logs: ``log.warning("memory_short", "%(free_bytes)d bytes are free", free_bytes=3)``.

    Of warnings and errors, and of what has a `kind`, one of an event and a kind is told in a minute. A kind is what one
    may go on beside another for, such as a signal.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, sentence: str, /, **fields: object) -> None:
        self._write(logging.DEBUG, event, sentence, fields)

    def info(self, event: str, sentence: str, /, *, kind: str = "", **fields: object) -> None:
        self._write(logging.INFO, event, sentence, fields, kind)

    def warning(self, event: str, sentence: str, /, *, kind: str = "", **fields: object) -> None:
        self._write(logging.WARNING, event, sentence, fields, kind)

    def error(
        self, event: str, sentence: str, /, *, kind: str = "", fault: BaseException | None = None, **fields: object
    ) -> None:
        """`fault` is told with its traceback."""
        self._write(logging.ERROR, event, sentence, fields, kind, fault)

    def critical(self, event: str, sentence: str, /, *, fault: BaseException | None = None, **fields: object) -> None:
        """`fault` is told with its traceback."""
        self._write(logging.CRITICAL, event, sentence, fields, "", fault)

    def _write(
        self,
        level: int,
        event: str,
        sentence: str,
        fields: dict[str, object],
        kind: str = "",
        fault: BaseException | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            values = [fields] if fields else []  # logging takes a mapping for the sentence's names
            self._logger.log(level, sentence, *values, exc_info=fault, extra={"event": event, "kind": kind})
