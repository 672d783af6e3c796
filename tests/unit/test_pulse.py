"""Threads show that they go on, or a component is silent."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.health import Health
from app.pulse import ask_resolver, ask_threads, lost_threads, watch
from tests.support.clock import FakeClock, turns

MINE = Path("/proc/self/task")


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


def others(directory: Path, thread: threading.Thread) -> Path:
    """The threads of this process as Linux would have them if it had `thread` no more."""
    for number in {str(other.native_id) for other in threading.enumerate()} - {str(thread.native_id)}:
        (directory / number).mkdir()
    return directory


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


async def test_threads_that_ask_for_names_answer() -> None:
    await ask_resolver()


def test_no_thread_is_lost_that_linux_has(worker: threading.Thread) -> None:
    assert worker.is_alive()
    assert lost_threads(MINE) == []


def test_a_thread_is_lost_that_linux_has_no_more(tmp_path: Path, worker: threading.Thread) -> None:
    assert lost_threads(others(tmp_path, worker)) == ["worker"]


def test_where_nobody_lists_threads_none_is_lost(tmp_path: Path) -> None:
    assert lost_threads(tmp_path / "nowhere") == []


async def test_who_asks_for_threads_waits_for_ever_when_one_is_lost(
    tmp_path: Path, worker: threading.Thread, caplog: pytest.LogCaptureFixture
) -> None:
    await ask_threads()
    with caplog.at_level(logging.CRITICAL):
        asking = asyncio.create_task(ask_threads(others(tmp_path, worker)))
        await turns()
    assert not asking.done()
    assert caplog.messages == ["threads have ended without a word, and what they do is not done: worker"]
    asking.cancel()
