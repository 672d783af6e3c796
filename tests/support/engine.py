"""A container engine of our own: dockerd, in a directory of its own, with a base image that needs no registry.

It leaves the machine's network alone: containers have none, or the machine's.
"""

import asyncio
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from app.core.request import Signal
from tests.support.patience import PATIENCE
from tests.support.process import Process, Unexpected, until
from tests.support.scrape import Scrape

__all__ = ["BASE", "Container", "Engine", "find_engine", "refusal", "why_no_engine"]

_ARCHIVE = Path(__file__).parents[2] / ".tools" / "image-base.tar"
_SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where Debian's docker.io is. Another docker on the PATH may be a newer one without buildx, which builds nothing."""

_PAUSE = 0.2
"""Seconds between two looks at a container, for each of which docker is started."""

BASE = "python-base:trixie"
"""The base image in an engine that has started: Debian with Python."""


def find_engine() -> bool:
    """Whether all that it takes is here, and an engine starts."""
    return not _lacking() and why_no_engine() is None


@functools.cache
def why_no_engine() -> str | None:
    """What the machine has against an engine though all that it takes is here; None where it has nothing.

    Nor has it anything where one of its own runs: that ours does not start is then a failure.
    """
    if _lacking():
        return None
    runs_one = subprocess.run([str(_program("docker")), "version"], capture_output=True, check=False).returncode == 0
    return None if runs_one else refusal()


def refusal(dockerd: str | None = None) -> str | None:
    """The last that an engine said which does not start; None where it starts."""
    try:
        with Engine(dockerd):
            return None
    except Unexpected as error:
        return str(error).splitlines()[-1]


class Engine(Process):
    """Runs while it is entered; whoever is in it must have left before. `dockerd` is Debian's by default."""

    def __init__(self, dockerd: str | None = None) -> None:
        dockerd = dockerd or _program("dockerd")
        assert dockerd is not None, "dockerd is not installed"
        directory = Path(tempfile.mkdtemp(prefix="engine-"))
        (directory / "daemon.json").write_text("{}")  # in place of that of the machine
        # What it mounts is seen by it alone, and ends with it.
        command = ["unshare", "--mount", dockerd, f"--host=unix://{directory}/docker.sock"]
        command += [f"--data-root={directory}/data", f"--exec-root={directory}/exec", f"--pidfile={directory}/pid"]
        command += [f"--config-file={directory}/daemon.json", "--bridge=none", "--iptables=false", "--ip6tables=false"]
        command += ["--ip-forward=false", "--ip-masq=false"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        environment |= {
            "PATH": f"{_SYSTEM}:{environment['PATH']}",
            "DOCKER_HOST": f"unix://{directory}/docker.sock",
            "DOCKER_CONFIG": str(directory),
            "DOCKER_BUILDKIT": "1",
        }
        super().__init__(command, directory, environment)

    def __enter__(self) -> Self:
        async def answers() -> bool:
            asked = await asyncio.to_thread(self.ask, "version")
            return asked.returncode == 0

        try:
            self.spawn()
            asyncio.run(self.until(answers, "the engine answers"))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ``docker ARGUMENTS``."""
        return self.run(["docker", *arguments])

    def docker(self, *arguments: str | Path) -> str:
        """What ``docker ARGUMENTS`` prints.

        Raises:
            Unexpected: it failed.
        """
        ended = self.ask(*arguments)
        if ended.returncode != 0:
            raise Unexpected(f"docker {' '.join(map(str, arguments))} ended with {ended.returncode}\n{ended.stderr}")
        return ended.stdout.strip()

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run a command for which ``docker`` is this engine."""
        return subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=8 * 60,
            check=False,
        )

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.docker(kind, "inspect", name))
        return found[0]

    def import_base(self) -> None:
        """Have `BASE`."""
        self.docker("import", _ARCHIVE, BASE)

    def _end(self) -> None:
        try:
            if self.returncode is None:
                self.signal(signal.SIGTERM)
                asyncio.run(self.wait())
        finally:
            self.kill()
            shutil.rmtree(self.directory)


