"""A client in another language: the OpenTelemetry SDK for Node.js, which tells what it made and what became of it."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from app.core.request import Signal
from tests.support.leaves import parse_json
from tests.support.patience import PATIENCE
from tests.support.process import Process
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
        env=_environment(directory, variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    made = json.loads(ended.stdout)
    return {signal: parse_json(signal, made[signal.value]) for signal in Signal}


class NodeLoad(Process):
    """Exports numbered spans one batch after another from entering to leaving; see `tests/clients/node/load.mjs`.

    `directory` is its own, and made.
    """

    def __init__(self, directory: Path, endpoint: str, protocol: str, *, first: int) -> None:
        directory.mkdir()
        super().__init__(
            [_node(), str(_LOAD), str(first)],
            directory,
            _environment(directory, {"ENDPOINT": endpoint, "PROTOCOL": protocol}),
        )

    def _exports(self) -> list[tuple[range, str | None]]:
        whole = self.output[: self.output.rfind("\n") + 1]  # it may be writing another
        told = [json.loads(line) for line in whole.splitlines()]
        return [(range(line["first"], line["first"] + line["spans"]), line["error"]) for line in told]

    @property
    def acknowledged(self) -> set[int]:
        return {number for numbers, error in self._exports() if error is None for number in numbers}

    @property
    def given_up(self) -> list[str]:
        """What each export that failed for good failed of."""
        return [error for _, error in self._exports() if error is not None]

    async def __aenter__(self) -> Self:
        self.spawn()

        async def sends() -> bool:
            return bool(self.acknowledged)

        await self.until(sends, "the first export")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                assert await self.terminate() == 0, self.log
        finally:
            self.kill()


def _node() -> str:
    node = find_node()
    assert node is not None, "scripts/node-client installs the SDK for Node.js"
    return node


def _environment(directory: Path, variables: dict[str, str]) -> dict[str, str]:
    standard = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    return clean_environment(directory) | {"NODE_PATH": str(_PACKAGES)} | standard
