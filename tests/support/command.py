"""``otlp-service`` beside a service that a test runs, or on its directory."""

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.service import COMMAND, clean_environment

__all__ = ["Result", "command"]


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    output: str
    errors: str

    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.output)


async def command(directory: Path, *arguments: str) -> Result:
    """Run ``otlp-service ARGUMENTS`` with its temporary files, and the address of a service, in `directory`."""
    ended = await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *arguments],
        cwd=directory,
        env=clean_environment(directory),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return Result(ended.returncode, ended.stdout, ended.stderr)
