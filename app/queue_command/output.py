"""Answers as people read them: tables that fit the terminal, and a request as OTLP JSON."""

import base64
import json
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from app.core.request import ExportRequest
from app.queue.desk import Fields
from app.queue_command.desk import NoAnswerError
from app.receivers.decode import request_type

__all__ = ["format_letters", "format_request", "format_status"]

_IDS = frozenset({"traceId", "spanId", "parentSpanId"})
_NUMBERS = frozenset({"SEQUENCE", "ITEMS", "SIZE", "AGE", "QUEUED", "DEAD", "LETTERS"})


def format_status(status: Fields) -> str:
    signals: dict[str, dict[str, int]] = status["signals"]
    table = _table(
        ("SIGNAL", "QUEUED", "DEAD", "LETTERS"),
        (
            (name, f"{of['queued_items']:,}", f"{of['dead_items']:,}", f"{of['dead_letters']:,}")
            for name, of in signals.items()
        ),
    )
    where = "on disk" if status["storage"] == "disk" else "in memory"
    used, capacity = _size(status["used_bytes"]), _size(status["capacity_bytes"])
    lines = [*table, "", f"{used} of {capacity} {where} are used."]
    if status["oldest_seconds"] is not None:
        lines.append(f"The oldest entry has waited {_age(status['oldest_seconds'])}.")
    if any(of["dead_letters"] for of in signals.values()):
        lines.append("otlp-service queue dead list tells what the destination refused.")
    return "\n".join(lines)


def format_letters(letters: Sequence[Fields], *, more: bool) -> str:
    """A line for each; `more` says that there are others."""
    if not letters:
        return "no dead letters"
    rows = (
        (
            str(letter["sequence"]),
            letter["signal"],
            f"{letter['items']:,}",
            _size(letter["bytes"]),
            _age(letter["age_seconds"]),
            letter["reason"],
            _printable(letter["message"]),
        )
        for letter in letters
    )
    lines = _table(("SEQUENCE", "SIGNAL", "ITEMS", "SIZE", "AGE", "REASON", "MESSAGE"), rows)
    if more:
        lines.append(f"and more: --limit is {len(letters)}")
    return "\n".join(lines)


def format_request(letter: Fields, request: ExportRequest, *, indent: int | None) -> str:
    """A letter with its request in OTLP's JSON encoding: ids in hex, enums as numbers.

    Raises:
        NoAnswerError: the request is no valid protobuf.
    """
    try:
        message = request_type(request.signal).FromString(request.body)
    except DecodeError as error:
        raise NoAnswerError(f"dead letter {letter['sequence']} is no valid protobuf: {error}") from error
    body = _with_hex_ids(MessageToDict(message, use_integers_for_enums=True))
    return json.dumps(letter | {"request": body}, indent=indent, ensure_ascii=False)


def _with_hex_ids(value: Any) -> Any:
    """The same JSON with ids as OTLP writes them; protobuf's mapping has them in base64."""
    if isinstance(value, list):
        return [_with_hex_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(inner).hex() if key in _IDS and isinstance(inner, str) else _with_hex_ids(inner)
        for key, inner in value.items()
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as they need to be; numbers to the right, the last cut to the terminal's width."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    most = shutil.get_terminal_size((200, 24)).columns
    written = []
    for line in lines:
        cells = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(head, line, widths, strict=True)
        ]
        text = "  ".join(cells).rstrip()
        written.append(text if len(text) <= most else text[: most - 1] + "…")
    return written


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _size(size: int) -> str:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
