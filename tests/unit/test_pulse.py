"""Threads show that they go on, or a component is silent."""

import asyncio
import logging
import resource
import shutil
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from app.health import Health
from app.pulse import Threads, watch
from tests.support.clock import FakeClock, turns


@pytest.fixture
def worker() -> Iterator[threading.Thread]:
    """A thread that lives for as long as the test."""
    over, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        over.wait()

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    begun.wait()
    yield thread
    over.set()
    thread.join()


def tasks(directory: Path, *numbers: int | None, name: str = "python") -> Path:
    """Have Linux list threads with these numbers beside what it lists."""
    for number in numbers:
        task = directory / str(number)
        task.mkdir()
        (task / "comm").write_text(f"{name}\n")
    return directory


def others(thread: threading.Thread) -> set[int | None]:
    """The numbers of this process's threads without `thread`."""
    return {other.native_id for other in threading.enumerate()} - {thread.native_id}


async def test_a_component_is_silent_from_when_its_pulse_does_not_come_back() -> None:
    clock = FakeClock()
    component = Health("1.2.3", clock).component("threads", 30.0)
    hangs = asyncio.Event()
    hangs.set()
    watching = asyncio.create_task(watch(component, hangs.wait, clock, 1.0))
    await turns()
    await clock.advance(1.0)
    assert component.silence() == 0.0
    hangs.clear()
    await clock.advance(1.0)
    await clock.advance(31.0)
    assert component.stuck
    hangs.set()
    await turns()
    await clock.advance(1.0)
    assert component.silence() == 0.0
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_no_thread_is_lost_that_linux_has(worker: threading.Thread) -> None:
    assert worker.is_alive()
    assert Threads().lost() == []


def test_a_thread_is_lost_that_linux_has_no_more(tmp_path: Path, worker: threading.Thread) -> None:
    assert Threads(tasks(tmp_path, *others(worker))).lost() == ["worker"]


def test_a_thread_of_a_library_is_lost_only_where_such_last(tmp_path: Path, worker: threading.Thread) -> None:
    tasks(tmp_path, worker.native_id, *others(worker))
    tasks(tmp_path, -1, name="libuv-worker")
    tasks(tmp_path, -2, name="event_engine")
    threads = Threads(tmp_path)
    assert threads.lost() == []
    for number in (-1, -2):
        shutil.rmtree(tmp_path / str(number))
    assert threads.lost() == ["libuv-worker"]


def test_a_thread_whose_name_cannot_be_read_is_not_lost(tmp_path: Path, worker: threading.Thread) -> None:
    tasks(tmp_path, worker.native_id, *others(worker))
    tasks(tmp_path, -1, name="libuv-worker")
    threads = Threads(tmp_path)
    assert threads.lost() == []
    for task in tmp_path.iterdir():
        (task / "comm").unlink()
    assert threads.lost() == []


def test_where_nobody_lists_threads_none_is_lost(tmp_path: Path) -> None:
    assert Threads(tmp_path / "nowhere").lost() == []


def test_without_a_descriptor_to_look_with_none_is_lost(worker: threading.Thread) -> None:
    threads = Threads()
    assert worker.is_alive()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(file.name) for file in Path("/proc/self/fd").iterdir()}
    lowest = next(number for number in count() if number not in used)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        assert threads.lost() == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_who_asks_for_threads_waits_for_ever_when_one_is_lost(
    tmp_path: Path, worker: threading.Thread, caplog: pytest.LogCaptureFixture
) -> None:
    await Threads().ask()
    with caplog.at_level(logging.CRITICAL):
        asking = asyncio.create_task(Threads(tasks(tmp_path, *others(worker))).ask())
        await turns()
    assert not asking.done()
    assert caplog.messages == ["threads have ended without a word, and what they do is not done: worker"]
    asking.cancel()
