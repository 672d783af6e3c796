"""A client in another language: the OpenTelemetry SDK for Node.js, which tells what it made and what became of it."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

from app.core.request import Signal
from tests.support.leaves import parse_json
from tests.support.patience import PATIENCE
from tests.support.sdk_process import SdkProcess
from tests.support.service import clean_environment

__all__ = ["NodeLoad", "find_node", "send_with_node"]

_ROOT = Path(__file__).parents[2]
_CLIENT = _ROOT / "tests" / "clients" / "node" / "client.mjs"
_LOAD = _CLIENT.with_name("load.mjs")
_PACKAGES = _ROOT / ".tools" / "node" / "node_modules"


def find_node() -> str | None:
    """Node.js, where scripts/node-client has installed the packages of the client."""
    return shutil.which("node") if (_PACKAGES / ".package-lock.json").exists() else None


async def send_with_node(directory: Path, endpoint: str, protocol: str, compression: str) -> dict[Signal, bytes]:
    """Make something of all three signals and send it, configured by the standard variables alone.

    Returns:
        for each signal what the SDK made, as a serialized request. All of it was taken.
    """
    variables = {"ENDPOINT": endpoint, "PROTOCOL": protocol, "COMPRESSION": compression}
    ended = await asyncio.to_thread(
        subprocess.run,
        [_node(), str(_CLIENT)],
        cwd=directory,
        env=clean_environment(directory)
        | {"NODE_PATH": str(_PACKAGES)}
        | {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    made = json.loads(ended.stdout)
    return {signal: parse_json(signal, made[signal.value]) for signal in Signal}


class NodeLoad(SdkProcess):
    """See `tests/clients/node/load.mjs`."""

    def __init__(self, directory: Path, endpoint: str, protocol: str, *, first: int) -> None:
        packages = {"NODE_PATH": str(_PACKAGES)}
        super().__init__([_node(), str(_LOAD)], directory, endpoint, protocol, first=first, environment=packages)


def _node() -> str:
    node = find_node()
    assert node is not None, "scripts/node-client installs the SDK for Node.js"
    return node
