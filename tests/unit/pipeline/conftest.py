import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from app.core.request import Signal
from app.queue import Queue
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock, turn

Watch = Callable[[Queue], None]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
async def watch_the_law(metrics: Metrics) -> AsyncIterator[Watch]:
    """Look at every turn of the loop whether the law of the first promise holds, until the test ends."""
    watchers: list[asyncio.Task[None]] = []

    async def look(queue: Queue) -> None:
        while True:
            came = metrics.accepted.total + metrics.recovered.total
            went = metrics.sent.total + metrics.dropped.total
            here = sum(queue.items(signal) + queue.dead.items(signal) for signal in Signal)
            assert came == went + here
            await turn()

    yield lambda queue: watchers.append(asyncio.create_task(look(queue)))
    assert watchers
    for watcher in watchers:
        watcher.cancel()
        (outcome,) = await asyncio.gather(watcher, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome
