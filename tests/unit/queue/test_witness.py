import os
from pathlib import Path

import pytest

from app.queue.contract import QueueError
from app.queue.witness import Witness


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data.mdb").write_bytes(bytes(8192))
    return tmp_path / "data.mdb"


def test_a_file_that_stays_and_grows_is_the_same(path: Path) -> None:
    with Witness(path) as witness:
        witness.look()
        os.truncate(path, 16384)
        witness.look()
        assert not witness.lost_a_write()


def test_a_file_that_was_unlinked_is_missed(path: Path) -> None:
    with Witness(path) as witness:
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(QueueError, match=r"data.mdb was taken away while it was in use \(No such file"):
            witness.look()


def test_a_file_that_another_took_the_place_of_is_missed(path: Path) -> None:
    with Witness(path) as witness:
        copy = path.with_name("copy")
        copy.write_bytes(path.read_bytes())
        copy.replace(path)
        with pytest.raises(QueueError, match="was replaced by another file while it was in use"):
            witness.look()


def test_a_file_that_was_cut_is_noticed_from_what_it_was_last(path: Path) -> None:
    with Witness(path) as witness:
        os.truncate(path, 16384)
        witness.look()
        os.truncate(path, 8192)
        with pytest.raises(QueueError, match="was cut from 16384 bytes to 8192 while it was in use"):
            witness.look()


@pytest.mark.parametrize("page", [0, 1])
def test_a_head_that_was_overwritten_is_noticed(path: Path, page: int) -> None:
    with Witness(path) as witness:
        with path.open("r+b") as file:
            file.seek(page * 4096 + 20)
            file.write(b"else")
        with pytest.raises(QueueError, match=r"the head of .*data.mdb was overwritten while it was in use"):
            witness.look()


def test_a_write_that_never_came_to_the_disk_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with Witness(path) as witness:
        assert witness.lost_a_write()
    witness.close()
