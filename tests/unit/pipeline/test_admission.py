import asyncio

import pytest

from app.core.errors import InvalidData, Retryable
from app.core.request import ExportRequest, Signal
from app.pipeline.admission import Admission
from app.queue import MemoryQueue
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock, turns

REQUEST = ExportRequest(Signal.TRACES, b"spans", 3)


@pytest.fixture
def queue(clock: FakeClock) -> MemoryQueue:
    return MemoryQueue(max_bytes=1000, patience=0.01, clock=clock)


def accepted(metrics: Metrics, signal: str, transport: str) -> float | None:
    labels = {"signal": signal, "transport": transport}
    return metrics.registry.get_sample_value("otlp_receiver_accepted_items_total", labels)


async def test_what_is_admitted_is_queued_and_counted_for_its_transport(queue: MemoryQueue, metrics: Metrics) -> None:
    await Admission(queue, metrics, "grpc", delivered=False).consume(REQUEST)
    await Admission(queue, metrics, "http", delivered=False).consume(ExportRequest(Signal.LOGS, b"x", 10))
    assert (queue.items(Signal.TRACES), queue.items(Signal.LOGS)) == (3, 10)
    assert (accepted(metrics, "traces", "grpc"), accepted(metrics, "traces", "http")) == (3, 0)
    assert (accepted(metrics, "logs", "grpc"), accepted(metrics, "logs", "http")) == (0, 10)


async def test_a_closing_service_refuses_for_now(queue: MemoryQueue, metrics: Metrics) -> None:
    admission = Admission(queue, metrics, "http", delivered=False)
    admission.closed = True
    with pytest.raises(Retryable, match="shutting down") as refusal:
        await admission.consume(REQUEST)
    assert refusal.value.reason == "closing"
    assert accepted(metrics, "traces", "http") == queue.items(Signal.TRACES) == 0


async def test_what_a_full_queue_refuses_is_not_counted(queue: MemoryQueue, metrics: Metrics) -> None:
    admission = Admission(queue, metrics, "http", delivered=False)
    large = ExportRequest(Signal.TRACES, bytes(700), 1)
    await admission.consume(large)
    with pytest.raises(Retryable):
        await admission.consume(large)
    assert accepted(metrics, "traces", "http") == queue.items(Signal.TRACES) == 1


async def test_with_delivered_a_client_waits_for_the_destination(queue: MemoryQueue, metrics: Metrics) -> None:
    client = asyncio.create_task(Admission(queue, metrics, "http", delivered=True).consume(REQUEST))
    await turns()
    assert accepted(metrics, "traces", "http") == 3
    assert not client.done()
    lease = await queue.lease(Signal.TRACES, 1000)
    assert lease is not None
    queue.settle(lease)
    await client


async def test_with_delivered_a_client_hears_the_refusal(queue: MemoryQueue, metrics: Metrics) -> None:
    client = asyncio.create_task(Admission(queue, metrics, "http", delivered=True).consume(REQUEST))
    await turns()
    lease = await queue.lease(Signal.TRACES, 1000)
    assert lease is not None
    queue.bury(lease, InvalidData("an id of three bytes"))
    with pytest.raises(InvalidData, match="three bytes"):
        await client


async def test_with_delivered_a_client_that_leaves_is_delivered_all_the_same(
    queue: MemoryQueue, metrics: Metrics
) -> None:
    client = asyncio.create_task(Admission(queue, metrics, "http", delivered=True).consume(REQUEST))
    await turns()
    client.cancel()
    await asyncio.wait({client})
    lease = await queue.lease(Signal.TRACES, 1000)
    assert lease is not None
    assert lease.request == REQUEST
    queue.settle(lease)
    assert queue.items(Signal.TRACES) == 0


async def test_what_is_taken_is_shown_to_who_looks_and_nothing_else_is(queue: MemoryQueue, metrics: Metrics) -> None:
    admission = Admission(queue, metrics, "http", delivered=False)
    large = ExportRequest(Signal.TRACES, bytes(700), 1)
    shown: list[ExportRequest] = []
    await admission.consume(REQUEST)
    admission.tap = shown.append
    await admission.consume(REQUEST)
    with pytest.raises(Retryable):
        await admission.consume(large)
    assert shown == [REQUEST]
