"""A disk under a running service that fails when a test says so."""

import atexit
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["DIE", "HANG", "Call", "Faults", "compiled"]

HANG, DIE = -1, -2
"""In place of an errno: the call does not return until the disk works again, or its thread ends in it."""

SOURCE = Path(__file__).with_name("faults.c")


_libraries = TemporaryDirectory(prefix="preload-")
atexit.register(_libraries.cleanup)


@cache
def compiled(source: Path) -> Path:
    """A library for LD_PRELOAD, made of one file of C; once for all tests of a run."""
    library = Path(_libraries.name) / f"{source.stem}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


@dataclass(frozen=True, slots=True)
class Call:
    """What was done to the queue's file."""

    operation: str
    """write, head or sync."""
    descriptor: int
    writes: bool
    """Whether the descriptor can write: those of LMDB can."""
    error: int
    """The errno that it was given, 0 where it went through."""


class Faults:
    """What comes between a program and its disk, once `environment` puts it there."""

    def __init__(self, directory: Path) -> None:
        library = compiled(SOURCE)
        self._switch = directory / "faults.txt"
        self._log = directory / "faults.log"
        self.environment = {"LD_PRELOAD": str(library), "FAULTS_FILE": str(self._switch), "FAULTS_LOG": str(self._log)}

    def on(self, operation: str, error: int, offset: int = 0) -> None:
        """Have each `operation` end with the errno `error` from now on, or with `HANG` or `DIE`.

        A read is that of the byte at `offset`.
        """
        new = self._switch.with_suffix(".new")
        new.write_text(f"{operation} {error} {offset}\n")
        new.replace(self._switch)

    def off(self) -> None:
        """Have the disk work again."""
        self._switch.unlink(missing_ok=True)

    def calls(self) -> list[Call]:
        """Everything that was done until now, in order."""
        lines = (line.split() for line in self._log.read_text().splitlines())
        return [Call(operation, int(fd), writes == "1", int(error)) for operation, fd, writes, error in lines]
