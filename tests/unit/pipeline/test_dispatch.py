import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.core.consumer import Consumer
from app.core.errors import InvalidData, NotAllowed, PartlyRejected, Refused
from app.core.request import ExportRequest, Signal
from app.pipeline.admission import Admission
from app.pipeline.dispatch import Dispatcher
from app.queue import DiskQueue, LmdbStore, MemoryQueue, Queue
from app.queue.store import RESERVE_BYTES
from app.settings import ExporterSettings
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock, turns, until
from tests.support.letters import letters
from tests.support.patience import PATIENCE
from tests.support.payload import spans
from tests.support.sink import Sink

LONG = 3600.0
TRACES, METRICS, LOGS = Signal

Start = Callable[..., Awaitable[Dispatcher]]


@pytest.fixture(params=["memory", "disk", "disk alone"])
async def queue(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock, metrics: Metrics
) -> AsyncIterator[Queue]:
    if request.param == "memory":
        yield MemoryQueue(max_bytes=1 << 20, patience=0.01, clock=clock)
        return
    max_bytes = RESERVE_BYTES + (16 << 20)
    memory_bytes = 3 << 20 if request.param == "disk" else 300
    async with DiskQueue(
        LmdbStore(tmp_path, max_bytes),
        max_bytes=max_bytes,
        memory_bytes=memory_bytes,
        patience=0.01,
        clock=clock,
        metrics=metrics,
    ) as disk:
        yield disk


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def start(queue: Queue, sink: Sink, clock: FakeClock, metrics: Metrics) -> AsyncIterator[Start]:
    """Start a dispatcher from the queue to the sink; it ends with the test."""
    async with AsyncExitStack() as lifetimes:

        async def begin(
            *,
            batch_size: int = 1,
            batch_timeout: float = LONG,
            max_batch_bytes: int = 1 << 20,
            concurrency: int = 10,
            max_age: float | None = None,
            to: Consumer = sink,
        ) -> Dispatcher:
            settings = ExporterSettings(
                batch_size=batch_size,
                batch_timeout=batch_timeout,
                max_batch_bytes=max_batch_bytes,
                concurrency=concurrency,
            )
            dispatcher = Dispatcher(queue, dict.fromkeys(Signal, to), settings, max_age, clock, metrics)
            return await lifetimes.enter_async_context(dispatcher)

        yield begin


@pytest.fixture
def admission(queue: Queue, metrics: Metrics) -> Admission:
    return Admission(queue, metrics, "http", delivered=False)


def request(body: bytes = b"x", items: int = 1, signal: Signal = TRACES) -> ExportRequest:
    return ExportRequest(signal, body, items)


def dropped(metrics: Metrics, reason: str, signal: Signal = TRACES) -> float:
    labels = {"signal": signal.value, "reason": reason}
    return metrics.registry.get_sample_value("otlp_exporter_dropped_items_total", labels) or 0.0


def sent(metrics: Metrics, signal: Signal = TRACES) -> float:
    return metrics.registry.get_sample_value("otlp_exporter_sent_items_total", {"signal": signal.value}) or 0.0


# A batch is sent when `batch_size` items wait or `batch_timeout` has passed since the first of them.


async def test_a_batch_is_sent_when_batch_size_items_wait(start: Start, admission: Admission, sink: Sink) -> None:
    await start(batch_size=5)
    await admission.consume(request(b"a", 2))
    await admission.consume(request(b"b", 2))
    await turns(50)
    assert sink.requests == []
    await admission.consume(request(b"c", 2))
    await until(lambda: sink.items(TRACES) == 6)
    assert b"".join(taken.body for taken in sink.requests) == b"abc"


async def test_a_batch_is_sent_when_batch_timeout_has_passed(start: Start, admission: Admission, sink: Sink) -> None:
    await start(batch_size=1000, batch_timeout=0.03)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await admission.consume(request())
    (taken,) = await sink.wait_for(1)
    assert taken == request()
    assert loop.time() - began >= 0.029


async def test_the_size_is_a_trigger_and_no_ceiling(
    queue: Queue, start: Start, admission: Admission, sink: Sink, clock: FakeClock
) -> None:
    for _ in range(10):
        await admission.consume(request(items=100))
    await start(batch_size=5)
    await until(lambda: sink.items(TRACES) == 1000)
    assert max(taken.items for taken in sink.requests) >= 100


