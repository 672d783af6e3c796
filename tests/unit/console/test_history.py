"""The last hour and the last seconds."""

from app.console.figures import sample
from app.console.history import History
from app.queue import MemoryQueue
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock


async def pass_(history: History, metrics: Metrics, queue: MemoryQueue, clock: FakeClock, *seconds: float) -> None:
    for each in seconds:
        await clock.advance(each)
        history.add(sample(metrics, queue, clock))


async def test_there_is_a_point_every_ten_seconds_however_often_one_looks(
    metrics: Metrics, queue: MemoryQueue, clock: FakeClock
) -> None:
    history = History()
    await pass_(history, metrics, queue, clock, *[1.0] * 31)
    assert len(history.points) == 3
    await pass_(history, metrics, queue, clock, *[10.0] * 5)
    assert len(history.points) == 8


async def test_an_hour_is_kept_and_no_more(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> None:
    history = History()
    await pass_(history, metrics, queue, clock, *[10.0] * 400)
    assert len(history.points) == 360
    assert history.points[-1].time_ns - history.points[0].time_ns == 3590 * 10**9


async def test_a_point_has_the_rates_of_its_ten_seconds(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> None:
    history = History()
    await pass_(history, metrics, queue, clock, 0.0)
    metrics.accepted.labels("traces", "grpc").inc(50)
    metrics.sent.labels("traces").inc(20)
    await pass_(history, metrics, queue, clock, 10.0)
    (point,) = history.points
    assert (point.arrived, point.left, point.fill, point.oldest_seconds) == (5.0, 2.0, 0.0, 0.0)


async def test_rates_are_of_the_last_ten_seconds(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> None:
    history = History()
    assert (history.change, history.latest) == (None, None)
    await pass_(history, metrics, queue, clock, 0.0)
    assert history.change is None
    metrics.accepted.labels("traces", "grpc").inc(100)
    await pass_(history, metrics, queue, clock, *[1.0] * 10)
    assert history.change is not None
    assert history.change.rate("accepted") == 10
    await pass_(history, metrics, queue, clock, 1.0)
    assert history.change.seconds == 10
    assert history.change.rate("accepted") == 0