class Container:
    """A container of an image as a cluster would run it: read-only but for /tmp and a volume, without any capability.

    It exists, and runs, while it is entered.

    Args:
        engine: that runs it.
        image: what it is of.
        network: ``none``, or ``host`` for the machine's.
        environment: variables over those of the image.
        admin_port: where it serves metrics, as seen from here.
    """

    def __init__(
        self,
        engine: Engine,
        image: str,
        network: str = "none",
        environment: Mapping[str, str] | None = None,
        admin_port: int = 0,
    ) -> None:
        self._engine = engine
        self._image = image
        self._name = f"container-{os.getpid()}-{id(self)}"
        self._options = [f"--network={network}", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp"]
        self._options += ["--security-opt=no-new-privileges", f"--volume={self._name}:/data"]
        self._options += [f"--env={name}={value}" for name, value in (environment or {}).items()]
        self._admin_port = admin_port

    async def __aenter__(self) -> Self:
        await self._docker("run", "--detach", f"--name={self._name}", *self._options, self._image)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._docker("rm", "--force", self._name)
        await self._docker("volume", "rm", self._name)

    @property
    def log(self) -> str:
        """What it printed, over all its lives."""
        printed = self._engine.ask("logs", self._name)
        return printed.stdout + printed.stderr

    async def exec(self, *command: str) -> str:
        """What a command in it prints, which has to end with 0."""
        return await self._docker("exec", self._name, *command)

    async def kill(self) -> None:
        """As if its machine had died."""
        await self._docker("kill", self._name)

    async def start(self) -> None:
        await self._docker("start", self._name)

    async def stop(self, grace: float) -> int:
        """Ask it to end, and kill it after `grace` seconds; its exit code, 137 where it was killed."""
        await self._docker("stop", f"--time={grace:.0f}", self._name)
        state = await self._state()
        code: int = state["ExitCode"]
        return code

    async def until_healthy(self) -> None:
        """Return when the image's HEALTHCHECK says so."""

        async def healthy() -> bool:
            state = await self._state()
            return bool(state["Health"]["Status"] == "healthy")

        await self._until(healthy, "healthy")

    async def until_ready(self) -> None:
        async def ready() -> bool:
            return await self._get("/health/ready") is not None

        await self._until(ready, "ready")

    async def until_delivered(self) -> Scrape:
        """The first scrape that has nothing in the queue."""
        scrape = Scrape("")

        async def delivered() -> bool:
            nonlocal scrape
            text = await self._get("/metrics")
            assert text is not None, "no metrics"
            scrape = Scrape(text)
            scrape.check_law()
            return all(scrape.books(signal).queued == 0 for signal in Signal)

        await self._until(delivered, "all is delivered")
        return scrape

    async def _get(self, path: str) -> str | None:
        """What the admin port answers; None where it does not, or refuses."""
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self._admin_port}{path}")

    async def _state(self) -> dict[str, Any]:
        found = await asyncio.to_thread(self._engine.inspect, "container", self._name)
        state: dict[str, Any] = found["State"]
        return state

    async def _docker(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._engine.docker, *arguments)

    async def _until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        async def holds() -> bool:
            await asyncio.sleep(_PAUSE)
            state = await self._state()
            if not state["Running"]:
                raise Unexpected(f"{what}: it ended with {state['ExitCode']}")
            return await condition()

        try:
            await until(holds, what)
        except Unexpected as error:
            raise Unexpected(f"{error}\n{self.log[-4000:]}") from None


def _get(url: str) -> str | None:
    try:
        with urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - our own container's
            text: str = answer.read().decode()
            return text
    except OSError:  # refused, broken, or no 200
        return None


def _lacking() -> bool:
    """Whether something is not here that a test can do nothing about."""
    return os.geteuid() != 0 or not _ARCHIVE.exists() or not all(_program(name) for name in ("dockerd", "docker"))


def _program(name: str) -> str | None:
    return shutil.which(name, path=_SYSTEM)
