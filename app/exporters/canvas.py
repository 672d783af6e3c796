"""How a line may look where it is printed: its width, the characters and the colours that the stream takes.

A line is put together from pieces of text that know their style. What came from somebody else has to be made `plain`
before it becomes a piece; the only escape sequences are those that `Canvas.line` adds.
"""

import os
import shutil
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TextIO

__all__ = ["ASCII", "UNICODE", "Canvas", "Glyphs", "Piece", "Style", "canvas_for", "cells"]

Style = Literal["", "bold", "dim", "red", "green", "yellow", "blue", "magenta", "cyan"]
_CODES: dict[Style, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_SERVICE_STYLES: tuple[Style, ...] = ("cyan", "magenta", "green", "blue", "yellow")
_SERVICES_KNOWN = 1000
_NARROWEST = 40
_ELSEWHERE = 120
"""How wide lines are where there is no terminal and COLUMNS says nothing."""


class Glyphs(NamedTuple):
    """The characters of a tree; those of its rails are as wide as each other."""

    branch: str
    last: str
    rail: str
    deeper: str
    """In place of `branch` where a tree is too deep to be indented further."""
    bar: str
    cut: str
    """What stands for the rest of a text; one cell wide."""
    link: str


UNICODE = Glyphs("├─ ", "└─ ", "│  ", "├┄ ", "━", "…", "→")
ASCII = Glyphs("|- ", "`- ", "|  ", "|. ", "=", "~", "->")


class Piece(NamedTuple):
    """Some text of a line, without control characters."""

    text: str
    style: Style = ""


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where lines go."""

    width: int = _ELSEWHERE
    colour: bool = False
    glyphs: Glyphs = UNICODE
    services: dict[str, Style] = field(default_factory=dict)
    """The colours that services have by now; one for all canvases of a stream."""

    def service(self, name: str) -> Style:
        """The colour of a service: that which it had before, or else the next."""
        if len(self.services) >= _SERVICES_KNOWN:
            self.services.clear()
        return self.services.setdefault(name, _SERVICE_STYLES[len(self.services) % len(_SERVICE_STYLES)])

    def line(self, pieces: Iterable[Piece]) -> str:
        """The pieces one after another, in colours if there are any here."""
        if not self.colour:
            return "".join(piece.text for piece in pieces).rstrip()
        return "".join(self._paint(piece) for piece in pieces).rstrip()

    def fit(self, text: str, room: int) -> str:
        """`text`, or as much of it as `room` cells take."""
        if len(text) <= room and cells(text) <= room:
            return text
        kept, used = 0, 0
        for character in text:
            used += cells(character)
            if used >= room:
                break
            kept += 1
        return text[:kept] + self.glyphs.cut if room > 0 else ""

    def column(self, text: str, width: int) -> str:
        """`text` in exactly `width` cells."""
        fitted = self.fit(text, width)
        return fitted + " " * (width - cells(fitted))

    def _paint(self, piece: Piece) -> str:
        return f"\x1b[{_CODES[piece.style]}m{piece.text}\x1b[0m" if piece.style and piece.text else piece.text


def canvas_for(
    stream: TextIO, environ: Mapping[str, str] = os.environ, services: dict[str, Style] | None = None
) -> Canvas:
    """What `stream` takes now: a terminal may change its size.

    Colours are for a terminal; NO_COLOR takes them away, FORCE_COLOR gives them to what only passes on to one.
    """
    wanted = environ.get("FORCE_COLOR", "0") not in {"", "0"} or (stream.isatty() and environ.get("TERM") != "dumb")
    return Canvas(
        width=max(_NARROWEST, shutil.get_terminal_size((_ELSEWHERE, 24)).columns),
        colour=wanted and not environ.get("NO_COLOR"),
        glyphs=UNICODE if _takes(stream, "".join(UNICODE)) else ASCII,
        services={} if services is None else services,
    )


def cells(text: str) -> int:
    """How many cells of a terminal a text takes: two for a wide character, none for an accent that joins another."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in {"Mn", "Me"} else 2 if unicodedata.east_asian_width(c) in {"W", "F"} else 1
        for c in text
    )


def _takes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
