"""A queue on a real disk and one in memory, with a clock that stands still."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from app.queue import DiskQueue, LmdbStore, MemoryQueue, Queue
from app.queue.store import RESERVE_BYTES, Store
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.storage import FaultyStore

MIB = 1 << 20
PATIENCE = 0.02

MakeQueue = Callable[..., AbstractAsyncContextManager[Queue]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return FaultyStore(LmdbStore(tmp_path / "queue", RESERVE_BYTES + 64 * MIB))


@pytest.fixture
def make_disk(clock: FakeClock, metrics: Metrics, store: FaultyStore) -> Callable[..., DiskQueue]:
    """Make a queue on disk; `capacity` bytes of records fit."""

    def make(
        *,
        capacity: int = 64 * MIB,
        memory_bytes: int = 3 * MIB,
        patience: float = PATIENCE,
        on: Store | None = None,
    ) -> DiskQueue:
        return DiskQueue(
            on or store,
            max_bytes=RESERVE_BYTES + capacity,
            memory_bytes=memory_bytes,
            patience=patience,
            clock=clock,
            metrics=metrics,
        )

    return make


@pytest.fixture
async def disk(make_disk: Callable[..., DiskQueue]) -> AsyncIterator[DiskQueue]:
    async with make_disk() as queue:
        yield queue


@pytest.fixture(params=["disk", "disk, almost nothing in memory", "memory"])
def make_queue(request: pytest.FixtureRequest, clock: FakeClock, make_disk: Callable[..., DiskQueue]) -> MakeQueue:
    """Make either queue; `capacity` bytes fit, counted as each of them counts."""

    def make(*, capacity: int = 32 * MIB, patience: float = PATIENCE) -> AbstractAsyncContextManager[Queue]:
        if request.param == "memory":
            return MemoryQueue(max_bytes=capacity, patience=patience, clock=clock)
        spilling = 120 if request.param != "disk" else 3 * MIB
        return make_disk(capacity=capacity, memory_bytes=spilling, patience=patience)

    return make


@pytest.fixture
async def queue(make_queue: MakeQueue) -> AsyncIterator[Queue]:
    async with make_queue() as queue:
        yield queue
