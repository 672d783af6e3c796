"""What the service counts, looked at twice."""

from math import inf

import pytest

from app.console.figures import Change, Spread, sample
from app.core.request import ExportRequest, Signal
from app.queue import MemoryQueue
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock


async def test_a_sample_has_all_figures_of_one_turn(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> None:
    metrics.accepted.labels("traces", "grpc").inc(3)
    metrics.request_seconds.labels("logs", "http").observe(0.02)
    seen = sample(metrics, queue, clock)
    assert seen.accepted["traces", "grpc"] == 3
    assert (seen.request_seconds.number, seen.request_seconds.total) == (1, 0.02)
    assert (seen.used_bytes, seen.capacity_bytes, seen.oldest_seconds, seen.full) == (0, 1 << 20, 0.0, False)
    assert (seen.monotonic, seen.time_ns) == (clock.monotonic(), clock.now_ns())


async def test_a_sample_tells_what_waits_and_for_how_long(
    metrics: Metrics, queue: MemoryQueue, clock: FakeClock
) -> None:
    await queue.append(ExportRequest(Signal.LOGS, b"x" * 100, 7), lambda _: None)
    await clock.advance(2.5)
    seen = sample(metrics, queue, clock)
    assert seen.queued == {Signal.TRACES: 0, Signal.METRICS: 0, Signal.LOGS: 7}
    assert seen.oldest_seconds == 2.5
    assert seen.used_bytes >= 100


async def test_a_change_is_by_label_and_by_second(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> None:
    metrics.requests.labels("traces", "http", "200").inc(100)
    before = sample(metrics, queue, clock)
    metrics.requests.labels("traces", "http", "200").inc(10)
    metrics.requests.labels("logs", "http", "200").inc(10)
    metrics.requests.labels("logs", "grpc", "UNAVAILABLE").inc(5)
    metrics.requests.labels("logs", "grpc", "OK")
    await clock.advance(10)
    change = Change(before, sample(metrics, queue, clock))
    assert change.seconds == 10
    assert change.by("requests", 2) == {"200": 20, "UNAVAILABLE": 5}
    assert change.rate("requests") == 2.5
    assert change.rate("requests", lambda labels: labels[1] == "grpc") == 0.5


async def test_a_spread_is_of_what_was_observed_between(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> None:
    metrics.export_seconds.labels("traces").observe(5)
    before = sample(metrics, queue, clock)
    for _ in range(99):
        metrics.export_seconds.labels("traces").observe(0.004)
    metrics.export_seconds.labels("logs").observe(40)
    spread = Change(before, sample(metrics, queue, clock)).spread("export_seconds")
    assert spread.number == 100
    assert [spread.within(share) for share in (0.5, 0.99, 1.0)] == [0.005, 0.005, inf]
    assert spread.mean == pytest.approx(0.40396, abs=0.0001)


def test_of_nothing_there_is_no_time_and_no_mean() -> None:
    empty = Spread((1.0, 2.0), (0, 0, 0), 0.0)
    assert (empty.within(0.99), empty.mean, empty.number) == (None, None, 0)


async def test_at_one_moment_there_is_no_rate(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> None:
    seen = sample(metrics, queue, clock)
    assert Change(seen, seen).rate("accepted") == 0
