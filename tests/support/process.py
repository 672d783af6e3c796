"""A program that runs beside a test, in a directory of its own."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tests.support.patience import PATIENCE

__all__ = ["Process", "Unexpected", "until"]


class Unexpected(AssertionError):
    """A program did not do what a test expects of it."""


async def until(condition: Callable[[], Awaitable[bool]], what: str, patience: float = PATIENCE) -> None:
    """Return as soon as `condition` holds, asked every few milliseconds.

    Raises:
        Unexpected: it does not hold after `patience` seconds; `what` says what was waited for.
    """
    try:
        async with asyncio.timeout(patience):
            while not await condition():  # noqa: ASYNC110 - another process cannot set our event
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise Unexpected(f"{what}: not after {patience} s") from None


class Process:
    """`command`, which may be started again after it ended. What it prints is kept in files in `directory`."""

    def __init__(self, command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self._command = list(command)
        self.environment = dict(os.environ if environment is None else environment)
        self._name = Path(command[0]).name
        self._output = directory / f"{self._name}.stdout"
        self._log = directory / f"{self._name}.stderr"
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the signal that killed it."""
        return self._running.poll()

    @property
    def log(self) -> str:
        """What it printed on standard error, over all its lives."""
        return self._log.read_text(errors="replace")

    @property
    def output(self) -> str:
        """What it printed on standard output, over all its lives."""
        return self._output.read_text(errors="replace")

    def spawn(self) -> None:
        with self._output.open("ab") as output, self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
            )

    async def begin(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Start it and return as soon as `condition` holds; nothing of it is left where that fails."""
        try:
            self.spawn()
            await self.until(condition, what)
        except BaseException:
            self.kill()
            raise

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Return as soon as `condition` holds.

        Raises:
            Unexpected: the program ended first, or it took too long; with the end of its log.
        """

        async def holds() -> bool:
            if self.returncode is not None:
                raise Unexpected(f"{what}: {self._name} ended with {self.returncode}\n{self._tail()}")
            return await condition()

        try:
            await until(holds, what)
        except Unexpected as error:
            raise Unexpected(f"{error}\n{self._tail()}") from None

    async def wait(self, patience: float = PATIENCE) -> int:
        """Its exit code, when it has ended."""
        try:
            return await asyncio.to_thread(self._running.wait, patience)
        except subprocess.TimeoutExpired:
            raise Unexpected(f"{self._name} has not ended after {patience} s\n{self._tail()}") from None

    async def terminate(self, patience: float = PATIENCE) -> int:
        """Ask it to end, once; returns its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait(patience)

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    def kill(self) -> None:
        """End it as the kernel would, at once. Safe to call twice."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise Unexpected(f"{self._name} was not started")
        return self._popen

    def _tail(self) -> str:
        return self.log[-4000:]
