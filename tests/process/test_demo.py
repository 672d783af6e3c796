"""scripts/demo, from the point at which its virtual environment is made."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.process import Process

ROOT = Path(__file__).parents[2]


@contextmanager
def demo(directory: Path, *arguments: str) -> Iterator[Process]:
    temporary = directory / "tmp"
    temporary.mkdir()
    command = (sys.executable, "-m", "scripts.demo", *arguments)
    process = Process(command, directory, os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)})
    process.spawn()
    try:
        yield process
    finally:
        process.kill()
        for pid in processes_of(directory):
            os.kill(pid, signal.SIGKILL)


def left_behind(directory: Path) -> list[Path]:
    return list((directory / "tmp").iterdir())


def processes_of(directory: Path) -> list[int]:
    """The processes that have `directory` in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(directory).encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it ended, or is not ours
    return found


async def test_the_demo_shows_everything_that_it_sends_and_ends_well(tmp_path: Path) -> None:
    with demo(tmp_path, "--once") as process:
        assert await process.wait(60) == 0, process.log
        assert not processes_of(tmp_path)
    assert "10 spans sent over grpc to 127.0.0.1:" in process.output
    assert "9 spans, 3 services, 812ms, 2 errors" in process.output
    assert "All 29 items that were sent were printed." in process.output
    assert "ready: 127.0.0.1:" in process.output
    assert "29 items accepted, 0 recovered, 29 delivered, 0 dropped, 0 dead, 0 left on disk" in process.log
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_demo_ends_when_it_is_told_to_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    with demo(tmp_path) as process:

        async def goes_on() -> bool:
            return "Ctrl-C ends it." in process.output

        await process.until(goes_on, "the demo to go on")
        process.signal(number)
        assert await process.wait() == 0, process.log
        assert not processes_of(tmp_path)
    assert not left_behind(tmp_path)
