"""`otlp-service health` as Docker and kubelets start it, every few seconds."""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from app.probe import write_address
from tests.support.service import COMMAND, ROOT

RUNS = 15
RATIO = 3.0


class Ready(BaseHTTPRequestHandler):
    """Says ready to everyone."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of a process beside a service that is ready; without what measures coverage."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        write_address("127.0.0.1", server.server_port)
        yield {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        server.shutdown()
        thread.join()


def cpu_seconds(command: tuple[str, ...], environment: dict[str, str]) -> float:
    """User and system time of one run, the interpreter's start and end included."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_health_costs_at_most_three_times_an_interpreter_that_does_nothing(environment: dict[str, str]) -> None:
    commands = {"nothing": (sys.executable, "-c", "pass"), "health": (*COMMAND, "health")}
    for command in commands.values():  # the first run may have to compile
        cpu_seconds(command, environment)
    costs: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            costs[name].append(cpu_seconds(command, environment))
    ratio = statistics.median(costs["health"]) / statistics.median(costs["nothing"])
    assert ratio <= RATIO, f"{ratio:.2f} times {statistics.median(costs['nothing']) * 1000:.1f} ms"


def test_health_says_it_in_one_line(environment: dict[str, str]) -> None:
    result = subprocess.run((*COMMAND, "health"), env=environment, capture_output=True, encoding="utf-8", check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("ready: 127.0.0.1:")
    assert result.stdout.count("\n") == 1
