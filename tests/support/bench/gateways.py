"""What is measured: the service in its variants, and its peers, each batching as it does by default, with gzip."""

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from tests.support.collector import BESIDE_PYTHON, Collector, find_otelcol, find_rotel
from tests.support.ports import free_port
from tests.support.service import Service

__all__ = ["DISK", "MEMORY", "NATIVE", "OURS", "PEERS", "Gateway", "ours", "port_of"]

Transport = Literal["http", "grpc"]
_MESSAGE_MIB = 64
"""Of gRPC, which the others limit to 4."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One of those that are compared."""

    name: str
    make: Callable[[Path, str], Service | Collector]
    """Makes the process, of a directory and the destination's endpoint; entering it waits until it listens."""
    missing: Callable[[], str | None] = lambda: None
    """Why it cannot be had here."""
    version: Callable[[], str] = lambda: version("otlp-service")
    transports: tuple[Transport, ...] = ("http", "grpc")


def port_of(process: Service | Collector, transport: Transport) -> int:
    """Where a gateway receives."""
    if isinstance(process, Service):
        return process.port if transport == "http" else process.grpc_port
    return int((process.http_url if transport == "http" else process.grpc_url).rpartition(":")[2])


def ours(settings: Mapping[str, Mapping[str, Any]]) -> Callable[[Path, str], Service]:
    """How to make the service as it ships, but for its own traces, with `settings` over what is measured anyway."""

    def make(directory: Path, endpoint: str) -> Service:
        directory.mkdir()
        service = Service(directory, {"exporter": {"endpoint": endpoint}, "logging": {"level": "warning"}})
        service.configure(settings)
        return service

    return make


MEMORY = Gateway("otlp-service, memory", ours({"queue": {"storage": "memory"}}))
DISK = Gateway("otlp-service, disk with fsync", ours({"queue": {"storage": "disk"}}))
NATIVE = Gateway(
    "otlp-service, memory, native",
    ours({"queue": {"storage": "memory"}, "server": {"grpc_engine": "native"}}),
    transports=("grpc",),
)
OURS = (MEMORY, DISK, NATIVE)


class _Rotel(Collector):
    def __init__(self, directory: Path, endpoint: str) -> None:
        directory.mkdir()
        program, port, grpc_port = find_rotel(), free_port(), free_port()
        command = [str(program), "start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"]
        command += ["--otlp-exporter-endpoint", endpoint, "--otlp-exporter-compression", "gzip"]
        command += ["--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}"]
        command += ["--otlp-grpc-max-recv-msg-size-mib", str(_MESSAGE_MIB)]
        super().__init__(command, directory, port, grpc_port, BESIDE_PYTHON)


class _Otelcol(Collector):
    def __init__(self, directory: Path, endpoint: str, *, disk: bool) -> None:
        directory.mkdir()
        port, grpc_port = free_port(), free_port()
        grpc = {"endpoint": f"127.0.0.1:{grpc_port}", "max_recv_msg_size_mib": _MESSAGE_MIB}
        queue: dict[str, Any] = {"block_on_overflow": True, "batch": {}}
        service: dict[str, Any] = {
            "telemetry": {"logs": {"level": "error"}, "metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp_http"]}},
        }
        config: dict[str, Any] = {
            "receivers": {"otlp": {"protocols": {"grpc": grpc, "http": {"endpoint": f"127.0.0.1:{port}"}}}},
            "exporters": {"otlp_http": {"endpoint": endpoint, "compression": "gzip", "sending_queue": queue}},
            "service": service,
        }
        if disk:
            queue["storage"] = "file_storage"
            service["extensions"] = ["file_storage"]
            config["extensions"] = {"file_storage": {"directory": str(directory), "fsync": True}}
        file = directory / "otelcol.yaml"
        file.write_text(json.dumps(config))
        super().__init__([str(find_otelcol()), "--config", str(file)], directory, port, grpc_port)


def _no_rotel() -> str | None:
    return None if find_rotel() else "PyPI has rotel for CPython before 3.14 on Linux on x86_64, beside a libpython"


def _no_otelcol() -> str | None:
    return None if find_otelcol() else "scripts/collector builds one where Go is"


def _no_storage() -> str | None:
    if reason := _no_otelcol():
        return reason
    has = "file_storage" in _printed("components")
    return None if has else "this one has no file_storage; scripts/collector builds one that has"


def _printed(*arguments: str) -> str:
    return subprocess.run([str(find_otelcol()), *arguments], capture_output=True, text=True, check=True).stdout


def _otelcol_version() -> str:
    found = re.search(r"[\d.]+\d", _printed("--version"))
    return found[0] if found else "of no version"


PEERS = (
    Gateway("rotel, memory", _Rotel, _no_rotel, lambda: version("rotel")),
    Gateway("Collector, memory", lambda d, e: _Otelcol(d, e, disk=False), _no_otelcol, _otelcol_version),
    Gateway(
        "Collector, file_storage with fsync", lambda d, e: _Otelcol(d, e, disk=True), _no_storage, _otelcol_version
    ),
)
"""The gateways that the service is compared with."""
