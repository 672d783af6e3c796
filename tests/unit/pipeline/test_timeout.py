import asyncio

import pytest

from app.core.errors import InvalidData, Retryable
from app.core.request import ExportRequest, Signal
from app.pipeline.timeout import Timeout
from tests.support.clock import turns
from tests.support.sink import Sink

REQUEST = ExportRequest(Signal.TRACES, b"x", 1)


async def test_what_is_taken_in_time_is_taken() -> None:
    sink = Sink()
    await Timeout(sink, 3600).consume(REQUEST)
    assert sink.requests == [REQUEST]


async def test_no_answer_in_time_is_retryable_and_ends_the_attempt() -> None:
    sink = Sink()
    sink.hold()
    with pytest.raises(Retryable, match=r"no answer within 0\.01 s") as failure:
        await Timeout(sink, 0.01).consume(REQUEST)
    assert failure.value.reason == "timeout"
    assert sink.waiting == 0


async def test_a_refusal_passes() -> None:
    with pytest.raises(InvalidData, match="bad"):
        await Timeout(Sink(InvalidData("bad")), 3600).consume(REQUEST)


async def test_a_timeout_of_the_destination_itself_is_retryable_too() -> None:
    with pytest.raises(Retryable):
        await Timeout(Sink(TimeoutError()), 3600).consume(REQUEST)


async def test_cancelling_is_no_timeout() -> None:
    sink = Sink()
    sink.hold()
    attempt = asyncio.create_task(Timeout(sink, 3600).consume(REQUEST))
    await turns()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
