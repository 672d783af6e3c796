import os
from pathlib import Path

import pytest

from app.queue.contract import QueueError
from app.queue.directory import Directory


def test_who_let_go_as_it_should_is_known_to_the_next(tmp_path: Path) -> None:
    for well in (True, False, True):
        held = Directory(tmp_path)
        held.take()
        held.leave(well=well)
        held.leave(well=not well)  # says nothing any more
        following = Directory(tmp_path)
        following.take()
        assert following.ended_well is well
        following.leave(well=True)


def test_who_never_was_there_did_not_end_well(tmp_path: Path) -> None:
    held = Directory(tmp_path)
    held.take()
    assert not held.ended_well
    assert (tmp_path / "owner").read_text() == f"{os.getpid():<19}\n"
    held.leave(well=True)
    assert (tmp_path / "owner").read_text() == f"{'closed':<19}\n"


def test_a_disk_that_fails_at_the_end_makes_it_no_good_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Directory(tmp_path)
    held.take()

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        held.leave(well=True)
    following = Directory(tmp_path)
    following.take()
    assert not following.ended_well
    following.leave(well=True)


def test_the_name_of_each_directory_that_was_made_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, set[tuple[str, bool]]()
    path = tmp_path / "volume" / "service" / "queue"

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.add((str(Path(f"/proc/self/fd/{descriptor}").readlink()), path.is_dir()))

    monkeypatch.setattr(os, "fsync", noted)
    held = Directory(path)
    held.take()
    held.leave(well=True)
    assert synced == {(str(parent), True) for parent in path.parents[:3]}


def test_one_at_a_time(tmp_path: Path) -> None:
    held, other = Directory(tmp_path), Directory(tmp_path)
    held.take()
    with pytest.raises(QueueError, match=rf"held by another process \(pid {os.getpid()}\)"):
        other.take()
    other.leave(well=False)
    held.leave(well=True)
