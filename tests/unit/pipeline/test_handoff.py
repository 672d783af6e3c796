"""What is left when the service ends goes to a sibling, and what does not stays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.core.errors import InvalidData, NotAllowed, PartlyRejected, Retryable
from app.core.request import ExportRequest, Signal
from app.pipeline.admission import Admission
from app.pipeline.handoff import Handoff
from app.pipeline.retry import Retry
from app.queue import DiskQueue, LmdbStore, MemoryQueue, Queue
from app.queue.store import RESERVE_BYTES
from app.settings import ExporterSettings, RetrySettings
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock, turns
from tests.support.log_lines import kinds
from tests.support.sink import Sink

TRACES, METRICS, LOGS = Signal
LONG = 60.0


class Picky(Sink):
    """Refuses the bodies that are in `bad`."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: dict[bytes, Exception] = {}

    async def consume(self, request: ExportRequest) -> None:
        if request.body in self.bad:
            raise self.bad[request.body]
        await super().consume(request)


@pytest.fixture(params=["memory", "disk", "disk alone"])
async def queue(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    clock: FakeClock,
    metrics: Metrics,
    watch_the_law: Callable[[Queue], None],
) -> AsyncIterator[Queue]:
    async with AsyncExitStack() as stack:
        queue: Queue = MemoryQueue(max_bytes=1 << 20, patience=0.01, clock=clock)
        if request.param != "memory":
            max_bytes = RESERVE_BYTES + (16 << 20)
            queue = DiskQueue(
                LmdbStore(tmp_path, max_bytes),
                max_bytes=max_bytes,
                memory_bytes=1 << 20 if request.param == "disk" else 300,
                patience=0.01,
                clock=clock,
                metrics=metrics,
            )
        await stack.enter_async_context(queue)
        watch_the_law(queue)
        await turns()
        yield queue


@pytest.fixture
def sibling() -> Picky:
    return Picky()


@pytest.fixture
def handoff(queue: Queue, sibling: Picky, metrics: Metrics) -> Handoff:
    return Handoff(queue, dict.fromkeys(Signal, sibling), ExporterSettings(concurrency=2, max_batch_bytes=4), metrics)


async def fill(queue: Queue, metrics: Metrics, signal: Signal, *bodies: bytes) -> None:
    door = Admission(queue, metrics, "grpc", delivered=False)
    for body in bodies:
        await door.consume(ExportRequest(signal, body, 2))


async def test_what_a_sibling_takes_is_settled_after_it_was_taken_and_counted_as_sent(
    handoff: Handoff, queue: Queue, sibling: Picky, metrics: Metrics
) -> None:
    await fill(queue, metrics, TRACES, b"a", b"b", b"cccc", b"d")
    await fill(queue, metrics, LOGS, b"x")
    sibling.hold()
    task = asyncio.create_task(handoff.run(LONG))
    await sibling.wait_for_callers(3)
    assert queue.items(TRACES) == 8
    sibling.release()
    await task
    assert sorted((request.signal.value, request.body) for request in sibling.requests) == [
        ("logs", b"x"), ("traces", b"ab"), ("traces", b"cccc"), ("traces", b"d")
    ]  # fmt: skip
    assert [queue.items(signal) for signal in Signal] == [0, 0, 0]
    assert (handoff.items, metrics.sent.total) == (10, 10)


async def test_an_empty_queue_needs_no_sibling(handoff: Handoff, queue: Queue) -> None:
    await handoff.run(LONG)
    assert (handoff.items, queue.items(TRACES)) == (0, 0)


async def test_what_a_sibling_refuses_stays_in_the_queue_and_holds_up_nothing_else(
    handoff: Handoff, queue: Queue, sibling: Picky, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    sibling.bad = {b"bad1": InvalidData("its bound is smaller"), b"bad2": InvalidData("its bound is smaller")}
    await fill(queue, metrics, TRACES, b"bad1", b"good", b"bad2", b"fine")
    await handoff.run(LONG)
    assert [request.body for request in sibling.requests] == [b"good", b"fine"]
    assert (queue.items(TRACES), queue.waiting(TRACES)) == (4, 4)
    assert (handoff.items, metrics.dropped.total) == (4, 0)
    assert set(caplog.messages) == {"a sibling (shutdown.handoff) refused 2 spans, which stay: its bound is smaller"}
    assert set(kinds(caplog)) == {("sibling_refused", "invalid")}
    lease = await queue.lease(TRACES, 100)
    assert lease is not None
    assert lease.request.body == b"bad1bad2"


async def test_a_sibling_that_refuses_us_is_asked_no_more_for_that_signal(
    handoff: Handoff, queue: Queue, sibling: Picky, metrics: Metrics
) -> None:
    sibling.bad = {b"none": NotAllowed("a circle", reason="loop")}
    await fill(queue, metrics, TRACES, b"none", b"none", b"more", b"more")
    await fill(queue, metrics, LOGS, b"logs")
    await handoff.run(LONG)
    assert [request.body for request in sibling.requests] == [b"logs"]
    assert (queue.items(TRACES), queue.items(LOGS)) == (8, 0)


async def test_what_a_sibling_takes_in_part_is_sent_and_the_rest_is_dropped_as_by_any_destination(
    handoff: Handoff, queue: Queue, sibling: Picky, metrics: Metrics
) -> None:
    sibling.bad = {b"part": PartlyRejected("one has no name", items=1)}
    await fill(queue, metrics, TRACES, b"part")
    await handoff.run(LONG)
    assert queue.items(TRACES) == 0
    assert (handoff.items, metrics.sent.total, metrics.dropped.total) == (1, 1, 1)


async def test_a_sibling_that_says_later_is_asked_again(
    queue: Queue, sibling: Picky, metrics: Metrics, clock: FakeClock
) -> None:
    sibling.error = Retryable("it closes", reason="unavailable")
    chain = Retry(sibling, RetrySettings(initial_interval=0.1), clock, "handoff")
    handoff = Handoff(queue, dict.fromkeys(Signal, chain), ExporterSettings(), metrics)
    await fill(queue, metrics, TRACES, b"a")
    task = asyncio.create_task(handoff.run(LONG))
    await turns()
    sibling.error = None
    await clock.skip()
    await task
    assert (handoff.items, queue.items(TRACES)) == (2, 0)


async def test_when_its_time_is_over_what_is_under_way_goes_back_to_the_queue(
    handoff: Handoff, queue: Queue, sibling: Picky, metrics: Metrics
) -> None:
    sibling.bad = {b"bad1": InvalidData("no")}
    sibling.hold()
    await fill(queue, metrics, TRACES, b"bad1", b"held", b"more")
    await handoff.run(0.05)
    assert sibling.waiting == 0
    assert (queue.items(TRACES), queue.waiting(TRACES), handoff.items) == (6, 6, 0)


async def test_a_mistake_of_ours_keeps_what_it_was_made_with_and_lets_the_rest_go(
    handoff: Handoff, queue: Queue, sibling: Picky, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    sibling.bad = {b"oops": ZeroDivisionError("oops")}
    await fill(queue, metrics, TRACES, b"oops", b"good")
    await handoff.run(LONG)
    assert [request.body for request in sibling.requests] == [b"good"]
    assert queue.waiting(TRACES) == 2
    assert "ZeroDivisionError: oops" in caplog.text
