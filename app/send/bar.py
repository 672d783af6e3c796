"""A line on a terminal that tells how far something is."""

import os
from collections.abc import Callable, Mapping
from typing import TextIO

__all__ = ["Bar"]

_EVERY = 0.1
_CELLS = 20
_NARROW = 80


class Bar:
    """Draws over itself on `stream`, and nothing where that is no terminal that can."""

    def __init__(self, stream: TextIO, monotonic: Callable[[], float], environ: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self._monotonic = monotonic
        self._able = stream.isatty() and environ.get("TERM") != "dumb"
        self._next = 0.0
        self._drawn = 0

    def draw(self, done: float, text: str) -> None:
        """Show that the part `done`, from 0 to 1, is done; ten times a second at most."""
        if not self._able or self._monotonic() < self._next:
            return
        self._next = self._monotonic() + _EVERY
        full = int(done * _CELLS)
        line = f"[{'#' * full}{'.' * (_CELLS - full)}] {int(done * 100):3}%  {text}"
        self._write(line[: self._width() - 1])

    def clear(self) -> None:
        """Leave the line empty, for what is printed next."""
        if self._drawn:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()
            self._drawn = 0

    def _write(self, line: str) -> None:
        self._stream.write(f"\r{line}{' ' * (self._drawn - len(line))}")
        self._stream.flush()
        self._drawn = len(line)

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _NARROW
        except OSError:
            return _NARROW
