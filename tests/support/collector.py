"""Real collectors that pass on what they get to an OTLP/HTTP endpoint: the OpenTelemetry Collector and rotel."""

import importlib.util
import json
import os
import socket
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.core.request import Signal
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.service import clean_environment

__all__ = ["BESIDE_PYTHON", "Collector", "Otelcol", "Rotel", "find_otelcol", "find_rotel"]

_BUILT = Path(__file__).parents[2] / ".tools" / "otelcol"
BESIDE_PYTHON = {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
"""Where rotel finds libpython."""


def find_otelcol() -> Path | None:
    """What OTLP_TEST_COLLECTOR names, whether or not it is there, or what scripts/collector built."""
    named = os.environ.get("OTLP_TEST_COLLECTOR")
    if named:
        return Path(named)
    return _BUILT if _BUILT.exists() else None


def find_rotel() -> Path | None:
    """The agent in the package rotel, where the package is installed and the agent finds Python's own library."""
    spec = importlib.util.find_spec("rotel")
    if spec is None or spec.origin is None:
        return None
    agent = Path(spec.origin).with_name("rotel-agent")
    runs = subprocess.run([agent, "--version"], env=os.environ | BESIDE_PYTHON, capture_output=True, check=False)
    return agent if runs.returncode == 0 else None


class Collector(Process):
    """A collector that receives OTLP over both transports. Entering waits until it listens on both."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        port: int,
        grpc_port: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(command, directory, clean_environment(directory) | dict(environment or {}))
        self._ports = (port, grpc_port)
        self.http_url = f"http://127.0.0.1:{port}"
        self.grpc_url = f"http://127.0.0.1:{grpc_port}"

    async def __aenter__(self) -> Self:
        await self.begin(self._listens, "listening")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def _listens(self) -> bool:
        return all(_connects(port) for port in self._ports)


class Otelcol(Collector):
    """The OpenTelemetry Collector, built by scripts/collector; with a pipeline for each of `signals`."""

    def __init__(self, directory: Path, destination: str, signals: Iterable[Signal] = Signal) -> None:
        program = find_otelcol()
        port, grpc_port = free_port(), free_port()
        assert program is not None, "scripts/collector builds the collector"
        protocols = {
            "http": {"endpoint": f"127.0.0.1:{port}"},
            "grpc": {"endpoint": f"127.0.0.1:{grpc_port}"},
        }
        self._config: dict[str, Any] = {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {"otlphttp": {"endpoint": destination}},
            "service": {"telemetry": {"metrics": {"level": "none"}}},
        }
        self._pipeline = {"receivers": ["otlp"], "exporters": ["otlphttp"]}
        self._file = directory / "otelcol.yaml"
        self.configure(signals)
        super().__init__((str(program), "--config", str(self._file)), directory, port, grpc_port)

    def configure(self, signals: Iterable[Signal]) -> None:
        """Have a pipeline for each of `signals`, from the next start on."""
        self._config["service"]["pipelines"] = {signal.value: self._pipeline for signal in signals}
        self._file.write_text(json.dumps(self._config))


class Rotel(Collector):
    """The agent of the PyPI package rotel."""

    def __init__(self, directory: Path, destination: str) -> None:
        program, port, grpc_port = find_rotel(), free_port(), free_port()
        assert program is not None, "the development requirements bring rotel, for CPython on Linux on x86_64"
        command = [str(program), "start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"]
        command += ["--otlp-exporter-endpoint", destination]
        command += ["--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}"]
        super().__init__(command, directory, port, grpc_port, BESIDE_PYTHON)


def _connects(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
