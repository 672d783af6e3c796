"""The command line of the queue; tests/process/test_refusals.py uses it beside a service."""

import asyncio
import json
import os
from argparse import Namespace
from pathlib import Path

import pytest

from app.cli import main
from app.core.clock import SystemClock
from app.core.errors import InvalidData
from app.core.request import ExportRequest, Signal
from app.queue import DiskQueue, LmdbStore
from app.queue.store import RESERVE_BYTES
from app.queue_command.local import Local
from app.settings import QueueSettings
from app.telemetry.metrics import Metrics
from tests.support.payload import spans

Output = pytest.CaptureFixture[str]
SIZE = RESERVE_BYTES + (16 << 20)


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine, and a temporary directory in which no service left its address."""
    for name in list(os.environ):
        if name.startswith(("OTLP_", "OTEL_")) or name == "CONFIG_PATH":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A queue with an entry that waits and two dead letters, whose numbers are 1 and 2."""

    async def fill() -> None:
        queue = DiskQueue(
            LmdbStore(tmp_path / "queue", SIZE),
            max_bytes=SIZE,
            memory_bytes=1 << 20,
            patience=0,
            clock=SystemClock(),
            metrics=Metrics("test"),
        )
        async with queue:
            for number in (1, 2):
                await queue.append(ExportRequest(Signal.TRACES, spans(number), number), lambda _: None)
                lease = await queue.lease(Signal.TRACES, 1 << 20)
                assert lease is not None
                queue.bury(lease, InvalidData(f"answer {number}"))
            await queue.append(ExportRequest(Signal.LOGS, b"", 5), lambda _: None)

    asyncio.run(fill())
    return tmp_path / "queue"


def run(directory: Path, *arguments: str) -> int:
    return main(["queue", *arguments, "--directory", str(directory)])


def test_the_status_of_a_stopped_queue(directory: Path, capsys: Output) -> None:
    assert run(directory, "status") == 0
    assert "traces        0     3        2\n" in capsys.readouterr().out
    assert run(directory, "status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["signals"]["logs"] == {"queued_items": 5, "dead_items": 0, "dead_letters": 0}
    assert status["oldest_seconds"] >= 0


def test_letters_are_listed_and_shown(directory: Path, capsys: Output) -> None:
    assert run(directory, "dead", "list", "--limit", "1") == 0
    printed = capsys.readouterr().out
    assert "answer 1\nand more: --limit is 1\n" in printed
    assert run(directory, "dead", "list", "--json", "--reason", "invalid", "--signal", "Traces") == 0
    assert [letter["message"] for letter in json.loads(capsys.readouterr().out)] == ["answer 1", "answer 2"]
    assert run(directory, "dead", "list", "--signal", "metrics") == 0
    assert capsys.readouterr().out == "no dead letters\n"
    assert run(directory, "dead", "show", "2") == 0
    assert len(json.loads(capsys.readouterr().out)["request"]["resourceSpans"][0]["scopeSpans"][0]["spans"]) == 2


def test_letters_are_replayed_and_purged(directory: Path, capsys: Output) -> None:
    assert run(directory, "dead", "replay", "2") == 0
    assert capsys.readouterr().out == "1 dead letter with 2 items moved back to the queue\n"
    assert run(directory, "dead", "purge", "--all") == 1
    assert capsys.readouterr().err == "1 dead letter with 1 item would be deleted for good; say so with --yes\n"
    assert run(directory, "dead", "purge", "--reason", "invalid", "--yes") == 0
    assert capsys.readouterr().out == "1 dead letter with 1 item deleted\n"
    assert run(directory, "dead", "replay", "--all", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"letters": 0, "items": 0, "left": 0}
    assert run(directory, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["signals"]["traces"] == {
        "queued_items": 2,
        "dead_items": 0,
        "dead_letters": 0,
    }


def test_what_could_not_be_moved_is_told(directory: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LmdbStore, "dead_record", lambda *_: None)
    assert run(directory, "dead", "replay", "--all") == 1
    assert capsys.readouterr().err == (
        "0 dead letters with 0 items moved back to the queue; 2 letters could not be moved, the log says why\n"
    )
    assert run(directory, "dead", "show", "1") == 1
    assert capsys.readouterr().err == "otlp-service queue: there is no dead letter 1\n"


def test_a_damaged_letter_is_told(directory: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LmdbStore, "dead_record", lambda *_: b"damaged")
    assert run(directory, "dead", "show", "1") == 1
    assert capsys.readouterr().err == "otlp-service queue: dead letter 1 is damaged: 7 bytes are no record\n"


def test_a_disk_that_fails_is_told(directory: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("Input/output error")

    monkeypatch.setattr(LmdbStore, "commit", fail)
    assert run(directory, "dead", "purge", "--all", "--yes") == 1
    assert capsys.readouterr().err == "otlp-service queue: the queue cannot be written\n"


@pytest.mark.parametrize(
    "arguments", [["show", "9"], ["replay", "1", "9"], ["purge", "9", "--yes"]], ids=lambda arguments: arguments[0]
)
def test_a_letter_that_is_named_must_be_there(directory: Path, arguments: list[str], capsys: Output) -> None:
    assert run(directory, "dead", *arguments) == 1
    assert capsys.readouterr().err == "otlp-service queue: there is no dead letter 9\n"


def test_the_directory_comes_from_the_configuration(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert main(["queue", "status", "--set", f"queue.directory={directory}"]) == 0
    monkeypatch.setenv("OTLP_QUEUE__DIRECTORY", str(directory))
    assert main(["queue", "status"]) == 0
    assert capsys.readouterr().out.count("SIGNAL") == 2
    assert main(["queue", "status", "--set", "queue.directory=" + str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == (
        f"otlp-service queue: queue.directory: there is no queue in {tmp_path / 'none'}; see --directory\n"
    )
    assert not (tmp_path / "none").exists()


def test_a_queue_in_memory_has_no_directory(capsys: Output) -> None:
    assert main(["queue", "status", "--set", "queue.storage=memory"]) == 1
    assert "no service runs here, and a queue in memory ends with it" in capsys.readouterr().err


def test_mistakes_in_the_configuration_are_told(capsys: Output) -> None:
    assert main(["queue", "status", "--set", "queue.wait=x"]) == 2
    assert "queue.wait: 'x' is not a duration" in capsys.readouterr().err


def test_a_directory_that_is_held_is_told(directory: Path, capsys: Output) -> None:
    store = LmdbStore(directory, SIZE)
    store.open()
    try:
        assert run(directory, "status") == 1
    finally:
        store.close()
    assert f"is held by another process (pid {os.getpid()})" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dead"],
        ["fly"],
        ["dead", "show"],
        ["dead", "show", "x"],
        ["dead", "show", "0"],
        ["dead", "list", "--signal", "profiles"],
        ["dead", "list", "--limit", "-1"],
        ["dead", "replay"],
        ["dead", "replay", "--all", "--signal", "logs"],
        ["dead", "purge", "--yes"],
        ["dead", "purge", "3", "--all"],
        ["status", "--url", "http://localhost:1", "--directory", "x"],
        ["status", "--url", "localhost"],
    ],
)
def test_wrong_usage_is_two(arguments: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["queue", *arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: otlp-service queue")


async def test_leaving_twice_is_safe(directory: Path) -> None:
    local = Local(QueueSettings(directory=directory))
    async with local:
        assert Namespace(**local._desk.status()).storage == "disk"
    await local.__aexit__(None, None, None)
