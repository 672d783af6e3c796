from collections.abc import AsyncIterator

import pytest

from app.queue import MemoryQueue
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


@pytest.fixture
async def queue(clock: FakeClock) -> AsyncIterator[MemoryQueue]:
    async with MemoryQueue(max_bytes=1 << 20, patience=0.01, clock=clock) as queue:
        yield queue
