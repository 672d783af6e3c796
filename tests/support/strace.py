"""System calls of a running process, in the order in which they happened."""

import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Call", "Strace"]

_ENTER = re.compile(r"(\d+)\s+(\w+)\((\d+)<(.*?)>(?=[,)\s])(.*)")
_RESUMED = re.compile(r"(\d+)\s+<\.\.\. (\w+) resumed>(.*)")
_BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_RESULT = re.compile(r"= (-?\d+)[^=]*$")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call on a descriptor; `began` and `ended` are places in the order of all that happened."""

    name: str
    descriptor: int
    file: str
    """What the descriptor is: a path, or ``TCP:[here->there]``."""
    data: bytes
    result: int
    began: int
    ended: int


class Strace:
    """Attaches to `pid` and its threads while it is entered, and traces `calls` into `file`."""

    def __init__(self, pid: int, calls: str, file: Path) -> None:
        self._command = ["strace", "-f", "-yy", "-xx", "-s", "1000000", "-e", f"trace={calls}", "-e", "signal=none"]
        self._command += ["-o", str(file), "-p", str(pid)]
        self._file = file
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert "attached" in line, line
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()

    def calls(self) -> list[Call]:
        """Finished calls, by when they ended. strace prints what it sees as it sees it, so a line is a moment."""
        return list(_parse(self._file.read_text(errors="replace").splitlines()))


def _parse(lines: list[str]) -> Iterator[Call]:
    begun: dict[str, tuple[int, str, int, str, str]] = {}
    for moment, line in enumerate(lines):
        if line.endswith("<detached ...>"):
            continue  # strace was told to end in the middle of it
        if resumed := _RESUMED.match(line):
            thread, name, rest = resumed.groups()
            if thread in begun:
                began, name, descriptor, file, start = begun.pop(thread)
                yield _call(name, descriptor, file, start + rest, began, moment)
        elif entered := _ENTER.match(line):
            thread, name, descriptor_text, file, rest = entered.groups()
            if rest.endswith("<unfinished ...>"):
                begun[thread] = (moment, name, int(descriptor_text), file, rest)
            else:
                yield _call(name, int(descriptor_text), file, rest, moment, moment)


def _call(name: str, descriptor: int, file: str, text: str, began: int, ended: int) -> Call:
    if file.startswith("\\x"):
        file = bytes.fromhex(file.replace("\\x", "")).decode()
    data = b"".join(bytes.fromhex(found.replace("\\x", "")) for found in _BYTES.findall(text))
    result = _RESULT.search(text)
    return Call(name, descriptor, file, data, int(result[1]) if result else -1, began, ended)
