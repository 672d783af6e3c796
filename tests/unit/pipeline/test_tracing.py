"""A span for each batch, whatever becomes of it."""

import asyncio

import pytest

from app.core.errors import InvalidData, PartlyRejected, Retryable
from app.core.request import ExportRequest, Signal
from app.pipeline.retry import Retry
from app.pipeline.tracing import TracedAttempts, TracedBatches
from app.settings import RetrySettings
from tests.support.clock import FakeClock, turns
from tests.support.sink import Sink
from tests.support.spans import RecordedSpan, RecordingTracer

BATCH = ExportRequest(Signal.LOGS, b"batch", 3)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tracer() -> RecordingTracer:
    return RecordingTracer()


@pytest.fixture
def chain(sink: Sink, clock: FakeClock, tracer: RecordingTracer) -> TracedBatches:
    return TracedBatches(Retry(TracedAttempts(sink), RetrySettings(), clock, "export"), tracer)


async def test_a_batch_that_is_delivered_has_a_span(chain: TracedBatches, sink: Sink, tracer: RecordingTracer) -> None:
    await chain.consume(BATCH)
    assert sink.requests == [BATCH]
    assert tracer.spans == [RecordedSpan("export logs", "delivered", "", {"attempts": 1})]


async def test_a_batch_that_is_tried_again_has_one_span_which_counts_and_tells_why(
    chain: TracedBatches, sink: Sink, clock: FakeClock, tracer: RecordingTracer
) -> None:
    sink.error = Retryable("it is away", reason="unavailable")
    delivery = asyncio.create_task(chain.consume(BATCH))
    await turns()
    await clock.skip()
    assert [span.outcome for span in tracer.spans] == [""]
    sink.error = None
    await clock.skip()
    await delivery
    assert tracer.spans == [RecordedSpan("export logs", "delivered", "", {"attempts": 3, "last_failure": "it is away"})]


async def test_batches_that_are_under_way_together_count_apart(
    chain: TracedBatches, sink: Sink, clock: FakeClock, tracer: RecordingTracer
) -> None:
    sink.error = Retryable("it is away", reason="unavailable")
    first = asyncio.create_task(chain.consume(BATCH))
    await turns()
    second = asyncio.create_task(chain.consume(BATCH))
    await turns()
    sink.error = None
    await clock.skip()
    await asyncio.gather(first, second)
    assert [span.attributes["attempts"] for span in tracer.spans] == [2, 1]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(InvalidData("an id is short"), "invalid"), (PartlyRejected("an id is short", items=1), "rejected")],
)
async def test_a_batch_that_is_refused_says_so_and_so_does_its_span(
    chain: TracedBatches, sink: Sink, tracer: RecordingTracer, error: Exception, outcome: str
) -> None:
    sink.error = error
    with pytest.raises(type(error)):
        await chain.consume(BATCH)
    [span] = tracer.spans
    assert (span.outcome, span.error, span.attributes["attempts"]) == (outcome, "an id is short", 1)


async def test_a_mistake_of_ours_is_passed_on_and_named(
    chain: TracedBatches, sink: Sink, tracer: RecordingTracer
) -> None:
    sink.error = ZeroDivisionError("oops")
    with pytest.raises(ZeroDivisionError):
        await chain.consume(BATCH)
    assert [(span.outcome, span.error) for span in tracer.spans] == [("internal", "ZeroDivisionError: oops")]


async def test_a_batch_that_is_cut_by_the_end_has_a_span_too(
    chain: TracedBatches, sink: Sink, tracer: RecordingTracer
) -> None:
    sink.hold()
    delivery = asyncio.create_task(chain.consume(BATCH))
    await sink.wait_for_callers(1)
    delivery.cancel()
    await asyncio.gather(delivery, return_exceptions=True)
    assert [(span.outcome, span.attributes) for span in tracer.spans] == [("cut", {"attempts": 1})]
