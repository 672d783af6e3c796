"""What passes while somebody looks."""

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from app.console.passing import Passing
from app.console.traces import Query
from app.core.request import ExportRequest, Signal
from tests.support.clock import FakeClock
from tests.support.otlp import gauges, log_records, pairs, span, spans

TRACES, METRICS, LOGS = Signal
SPANS = ExportRequest(TRACES, spans("web", span()), 1)


@pytest.fixture
def passing(clock: FakeClock) -> Passing:
    return Passing(clock)


def pass_(passing: Passing, *requests: ExportRequest) -> None:
    for request in requests:
        if passing.tap is not None:
            passing.tap(request)


async def test_while_nobody_looks_there_is_no_tap_and_nothing_is_decoded(passing: Passing, clock: FakeClock) -> None:
    assert passing.tap is None
    passing.look(TRACES)
    assert passing.tap is not None
    await clock.advance(10)
    assert passing.tap is not None  # a page that is left for another looks on
    await clock.advance(1)
    assert passing.tap is None


async def test_what_passes_is_decoded_a_moment_later(passing: Passing) -> None:
    for signal in Signal:
        passing.look(signal)
    pass_(
        passing,
        SPANS,
        ExportRequest(METRICS, gauges("web", {"memory": 1, "threads": 2}), 2),
        ExportRequest(LOGS, log_records("web", LogRecord(event_name="started")), 1),
    )
    assert len(passing.traces) == 0
    await passing.decode()
    assert len(passing.traces) == 1
    assert [point.metric for point in passing.points.values()] == ["memory", "threads"]
    assert [record.body for record in passing.records] == ["started"]
    assert {signal: share.passed for signal, share in passing.shares.items()} == dict.fromkeys(Signal, 1)


async def test_only_the_signal_that_is_looked_at_is_decoded(passing: Passing, clock: FakeClock) -> None:
    passing.look(TRACES)
    await clock.advance(8)
    passing.look(LOGS)
    pass_(passing, SPANS, ExportRequest(METRICS, gauges("web", {"memory": 1}), 1))
    await clock.advance(8)
    pass_(passing, SPANS)
    await passing.decode()
    assert not passing.points
    assert passing.shares[TRACES].passed == 1


async def test_of_a_series_the_latest_point_is_kept_and_of_series_a_bounded_number(passing: Passing) -> None:
    passing.look(METRICS)
    pass_(passing, *(ExportRequest(METRICS, gauges("web", {"memory": n}), 1) for n in range(3)))
    await passing.decode()
    assert [point.value for point in passing.points.values()] == ["2"]
    pass_(
        passing,
        *(
            ExportRequest(METRICS, gauges("web", {f"m{n}": n for n in range(s, s + 100)}), 1)
            for s in range(0, 600, 100)
        ),
    )
    await passing.decode()
    assert len(passing.points) == 500
    assert next(iter(passing.points.values())).metric == "m100"


async def test_points_and_records_are_kept_as_far_as_they_fit(passing: Passing, clock: FakeClock) -> None:
    large = {f"k{n}": "x" * 2000 for n in range(64)}
    for number in range(60):
        passing.look(METRICS)
        passing.look(LOGS)
        pass_(
            passing,
            ExportRequest(METRICS, gauges("web", {f"m{number}": 1}, large), 1),
            ExportRequest(METRICS, gauges("web", {f"m{number}": 2}, large), 1),
            ExportRequest(LOGS, log_records("web", LogRecord(event_name=str(number), attributes=pairs(large))), 1),
        )
        await passing.decode()
    assert [point.metric for point in passing.points.values()] == [f"m{number}" for number in range(31, 60)]
    assert [record.body for record in passing.records] == [str(number) for number in range(31, 60)]


async def test_what_waits_to_be_decoded_is_bounded_in_requests_and_what_is_more_is_counted(passing: Passing) -> None:
    passing.look(TRACES)
    pass_(passing, *[SPANS] * 1200)
    assert (passing.shares[TRACES].passed, passing.shares[TRACES].left_out) == (1200, 200)


async def test_what_waits_to_be_decoded_is_bounded_in_bytes_and_what_is_more_is_counted(passing: Passing) -> None:
    passing.look(TRACES)
    pass_(passing, *[ExportRequest(TRACES, bytes(256 << 10), 1)] * 20, ExportRequest(TRACES, bytes(257 << 10), 1))
    assert (passing.shares[TRACES].passed, passing.shares[TRACES].left_out) == (21, 5)


async def test_decoding_takes_a_bounded_time_of_each_second(passing: Passing, clock: FakeClock) -> None:
    class Slow:
        """A clock on which each look takes 20 ms."""

        def monotonic(self) -> float:
            clock.now += 0.02
            return clock.now

    passing.look(TRACES)
    pass_(passing, *(ExportRequest(TRACES, spans("web", span(trace=n)), 1) for n in range(1, 21)))
    passing._clock.monotonic = Slow().monotonic  # type: ignore[method-assign]
    await passing.decode()
    assert len(passing.traces) == 3  # the others wait
    await passing.decode()
    assert len(passing.traces) == 6


async def test_a_large_request_is_decoded_over_several_turns(passing: Passing) -> None:
    passing.look(TRACES)
    pass_(passing, ExportRequest(TRACES, spans("web", *(span(number=n) for n in range(1, 221))), 220))
    await passing.decode()
    (trace,) = passing.traces.find(Query())
    assert len(trace.spans) == 220


async def test_what_cannot_be_decoded_is_counted_and_harms_nobody(passing: Passing) -> None:
    passing.look(TRACES)
    pass_(passing, ExportRequest(TRACES, b"\xff\xff", 1), SPANS)
    await passing.decode()
    assert len(passing.traces) == 1
    assert passing.shares[TRACES].left_out == 1


async def test_what_was_shown_is_forgotten_long_after_the_last_look(passing: Passing, clock: FakeClock) -> None:
    passing.look(TRACES)
    pass_(passing, SPANS)
    await passing.decode()
    await clock.advance(600)
    await passing.decode()
    assert len(passing.traces) == 1
    await clock.advance(1)
    await passing.decode()
    assert len(passing.traces) == 0
    assert passing.shares == {}