async def test_a_batch_is_bounded_in_bytes_and_what_is_left_follows_at_once(
    start: Start, admission: Admission, sink: Sink
) -> None:
    for _ in range(10):
        await admission.consume(request(bytes(400)))
    await start(batch_size=10, max_batch_bytes=1000, batch_timeout=0.01)
    await until(lambda: sink.items(TRACES) == 10)
    assert all(len(taken.body) <= 1000 for taken in sink.requests)


async def test_signals_are_not_mixed(start: Start, admission: Admission, sink: Sink, queue: Queue) -> None:
    await start(batch_size=10)
    for signal in Signal:
        await admission.consume(request(signal.value.encode(), 10, signal))
    await until(lambda: len(sink.requests) == 3)
    assert {taken.signal: taken.body.decode() for taken in sink.requests} == {s: s.value for s in Signal}


@pytest.mark.parametrize("years", [1, -10])
async def test_a_wall_clock_that_jumps_makes_no_batch_earlier_or_later(
    start: Start, admission: Admission, sink: Sink, clock: FakeClock, years: int
) -> None:
    dispatcher = await start(batch_size=3, batch_timeout=LONG, concurrency=1, max_batch_bytes=2)
    sink.hold()
    for body, items in ((b"aa", 3), (b"bb", 3), (b"c", 1)):
        await admission.consume(request(body, items))
    await sink.wait_for_callers(1)
    clock.set_wrong(years * 365 * 86_400.0)
    sink.release()
    await until(lambda: len(sink.requests) >= 2 and (dispatcher._filling or len(sink.requests) == 3))
    assert [taken.body for taken in sink.requests] == [b"aa", b"bb"]
    due = dispatcher._filling[TRACES].when()
    assert due is not None
    assert due - asyncio.get_running_loop().time() <= LONG


# At most `concurrency` batches of a signal are under way at once.


async def test_at_most_concurrency_batches_of_a_signal_are_under_way_at_once(
    start: Start, admission: Admission, sink: Sink, queue: Queue
) -> None:
    sink.hold()
    for _ in range(10):
        await admission.consume(request())
        await admission.consume(request(signal=LOGS))
    await start(concurrency=1, max_batch_bytes=1)
    await sink.wait_for_callers(2)
    await turns(100)
    assert sink.waiting == 2
    assert (queue.waiting(TRACES), queue.waiting(LOGS)) == (9, 9)
    sink.release()
    await until(lambda: len(sink.requests) == 20)


async def test_several_batches_are_under_way_at_once(start: Start, metrics: Metrics, clock: FakeClock) -> None:
    sink = Sink()
    sink.hold()
    queue = MemoryQueue(max_bytes=1 << 20, patience=0, clock=clock)
    settings = ExporterSettings(batch_size=1, concurrency=3, max_batch_bytes=1)
    for _ in range(10):
        await queue.append(request(), lambda _: None)
    async with Dispatcher(queue, dict.fromkeys(Signal, sink), settings, None, clock, metrics):
        await sink.wait_for_callers(3)
        await turns(50)
        assert sink.waiting == 3


async def test_a_batch_that_ended_lets_another_go_in_its_place(sink: Sink, clock: FakeClock, metrics: Metrics) -> None:
    queue = MemoryQueue(max_bytes=1 << 20, patience=0, clock=clock)
    settings = ExporterSettings(batch_size=1, concurrency=1, max_batch_bytes=1)
    for _ in range(3):
        await queue.append(request(), lambda _: None)
    async with Dispatcher(queue, dict.fromkeys(Signal, sink), settings, None, clock, metrics):
        await turns(50)
        assert len(sink.requests) == 3


async def test_a_turn_that_was_for_nothing_is_given_back(sink: Sink, clock: FakeClock, metrics: Metrics) -> None:
    queue = MemoryQueue(max_bytes=1 << 20, patience=0, clock=clock)
    settings = ExporterSettings(batch_size=10, batch_timeout=LONG, concurrency=1)
    await queue.append(request(), lambda _: None)
    async with Dispatcher(queue, dict.fromkeys(Signal, sink), settings, None, clock, metrics) as dispatcher:
        await until(lambda: dispatcher._filling)
        await queue.expire(clock.now_ns() + 1, lambda *_: None)
        dispatcher._filling[TRACES].reschedule(0.0)
        await until(lambda: not dispatcher._filling)
        await queue.append(request(b"new", 10), lambda _: None)
        await turns(50)
        assert [taken.body for taken in sink.requests] == [b"new"]


