"""The command line: what is printed where, and with which exit code."""

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from app.cli import main
from app.settings import load, warnings
from tests.support.service import COMMAND

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine, and a temporary directory in which no service left its address."""
    for name in list(os.environ):
        if name.startswith(("OTLP_", "OTEL_")) or name == "CONFIG_PATH":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def config(directory: Path, text: str) -> str:
    path = directory / "c.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("arguments", [["-h"], ["--help"]])
def test_help_tells_the_commands_and_the_exit_codes(arguments: list[str], capsys: Output) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for command in (
        "serve",
        "health",
        "config check",
        "config show",
        "config schema",
        "send",
        "queue status",
        "queue dead",
        "--version",
        "Exit codes",
    ):
        assert command in printed


def test_the_version_is_that_of_the_distribution(capsys: Output) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"otlp-service {version('otlp-service')}\n"


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("serv", "did you mean serve?"),
        ("confg", "did you mean config?"),
        ("healthz", "did you mean health?"),
        ("fly", "the commands are serve, health, config, queue and send"),
        ("queu", "did you mean queue?"),
    ],
)
def test_an_unknown_command_is_told_with_what_was_probably_meant(command: str, hint: str, capsys: Output) -> None:
    assert main([command]) == 2
    assert capsys.readouterr().err == f"otlp-service: {command}: unknown command; {hint}\n"


def test_the_arguments_of_the_process_are_taken_unless_others_are_given(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr("sys.argv", ["otlp-service", "health"])
    assert main() == 1
    assert capsys.readouterr().out.startswith("not ready: no address in ")


def test_health_tells_wrong_usage_on_standard_error(capsys: Output) -> None:
    assert main(["health", "now"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("otlp-service health: now: unknown argument\nusage: ")


@pytest.mark.parametrize("command", [["serve"], [], ["config", "show"]])
def test_a_configuration_with_mistakes_is_refused_with_all_of_them(command: list[str], capsys: Output) -> None:
    arguments = [*command, "--set", "server.port=x", "--set", "exporter.timout=1s"]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "otlp-service: the configuration has mistakes:\n"
        "  exporter.timout: unknown key; did you mean exporter.timeout? (command line)\n"
        "  server.port: 'x' is not a whole number; write one such as 8080 (command line)\n"
    )


def test_serve_does_not_start_without_the_files_that_it_needs(capsys: Output) -> None:
    assert main(["serve", "--set", "exporter.headers_file=/nowhere"]) == 2
    assert "exporter.headers_file: '/nowhere' cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["config", "schema"], ["config", "show"], ["--version"]])
def test_a_reader_that_has_had_enough_gets_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "now"],
        ["serve", "--set", "x"],
        ["serve", "--set", "=x"],
        ["--conf", "x"],
        ["config"],
        ["config", "chek"],
        ["config", "show", "--url", "x"],
        ["config", "schema", "--config", "x"],
    ],
)
def test_wrong_usage_is_two(arguments: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: otlp-service ")


def test_what_is_set_without_an_equals_sign_is_not_shown(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--set", "auth.api_keys:web:hush"])
    shown = capsys.readouterr().err
    assert "argument --set: it is not SECTION.KEY=VALUE; write queue.wait=2s" in shown
    assert "hush" not in shown


def test_check_says_that_there_are_no_mistakes(tmp_path: Path, capsys: Output) -> None:
    path = config(tmp_path, "queue: {directory: /srv/queue, max_bytes: 32MiB}")
    assert main(["config", "check", "--config", path]) == 0
    assert capsys.readouterr().out == "no mistakes\n"


def test_check_tells_every_mistake(tmp_path: Path, capsys: Output) -> None:
    path = config(tmp_path, "server:\n  prot: 1\nqueue:\n  wait: 5\n  directory: /srv/queue\n")
    assert main(["config", "check", "--config", path]) == 1
    assert capsys.readouterr().out == (
        f"error: server.prot: unknown key; did you mean server.port? ({path}:2)\n"
        f"error: queue.wait: '5' is not a duration; a number needs its unit; write 5s or 5ms ({path}:4)\n"
    )


def test_check_does_not_let_the_service_export_to_itself(capsys: Output) -> None:
    assert main(["config", "check", "--set", "exporter.endpoint=http://localhost:8080"]) == 1
    assert capsys.readouterr().out == (
        "error: exporter.endpoint: 'http://localhost:8080' is this service's own server.port; "
        "name the collector's address (command line)\n"
    )


def test_check_tells_what_is_likely_a_mistake_and_is_content(tmp_path: Path, capsys: Output) -> None:
    path = config(tmp_path, "queue: {storage: memory}\nexporter: {endpoint: 'http://c:4317'}\n")
    (doubt,) = warnings(load({}, {}, config=Path(path)).settings)
    assert main(["config", "check", "--config", path]) == 0
    assert capsys.readouterr().out == f"warning: {doubt}\nno mistakes\n"


def test_check_tells_what_is_likely_a_mistake_beside_what_is_one(tmp_path: Path, capsys: Output) -> None:
    path = config(tmp_path, "queue: {storage: memory, wait: 5}\nexporter: {endpoint: 'http://c:4317'}\n")
    assert main(["config", "check", "--config", path]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[:2] for line in lines] == [
        ["warning", " exporter.endpoint"],
        ["error", " queue.wait"],
    ]


def test_check_looks_at_the_files_that_the_settings_name(tmp_path: Path, capsys: Output) -> None:
    path = config(tmp_path, "queue: {storage: memory}\nexporter: {headers_file: /nowhere, timeout: 1ms}\n")
    assert main(["config", "check", "--config", path]) == 1
    assert capsys.readouterr().out == (
        "warning: exporter.timeout: 1ms is unusually short; is its unit right?\n"
        f"error: exporter.headers_file: '/nowhere' cannot be read: No such file or directory ({path}:2)\n"
    )


def test_show_prints_what_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("CONFIG_PATH", config(tmp_path, "server: {port: 1, grpc_port: 2}"))
    monkeypatch.setenv("OTLP_SERVER__GRPC_PORT", "3")
    assert main(["config", "show", "--set", "metrics.port=4", "--set", "metrics.port=5"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["server"]["port"], shown["server"]["grpc_port"], shown["metrics"]["port"]) == (1, 3, 5)


def test_show_needs_none_of_the_files_that_the_settings_name(capsys: Output) -> None:
    assert main(["config", "show", "--set", "exporter.headers_file=/nowhere"]) == 0
    assert "headers_file: /nowhere" in capsys.readouterr().out


def test_a_value_may_hold_an_equals_sign(capsys: Output) -> None:
    assert main(["config", "show", "--set", "exporter.headers=a=b=c"]) == 0
    assert 'headers: {"a": "****"}' in capsys.readouterr().out
