"""What `otlp-service health` makes of its arguments, and the file that `serve` leaves for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.probe import address_file, main, read_address, remove_address, write_address


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_the_file_lies_in_the_temporary_directory_one_for_each_user(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert address_file() == f"{temporary}/otlp-service-{os.geteuid()}.address"
    monkeypatch.setenv("TMPDIR", "")
    assert address_file() == f"/tmp/otlp-service-{os.geteuid()}.address"  # noqa: S108 - the fact under test


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "localhost", "fe80::1%eth0"])
def test_an_address_that_was_left_is_found(host: str) -> None:
    assert write_address(host, 9090) == (host, 9090)
    assert read_address() == (host, 9090)


def test_the_file_is_one_line_that_only_its_user_reads() -> None:
    write_address("127.0.0.1", 9090)
    file = Path(address_file())
    assert file.read_text() == "127.0.0.1 9090\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_address_replaces_the_last_one_and_leaves_nothing_else(temporary: Path) -> None:
    write_address("127.0.0.1", 1)
    Path(f"{address_file()}.{os.getpid()}").write_text("left by a process that was killed")
    write_address("127.0.0.1", 2)
    assert read_address() == ("127.0.0.1", 2)
    assert [file.name for file in temporary.iterdir()] == [Path(address_file()).name]


def test_an_address_is_taken_away_by_the_one_who_left_it() -> None:
    remove_address(*write_address("127.0.0.1", 1))
    assert not Path(address_file()).exists()
    remove_address("127.0.0.1", 1)


def test_an_address_that_another_has_left_since_stays() -> None:
    write_address("127.0.0.1", 1)
    write_address("127.0.0.1", 2)
    remove_address("127.0.0.1", 1)
    assert read_address() == ("127.0.0.1", 2)


def test_an_address_that_vanishes_meanwhile_is_as_good_as_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    write_address("127.0.0.1", 1)
    unlink = os.unlink

    def slow(path: str) -> None:
        unlink(path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", slow)
    remove_address("127.0.0.1", 1)
    assert not Path(address_file()).exists()


def test_a_link_is_not_followed(temporary: Path) -> None:
    (temporary / "theirs").write_text("127.0.0.1 1\n")
    Path(address_file()).symlink_to(temporary / "theirs")
    assert read_address() is None
    write_address("127.0.0.1", 2)
    assert (temporary / "theirs").read_text() == "127.0.0.1 1\n"
    assert read_address() == ("127.0.0.1", 2)


def test_the_file_of_another_user_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    Path(address_file()).write_text("127.0.0.1 1\n")
    assert read_address() is None


def test_what_is_no_file_does_not_count() -> None:
    Path(address_file()).mkdir()
    assert read_address() is None
    Path(address_file()).rmdir()
    os.mkfifo(address_file())
    assert read_address() is None


@pytest.mark.parametrize("content", ["", "127.0.0.1", "127.0.0.1 x", "127.0.0.1 0", "127.0.0.1 70000", "a \u0663"])
def test_what_is_no_address_does_not_count(content: str) -> None:
    Path(address_file()).write_text(content, "utf-8")
    assert read_address() is None


def test_a_temporary_directory_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(FileNotFoundError):
        write_address("127.0.0.1", 1)


def test_without_an_address_it_is_not_ready_and_says_why() -> None:
    assert main([]) == (1, f"not ready: no address in {address_file()}; is `otlp-service serve` running?")


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["--url", "x", "--help"]])
def test_help_is_no_mistake(arguments: list[str]) -> None:
    code, text = main(arguments)
    assert code == 0
    assert "--timeout SECONDS" in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["now"], "now: unknown argument"),
        (["--uri=x"], "--uri: unknown argument"),
        (["--url"], "--url: needs a value"),
        (["--url", "http://[::1]:1/", "--timeout"], "--timeout: needs a value"),
        (["--timeout", "soon"], "--timeout: 'soon' is not a time in seconds"),
        (["--timeout=0"], "--timeout: '0' is not a time in seconds"),
        (["--timeout=nan"], "--timeout: 'nan' is not a time in seconds"),
        (
            ["--url", "127.0.0.1:9090"],
            "--url: '127.0.0.1:9090' is not a URL that can be asked; write http://127.0.0.1:9090",
        ),
        (["--url=https://127.0.0.1:9090"], "is not a URL that can be asked"),
        (["--url=http://:9090/"], "is not a URL that can be asked"),
        (["--url=http://127.0.0.1:0/"], "is not a URL that can be asked"),
        (["--url=http://127.0.0.1:http/"], "is not a URL that can be asked"),
        (["--url=http://127.0.0.1/a b"], "is not a URL that can be asked"),
        (["--url=http://127.0.0.1/a\r\nb: c"], "is not a URL that can be asked"),
        (["--url=http://é/"], "is not a URL that can be asked"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], problem: str) -> None:
    code, text = main(arguments)
    assert code == 2
    assert problem in text.splitlines()[0]
    assert text.startswith("otlp-service health: ")


def test_health_imports_next_to_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); from app.cli import main; main(['health']);"
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TMPDIR": "/nowhere",
        },
    )
    assert result.stdout.splitlines()[-1] == "_socket app app.cli app.probe"