# What a destination takes is settled after it was taken; what it refuses for good becomes dead letters.


async def test_what_a_destination_takes_is_settled_after_it_was_taken(
    start: Start, admission: Admission, sink: Sink, queue: Queue, metrics: Metrics, clock: FakeClock
) -> None:
    await start()
    sink.hold()
    await admission.consume(request(items=7))
    await sink.wait_for_callers(1)
    assert (queue.items(TRACES), queue.waiting(TRACES), sent(metrics)) == (7, 0, 0)
    sink.release()
    await until(lambda: queue.items(TRACES) == 0)
    assert sent(metrics) == 7
    when = metrics.registry.get_sample_value("otlp_exporter_last_success_timestamp_seconds", {"signal": "traces"})
    assert when == clock.now_ns() / 1e9
    assert metrics.registry.get_sample_value("otlp_exporter_batch_items_sum", {"signal": "traces"}) == 7


@pytest.mark.parametrize(
    ("error", "reason", "said"),
    [
        (
            InvalidData("an id of three bytes"),
            "invalid",
            "the destination refused 7 of 7 spans, which are dead letters",
        ),
        (NotAllowed("401"), "not_allowed", "we are refused, whatever we send: 401; 7 spans are dead letters now"),
        (Refused("a word of tomorrow", reason="new"), "new", "the destination refused 7 of 7 spans"),
    ],
)
async def test_what_it_refuses_for_good_becomes_dead_letters(
    start: Start,
    admission: Admission,
    sink: Sink,
    queue: Queue,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    reason: str,
    said: str,
) -> None:
    sink.error = error
    await start()
    await admission.consume(request(items=7))
    await until(lambda: queue.items(TRACES) == 0)
    assert (queue.dead.items(TRACES), metrics.dropped.total, sent(metrics)) == (7, 0, 0)
    (message,) = caplog.messages
    assert message.startswith(said)
    (letter,) = await letters(queue, 1)
    assert letter.notice.reason == reason


@pytest.mark.parametrize(("rejected", "lost"), [(3, 3), (0, 0), (7, 7), (1_000_000, 7)])
async def test_what_is_partly_rejected_is_sent_but_for_those(
    start: Start, admission: Admission, sink: Sink, queue: Queue, metrics: Metrics, rejected: int, lost: int
) -> None:
    sink.error = PartlyRejected("too old", items=rejected)
    await start()
    await admission.consume(request(items=7))
    await until(lambda: queue.items(TRACES) == 0)
    assert (dropped(metrics, "rejected"), sent(metrics)) == (lost, 7 - lost)


async def test_a_client_that_waits_for_delivery_hears_how_it_ended(
    start: Start, sink: Sink, queue: Queue, metrics: Metrics
) -> None:
    await start()
    admission = Admission(queue, metrics, "http", delivered=True)
    await admission.consume(request(b"taken"))
    sink.error = PartlyRejected("too old", items=1)
    await admission.consume(request(b"taken but for one", 2))
    sink.error = InvalidData("bad")
    with pytest.raises(InvalidData, match="bad"):
        await admission.consume(request(b"refused"))


