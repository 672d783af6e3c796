"""The headers of an export: from the configuration, and from a file of secrets that may change."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from app.settings.watched import Watched

__all__ = ["HeadersFile", "check_headers", "check_names", "parse_headers_file", "parse_pairs"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_LINE = re.compile(r"([^:=\s]+)\s*[:=]\s*(.*)")
_OURS = {
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "otlp-service-instance",
    "te",
    "transfer-encoding",
    "user-agent",
}


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with names in lower case, as gRPC asks for and HTTP does not mind.

    Raises:
        ValueError: a name or value cannot be sent; the message never holds a value.
    """
    checked: dict[str, str] = {}
    for given, text in headers.items():
        name = given.strip().lower()
        if not _NAME.fullmatch(name):
            raise ValueError(f"{given!r} is not a header's name; use letters, digits and hyphens")
        if name in _OURS or name.startswith("grpc-"):
            raise ValueError(f"{name!r} is set by the exporter itself; leave it out")
        if name in checked:
            raise ValueError(f"{name!r} is given twice; keep one")
        if not _VALUE.fullmatch(text):
            raise ValueError(f"the value of {name!r} holds characters that no header may; use printable ASCII")
        checked[name] = text.strip()
    return checked


def check_names(names: Sequence[str]) -> list[str]:
    """Names of headers in lower case, or ``*``.

    Raises:
        ValueError: one is not a header's name.
    """
    checked = [name.strip().lower() for name in names]
    for given, name in zip(names, checked, strict=True):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{given!r} is not a header's name; use letters, digits and hyphens")
    return checked


def parse_pairs(text: str, *, encoded: bool = False) -> dict[str, str]:
    """A map from one line of text: ``a=1,b=2``, or a JSON object for values with commas.

    Args:
        text: the line.
        encoded: values are percent-encoded, as in the W3C Baggage form of `OTEL_EXPORTER_OTLP_HEADERS`; no JSON.

    Raises:
        ValueError: it is neither; the message never holds a value.
    """
    if not encoded and text.lstrip().startswith("{"):
        return _parse_json(text)
    pairs: dict[str, str] = {}
    for number, item in enumerate(text.split(","), start=1):
        if not item.strip():
            continue
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"entry {number} is not name=value; write name=value,name=value")
        pairs[name.strip()] = unquote(value.strip()) if encoded else value.strip()
    return pairs


def _parse_json(text: str) -> dict[str, str]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it begins like JSON but is not; write name=value,name=value or a JSON object") from error
    if not isinstance(parsed, dict) or not all(isinstance(value, str) for value in parsed.values()):
        raise ValueError('it is not a JSON object of strings; write {"name": "value"}')
    return parsed


def parse_headers_file(text: str, *, grpc: bool = False) -> dict[str, str]:
    """Headers from lines of ``name: value`` or ``name=value``; empty lines and those that begin with # are left out.

    With `grpc`, headers that gRPC would take for binary are refused.

    Raises:
        ValueError: a line is neither; the message never holds a value.
    """
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise ValueError(f"line {number} is not a header; write name: value")
        name = match[1].lower()
        if name in headers:
            raise ValueError(f"line {number} gives {name!r} again; keep one")
        if grpc and name.endswith("-bin"):
            raise ValueError(f"line {number}: {name!r} would be binary in gRPC; give it a name without -bin")
        headers[name] = match[2]
    return check_headers(headers)


class HeadersFile:
    """The headers to send now: those of the configuration, and over them those of a file, when there is one.

    The file is `Watched`.

    Raises:
        OSError: the file cannot be read at the start.
        ValueError: it does not hold headers at the start.
    """

    def __init__(
        self,
        path: Path | None,
        headers: Mapping[str, str],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        grpc: bool = False,
        reloaded: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._base = dict(headers)
        self._file = (
            None
            if path is None
            else Watched(
                "exporter.headers_file",
                (path,),
                lambda content: self._base | parse_headers_file(content.decode(), grpc=grpc),
                monotonic=monotonic,
                reloaded=reloaded,
            )
        )

    def current(self) -> Mapping[str, str]:
        """The headers of the next request; lower-case names."""
        return self._base if self._file is None else self._file.current()
