"""What became of the last attempts."""

import asyncio

import pytest

from app.console.witness import Attempt, Witness
from app.core.errors import Retryable
from app.core.request import ExportRequest, Signal
from tests.support.clock import FakeClock, turns
from tests.support.sink import Sink

REQUEST = ExportRequest(Signal.TRACES, b"12345", 3)


def away(text: str) -> Retryable:
    return Retryable(text, reason="unavailable")


async def test_it_hands_on_what_comes_and_remembers_when_it_was_taken(clock: FakeClock) -> None:
    sink = Sink()
    witness = Witness(sink, clock)
    await clock.advance(7)
    await witness.consume(REQUEST)
    assert sink.requests == [REQUEST]
    assert witness.succeeded_ns == {Signal.TRACES: clock.now_ns()}
    assert not witness.failures


async def test_what_is_under_way_is_known_until_it_ends_however_it_does(clock: FakeClock) -> None:
    sink = Sink()
    sink.hold()
    witness = Witness(sink, clock)
    tasks = [asyncio.create_task(witness.consume(REQUEST)) for _ in range(2)]
    await turns()
    assert witness.under_way == [Attempt(Signal.TRACES, 3, 5, 0.0)] * 2
    tasks[0].cancel()
    await turns()
    assert len(witness.under_way) == 1
    sink.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert witness.under_way == []


async def test_an_outage_is_one_failure_with_its_number_and_its_times(clock: FakeClock) -> None:
    witness = Witness(Sink(away("connection refused")), clock)
    first = clock.now_ns()
    for _ in range(3):
        with pytest.raises(Retryable):
            await witness.consume(REQUEST)
        await clock.advance(10)
    (failure,) = witness.failures
    assert (failure.times, failure.first_ns, failure.last_ns) == (3, first, first + 20 * 10**9)
    assert (failure.signal, failure.reason, failure.message) == (Signal.TRACES, "unavailable", "connection refused")


async def test_a_bounded_number_of_different_failures_is_remembered_the_latest_first(clock: FakeClock) -> None:
    sink = Sink()
    witness = Witness(sink, clock)
    for number in range(50):
        sink.error = away(f"failure {number}")
        with pytest.raises(Retryable):
            await witness.consume(REQUEST)
    assert [failure.message for failure in witness.failures] == [f"failure {n}" for n in range(49, 19, -1)]
