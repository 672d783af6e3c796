import time

from app.core.clock import SystemClock


async def test_the_systems_clocks_are_the_machines() -> None:
    clock = SystemClock()
    before, before_ns = time.monotonic(), time.time_ns()
    await clock.sleep(0)
    assert before <= clock.monotonic() <= time.monotonic()
    assert before_ns <= clock.now_ns() <= time.time_ns()


async def test_sleeping_takes_at_least_as_long() -> None:
    clock = SystemClock()
    began = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - began >= 0.0099
