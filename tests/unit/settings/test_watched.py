"""Files that change while they are in use, as Kubernetes changes them: a directory's link is moved."""

import os
from pathlib import Path

import pytest

from app.settings import Watched


class Mounted:
    """A volume with two files whose contents belong together, and what is made of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seconds = 100.0
        self.while_read: list[str] = []
        """What to mount next, each while the files are read."""
        self.mount("1")
        for name in ("cert", "key"):
            (directory / name).symlink_to(f"..data/{name}")
        self.watched = Watched(
            "a.key", [directory / "cert", directory / "key"], self.pair, monotonic=lambda: self.seconds
        )

    def mount(self, text: str) -> None:
        target = self.directory / f"..{text}"
        target.mkdir()
        for name in ("cert", "key"):
            (target / name).write_text(text)
        (self.directory / "..next").symlink_to(target.name)
        (self.directory / "..next").replace(self.directory / "..data")

    def pair(self, cert: bytes, _key: bytes) -> str:
        if self.while_read:
            self.mount(self.while_read.pop(0))
        if (again := (self.directory / "key").read_bytes()) != cert:
            raise ValueError(f"{cert!r} and {again!r} are no pair")
        return cert.decode()

    def current(self) -> str:
        self.seconds += 1
        return self.watched.current()


def test_a_link_that_is_moved_while_files_are_read_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mounted = Mounted(tmp_path)
    mounted.while_read = ["3", "4"]
    mounted.mount("2")
    assert mounted.current() == "4"
    assert not caplog.messages


def test_files_that_change_all_the_time_leave_the_value_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mounted = Mounted(tmp_path)
    mounted.while_read = list("3456789")
    mounted.mount("2")
    assert mounted.current() == "1"
    assert "they change while they are read; write them elsewhere and move them here" in caplog.text


def test_a_copy_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one")
    seconds = 100.0
    watched = Watched("a.key", [path], bytes.decode, monotonic=lambda: seconds)
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    seconds += 1
    assert watched.current() == "two"


def test_what_was_read_while_a_link_was_moved_is_read_again_although_it_fits(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path)
    moved = ["3"]

    def parse(cert: bytes, key: bytes) -> tuple[bytes, bytes]:
        if moved:
            mounted.mount(moved.pop())
        return cert, key

    assert Watched("a.key", [tmp_path / "cert", tmp_path / "key"], parse).current() == (b"3", b"3")
