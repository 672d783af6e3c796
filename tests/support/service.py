"""The service as its users run it: the command, as a process."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.cgroup import MemoryCgroup
from tests.support.patience import PATIENCE
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.scrape import Scrape

__all__ = ["COMMAND", "SOON", "Service", "clean_environment"]

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main())")
"""``otlp-service``, also where the project is not installed."""


SOON = {"initial_interval": "100ms", "max_interval": "500ms"}
"""`exporter.retry` of a test in which a destination goes away and comes back."""


def clean_environment(directory: Path) -> dict[str, str]:
    """Our environment without what configures telemetry, and with temporary files in `directory`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTLP_"))}
    kept.pop("CONFIG_PATH", None)
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TMPDIR": str(directory)}


class Service(Process):
    """``otlp-service serve`` on free ports, with its queue in `directory`.

    `settings` are sections of the configuration, over those that a test wants anyway; it lives in `cgroup`;
    `program` is the command without its subcommand. Entering waits until it is ready; leaving drains it, or kills it
    when the test failed.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Mapping[str, Any]],
        environment: Mapping[str, str] | None = None,
        cgroup: MemoryCgroup | None = None,
        program: Sequence[str] = COMMAND,
    ) -> None:
        self.port, self.grpc_port, self.admin_port = free_port(), free_port(), free_port()
        self.settings: dict[str, dict[str, Any]] = {
            "server": {"host": "127.0.0.1", "port": self.port, "grpc_port": self.grpc_port},
            "queue": {"directory": str(directory / "queue")},
            "metrics": {"port": self.admin_port},
            "tracing": {"enabled": False},
            "shutdown": {"delay": "0s", "grace": "10s"},
        }
        self._config = directory / "config.yaml"
        self.configure(settings)
        command = (*program, "serve")
        super().__init__(
            command if cgroup is None else cgroup.command(command),
            directory,
            clean_environment(directory) | {"CONFIG_PATH": str(self._config)} | dict(environment or {}),
        )

    def configure(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Give it sections over those it has; they are in force from the next start on."""
        for name, section in settings.items():
            self.settings[name] = self.settings.get(name, {}) | dict(section)
        self._config.write_text(json.dumps(self.settings, indent=1))  # JSON is YAML

    @property
    def http_url(self) -> str:
        """The base URL of OTLP/HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    async def start(self) -> None:
        """Start it, or start it again, and wait until it is ready."""
        self.spawn()
        await self.until(self.ready, "ready")

    async def restart(self) -> int:
        """Drain it and start it again on the same ports and directory; returns the exit code of the drain."""
        code = await self.terminate()
        await self.start()
        return code

    async def ready(self) -> bool:
        status, _ = await self.ask("/health/ready")
        return status == 200

    async def ask(self, path: str) -> tuple[int, str]:
        """GET `path` from the admin port: status and body; 0 when nobody answers."""
        return await asyncio.to_thread(_get, self.admin_port, path)

    async def metrics(self) -> Scrape:
        status, text = await self.ask("/metrics")
        assert status == 200, (status, text, self.log)
        return Scrape(text)

    async def law(self) -> Scrape:
        """A scrape of which the law of the first promise was asserted."""
        scrape = await self.metrics()
        scrape.check_law()
        return scrape

    async def settled(self, condition: Callable[[Scrape], bool], what: str) -> Scrape:
        """The first scrape for which `condition` holds; each scrape on the way obeys the law."""
        scrape = await self.law()

        async def holds() -> bool:
            nonlocal scrape
            scrape = await self.law()
            return condition(scrape)

        await self.until(holds, what)
        return scrape

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self.returncode is None:
                code = await self.terminate()
                assert code == 0, f"the drain ended with {code}\n{self.log}"
        finally:
            self.kill()


def _get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()