async def test_a_mistake_of_ours_keeps_the_batch_and_does_not_spin(
    start: Start,
    admission: Admission,
    sink: Sink,
    queue: Queue,
    clock: FakeClock,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink.error = ZeroDivisionError("a mistake")
    await start(concurrency=5)
    await admission.consume(request(b"kept", 7))
    await until(lambda: clock.alarms or len(caplog.messages) > 1)
    await turns(100)
    assert caplog.messages == ["delivering 7 spans failed; they are kept"]
    assert queue.items(TRACES) == 7
    sink.error = None
    await clock.advance(1)
    await until(lambda: queue.items(TRACES) == 0)
    assert [taken.body for taken in sink.requests] == [b"kept"]
    assert sent(metrics) == 7


# What is under way when the dispatcher ends goes back to the queue.


async def test_what_is_under_way_when_the_dispatcher_ends_goes_back_to_the_queue(
    queue: Queue, sink: Sink, admission: Admission, clock: FakeClock, metrics: Metrics
) -> None:
    sink.hold()
    await admission.consume(request(b"under way", 3))
    settings = ExporterSettings(batch_size=1)
    async with Dispatcher(queue, dict.fromkeys(Signal, sink), settings, None, clock, metrics):
        await sink.wait_for_callers(1)
        assert queue.waiting(TRACES) == 0
    assert (queue.items(TRACES), queue.waiting(TRACES)) == (3, 3)
    lease = await queue.lease(TRACES, 1000)
    assert lease is not None
    assert lease.request == request(b"under way", 3)


async def test_what_was_not_decided_of_a_refused_batch_goes_back_too(
    sink: Sink, clock: FakeClock, metrics: Metrics
) -> None:
    queue = MemoryQueue(max_bytes=1 << 20, patience=0, clock=clock)
    bodies = [spans(name=name) for name in ("first", "second", "third", "fourth")]
    for body in bodies:
        await queue.append(request(body), lambda _: None)

    class Moody:
        async def consume(self, request: ExportRequest) -> None:
            if request.items == 4:
                raise InvalidData("one of these")
            if b"first" not in request.body:
                sink.hold()
            await sink.consume(request)

    settings = ExporterSettings(batch_size=1)
    async with Dispatcher(queue, dict.fromkeys(Signal, Moody()), settings, None, clock, metrics):
        await sink.wait_for_callers(1)
        assert (queue.items(TRACES), queue.waiting(TRACES)) == (2, 0)
    assert (queue.items(TRACES), queue.waiting(TRACES), sent(metrics)) == (2, 2, 2)
    lease = await queue.lease(TRACES, 1000)
    assert lease is not None
    assert lease.request.body == b"".join(bodies[2:])


@pytest.mark.parametrize("after", range(12))
async def test_whenever_the_dispatcher_ends_nothing_stays_leased(
    after: int, sink: Sink, clock: FakeClock, metrics: Metrics
) -> None:
    queue = MemoryQueue(max_bytes=1 << 20, patience=0, clock=clock)
    sink.hold()
    for number in range(5):
        await queue.append(request(b"%d" % number), lambda _: None)
    settings = ExporterSettings(batch_size=1, max_batch_bytes=1)
    async with Dispatcher(queue, dict.fromkeys(Signal, sink), settings, None, clock, metrics):
        await turns(after)
    assert queue.waiting(TRACES) == queue.items(TRACES) == 5
    lease = await queue.lease(TRACES, 1000)
    assert lease is not None
    assert lease.request.body == b"01234"


async def test_ending_amid_a_mistake_gives_the_batch_back_once(sink: Sink, clock: FakeClock, metrics: Metrics) -> None:
    queue = MemoryQueue(max_bytes=1 << 20, patience=0, clock=clock)
    sink.error = ZeroDivisionError()
    await queue.append(request(), lambda _: None)
    async with Dispatcher(queue, dict.fromkeys(Signal, sink), ExporterSettings(batch_size=1), None, clock, metrics):
        await until(lambda: clock.alarms)
    assert queue.waiting(TRACES) == 1


# Draining.


async def test_a_drain_does_not_wait_for_batches_to_fill(
    start: Start, admission: Admission, sink: Sink, queue: Queue
) -> None:
    dispatcher = await start(batch_size=1000)
    await admission.consume(request(items=3))
    await admission.consume(request(items=4, signal=LOGS))
    await turns()
    async with asyncio.timeout(PATIENCE):
        await dispatcher.drain(LONG)
    assert (sink.items(TRACES), sink.items(LOGS)) == (3, 4)
    assert all(queue.items(signal) == 0 for signal in Signal)


async def test_a_drain_of_an_empty_queue_is_over(start: Start) -> None:
    dispatcher = await start()
    await dispatcher.drain(0)


async def test_a_drain_ends_in_time_and_leaves_what_is_left(
    start: Start, admission: Admission, sink: Sink, queue: Queue
) -> None:
    dispatcher = await start()
    sink.hold()
    await admission.consume(request(items=3))
    await dispatcher.drain(0.01)
    assert queue.items(TRACES) == 3


async def test_a_drain_in_the_turn_in_which_the_batch_timeout_passes_is_no_mistake(
    start: Start, admission: Admission, sink: Sink, queue: Queue
) -> None:
    dispatcher = await start(batch_size=1000, batch_timeout=3600)
    await admission.consume(request(items=3))
    await until(lambda: dispatcher._filling)
    filling = dispatcher._filling[TRACES]
    filling.reschedule(0.0)
    await until(filling.expired)
    async with asyncio.timeout(PATIENCE):
        await dispatcher.drain(LONG)
    assert sink.items(TRACES) == 3


async def test_a_drain_ends_when_the_last_that_waits_expires(
    start: Start, admission: Admission, queue: Queue, clock: FakeClock
) -> None:
    dispatcher = await start(batch_size=1000)
    await admission.consume(request(items=3))
    await until(lambda: dispatcher._filling)
    draining = asyncio.create_task(dispatcher.drain(LONG))
    await asyncio.sleep(0)
    await queue.expire(clock.now_ns() + 1, dispatcher._expired)
    async with asyncio.timeout(PATIENCE):
        await draining


async def test_a_drain_ends_when_the_last_that_waits_is_damaged(
    start: Start, admission: Admission, queue: Queue, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = await start(batch_size=1000)
    await admission.consume(request(bytes(200)))
    await turns()
    monkeypatch.setattr("app.queue.record.crc32", lambda *_: 0)  # matters to what is read back
    async with asyncio.timeout(PATIENCE):
        await dispatcher.drain(LONG)
    assert sent(metrics) + dropped(metrics, "damaged") == 1


# Age.


async def test_what_is_too_old_is_given_up_and_counted(
    start: Start,
    admission: Admission,
    queue: Queue,
    clock: FakeClock,
    metrics: Metrics,
    sink: Sink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await start(batch_size=1000, max_age=60)
    await admission.consume(request(items=3))
    await until(lambda: clock.alarms)
    for _ in range(60):
        await clock.advance(1)
    assert (queue.items(TRACES), dropped(metrics, "expired")) == (3, 0)
    await clock.advance(1)
    await until(lambda: queue.items(TRACES) == 0)
    assert dropped(metrics, "expired") == 3
    assert caplog.messages == ["3 spans were older than queue.max_age"]
    await admission.consume(request(items=1000))
    await until(lambda: sink.items(TRACES) == 1000)


async def test_a_batch_that_expired_before_it_was_due_is_not_missed(
    start: Start, admission: Admission, queue: Queue, clock: FakeClock, sink: Sink
) -> None:
    dispatcher = await start(batch_size=1000, max_age=5)
    await admission.consume(request(items=3))
    await until(lambda: dispatcher._filling and clock.alarms)
    await clock.advance(6)
    await until(lambda: queue.items(TRACES) == 0)
    dispatcher._filling[TRACES].reschedule(0.0)
    await until(lambda: not dispatcher._filling)
    await admission.consume(request(b"new", 1000))
    (taken,) = await sink.wait_for(1)
    assert taken.body == b"new"


# The law, at every turn of the loop.


async def test_the_law_holds_at_every_turn(
    start: Start,
    admission: Admission,
    sink: Sink,
    queue: Queue,
    clock: FakeClock,
    metrics: Metrics,
    watch_the_law: Callable[[Queue], None],
) -> None:
    watch_the_law(queue)
    errors = [None, InvalidData("bad"), PartlyRejected("some", items=2), None, NotAllowed("401")]
    await start(batch_size=5, batch_timeout=0.001, concurrency=1, max_batch_bytes=40, max_age=30)
    for step in range(60):
        sink.error = errors[step % len(errors)]
        signal = list(Signal)[step % 3]
        await asyncio.gather(*(admission.consume(request(b"body %d" % step, 3, signal)) for _ in range(3)))
        if step % 20 == 7:
            sink.hold()
        if step % 20 == 17:
            await clock.advance(31)
            sink.release()
    await until(lambda: not any(queue.items(signal) for signal in Signal))
    assert metrics.accepted.total == 60 * 9
    assert metrics.sent.total > 0
    assert all(dropped(metrics, "expired", signal) > 0 for signal in Signal)
