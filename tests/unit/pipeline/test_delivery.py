import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.errors import InvalidData, NotAllowed, OtlpError, PartlyRejected, TooLarge
from app.core.request import ExportRequest, Signal
from app.pipeline.delivery import Delivery
from app.pipeline.ledger import Ledger
from app.queue import DiskQueue, LmdbStore, MemoryQueue, Queue
from app.queue.store import RESERVE_BYTES
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.items import items_of
from tests.support.letters import letters
from tests.support.load import identities, spans_request
from tests.support.payload import spans

LARGE = 1 << 20
TRACES = Signal.TRACES
BAD = InvalidData("400 Bad Request")
TOO_LARGE = TooLarge("413 Content Too Large")
NOT_ALLOWED = NotAllowed("401 Unauthorized")

Judge = Callable[[ExportRequest], OtlpError | None]


class Destination:
    """Refuses what `judge` does not like, and records everything that it was sent."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.sent: list[ExportRequest] = []
        self.taken: list[ExportRequest] = []

    async def consume(self, request: ExportRequest) -> None:
        self.sent.append(request)
        error = self._judge(request)
        if error is None or isinstance(error, PartlyRejected):
            self.taken.append(request)
        if error is not None:
            raise error

    def names(self) -> list[object]:
        """What the spans are called that were taken, in order of their names."""
        return sorted(str(item.name) for request in self.taken for item in items_of(TRACES, request.body))

    def numbers(self) -> list[int]:
        return sorted(identities(request.body for request in self.taken))


def refuse(*names: str) -> Judge:
    """Refuse requests that hold a span of one of these names."""
    return lambda request: BAD if {item.name for item in items_of(TRACES, request.body)} & {*names} else None


def above(limit: int, then: Judge = lambda _: None) -> Judge:
    return lambda request: TOO_LARGE if len(request.body) > limit else then(request)


@pytest.fixture(params=["memory", "disk"])
async def queue(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock, metrics: Metrics
) -> AsyncIterator[Queue]:
    if request.param == "memory":
        yield MemoryQueue(max_bytes=64 << 20, patience=0.01, clock=clock)
        return
    size = RESERVE_BYTES + (64 << 20)
    async with DiskQueue(
        LmdbStore(tmp_path, size), max_bytes=size, memory_bytes=48 << 20, patience=0.01, clock=clock, metrics=metrics
    ) as disk:
        yield disk


Deliver = Callable[..., "asyncio.Future[Delivery]"]


@pytest.fixture
def deliver(queue: Queue, clock: FakeClock, metrics: Metrics, watch_the_law: Callable[[Queue], None]) -> Deliver:
    """Keep `bodies`, lease them as one batch, and deliver that to a destination; the law is watched on the way."""

    async def run(destination: Destination, bodies: Iterable[bytes], *, max_bytes: int = LARGE) -> Delivery:
        watch_the_law(queue)
        for body in bodies:
            items = sum(1 for _ in items_of(TRACES, body))
            await queue.append(ExportRequest(TRACES, body, items), metrics.accepted.labels("traces", "http").inc)
        lease = await queue.lease(TRACES, 1 << 30)
        assert lease is not None
        delivery = Delivery(lease, queue, destination, Ledger(queue, metrics, clock, 30), max_bytes)
        await delivery.run()
        for left in delivery.open:
            queue.release(left)
        return delivery

    return run  # type: ignore[return-value]  # a coroutine function


def named(*names: str) -> list[bytes]:
    return [spans(name=name) for name in names]


async def dead(queue: Queue, number: int = 1) -> list[ExportRequest]:
    """What is in the dead letters, when there are so many."""
    requests = [await queue.dead.read(letter.sequence) for letter in await letters(queue, number)]
    return [request for request in requests if request is not None]


async def reasons(queue: Queue) -> list[tuple[str, str]]:
    return [(letter.notice.reason, letter.notice.message) for letter in await queue.dead.find()]


def count(metrics: Metrics, what: str, **labels: str) -> float:
    labels = {"signal": "traces"} | labels
    return metrics.registry.get_sample_value(f"otlp_exporter_{what}_items_total", labels) or 0.0


# What is taken of a batch that was refused is settled at once, and what is refused alone becomes a dead letter.


async def test_a_batch_that_is_taken_is_sent_once(deliver: Deliver, queue: Queue, metrics: Metrics) -> None:
    destination = Destination(lambda _: None)
    await deliver(destination, named("a", "b", "c"))
    assert len(destination.sent) == 1
    assert (count(metrics, "sent"), queue.items(TRACES), queue.dead.items(TRACES)) == (3, 0, 0)


@pytest.mark.parametrize("answer", [None, PartlyRejected("some", items=1), BAD])
async def test_until_the_destination_has_answered_nothing_is_settled_or_counted(
    deliver: Deliver, queue: Queue, metrics: Metrics, answer: OtlpError | None
) -> None:
    seen: list[tuple[int, int, float, float]] = []

    def judge(_: ExportRequest) -> OtlpError | None:
        books = queue.items(TRACES), queue.dead.items(TRACES), metrics.sent.total, metrics.dropped.total
        seen.append(books)
        return answer

    await deliver(Destination(judge), named("a"))
    assert seen == [(1, 0, 0, 0)]
    assert queue.items(TRACES) == 0


async def test_one_bad_request_among_a_thousand_costs_twenty_requests_and_itself(
    deliver: Deliver, queue: Queue, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    destination = Destination(refuse("bad"))
    names = [f"{number:04}" for number in range(1000)]
    names[637] = "bad"
    await deliver(destination, named(*names))
    assert len(destination.sent) <= 21
    assert destination.names() == sorted({*names} - {"bad"})
    assert (count(metrics, "sent"), queue.items(TRACES), queue.dead.items(TRACES)) == (999, 0, 1)
    (letter,) = await dead(queue)
    assert letter == ExportRequest(TRACES, spans(name="bad"), 1)
    assert await reasons(queue) == [("invalid", "400 Bad Request")]
    assert caplog.messages == ["the destination refused 1 of 1 spans, which are dead letters now: 400 Bad Request"]


async def test_each_that_is_refused_alone_becomes_a_dead_letter_and_all_others_arrive(
    deliver: Deliver, queue: Queue, metrics: Metrics
) -> None:
    destination = Destination(refuse("x", "y", "z"))
    names = [f"{number:02}" for number in range(50)]
    await deliver(destination, named("x", *names[:20], "y", "z", *names[20:]))
    assert destination.names() == names
    assert [request.body for request in await dead(queue, 3)] == named("x", "y", "z")
    assert (count(metrics, "sent"), queue.items(TRACES)) == (50, 0)


async def test_what_a_half_takes_is_settled_before_the_rest_is_tried(deliver: Deliver, queue: Queue) -> None:
    waiting: list[int] = []

    def judge(request: ExportRequest) -> OtlpError | None:
        waiting.append(queue.items(TRACES))
        return refuse("bad")(request)

    await deliver(Destination(judge), named("a", "b", "c", "bad"))
    assert (waiting[0], waiting[-1]) == (4, 1)
    assert 2 in waiting


async def test_a_request_that_is_refused_alone_is_not_sent_again(deliver: Deliver, queue: Queue) -> None:
    destination = Destination(lambda _: BAD)
    await deliver(destination, named("bad"))
    assert len(destination.sent) == 1
    await dead(queue)


async def test_what_is_partly_rejected_is_settled_and_the_rejected_are_dropped(
    deliver: Deliver, queue: Queue, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(request: ExportRequest) -> OtlpError | None:
        return refuse("bad")(request) or PartlyRejected("too old", items=1)

    await deliver(Destination(judge), named("a", "b", "c", "bad"))
    assert count(metrics, "dropped", reason="rejected") == 2  # one of a and b, and c
    assert (count(metrics, "sent"), queue.dead.items(TRACES), queue.items(TRACES)) == (1, 1, 0)
    assert "the destination rejected 1 of 2 spans: too old" in caplog.messages


async def test_more_rejected_than_there_are_is_all_of_them(deliver: Deliver, metrics: Metrics) -> None:
    await deliver(Destination(lambda _: PartlyRejected("all", items=1_000_000)), named("a", "b"))
    assert (count(metrics, "sent"), count(metrics, "dropped", reason="rejected")) == (0, 2)


# Requests with ids of a wrong length are told from the rest before anything else is tried.

WRONG = b"\x0a\x10\x12\x0e\x12\x0c\x0a\x03abc\x2a\x05wrong"
"""A span with a trace id of three bytes."""


def has_wrong_id(request: ExportRequest) -> OtlpError | None:
    return BAD if b"abc" in request.body else None


async def test_requests_with_wrong_ids_are_told_from_the_rest_first(
    deliver: Deliver, queue: Queue, metrics: Metrics
) -> None:
    destination = Destination(has_wrong_id)
    good = [f"{number:03}" for number in range(300)]
    bodies = named(*good)
    bodies[17:17] = [WRONG]
    bodies[170:170] = [WRONG] * 3
    await deliver(destination, bodies)
    assert [request.items for request in destination.sent] == [304, 300, 1]
    assert destination.names() == good
    assert [request.body for request in await dead(queue, 4)] == [WRONG] * 4
    said = await reasons(queue)
    assert said[0] == ("invalid", "400 Bad Request")
    assert set(said[1:]) == {("invalid", "ids of a wrong length, for which another was refused: 400 Bad Request")}


async def test_wrong_ids_are_no_crime_where_the_destination_takes_them(
    deliver: Deliver, queue: Queue, metrics: Metrics
) -> None:
    destination = Destination(refuse("bad"))
    await deliver(destination, [WRONG, *named("a", "bad", "b"), WRONG])
    assert destination.names() == ["a", "b", "wrong", "wrong"]
    assert [request.body for request in await dead(queue)] == named("bad")


async def test_a_batch_of_nothing_but_wrong_ids_is_tried_once_more_and_given_up(deliver: Deliver, queue: Queue) -> None:
    destination = Destination(has_wrong_id)
    await deliver(destination, [WRONG] * 20)
    assert len(destination.sent) == 2
    await dead(queue, 20)


async def test_a_refusal_for_size_says_nothing_about_ids(deliver: Deliver, queue: Queue) -> None:
    large = WRONG + spans(100)
    destination = Destination(above(len(large) - 1, refuse("nothing")))
    await deliver(destination, [large, WRONG, *named("a")])
    assert destination.names() == ["a"] * 101 + ["wrong"] * 2
    assert queue.dead.items(TRACES) == 0


async def test_what_is_no_protobuf_is_taken_to_be_as_wrong_as_can_be(
    queue: Queue, clock: FakeClock, metrics: Metrics
) -> None:
    for body in (b"\x0a\xff", b"\x0a\x00"):
        await queue.append(ExportRequest(TRACES, body, 1), lambda _: None)
    lease = await queue.lease(TRACES, LARGE)
    assert lease is not None
    destination = Destination(lambda request: BAD if b"\xff" in request.body else None)
    await Delivery(lease, queue, destination, Ledger(queue, metrics, clock, 30), LARGE).run()
    assert [request.body for request in destination.taken] == [b"\x0a\x00"]
    assert [request.body for request in await dead(queue)] == [b"\x0a\xff"]


# A request above the bound, or refused as too large, is sent in parts, and settled after the last of them.


async def test_a_request_above_the_bound_is_sent_in_parts_and_settled_after_the_last(
    deliver: Deliver, queue: Queue, metrics: Metrics
) -> None:
    state: list[tuple[int, float]] = []

    def judge(_: ExportRequest) -> OtlpError | None:
        state.append((queue.items(TRACES), count(metrics, "sent")))
        return None

    destination = Destination(judge)
    await deliver(destination, [spans_request(1, 1000)], max_bytes=50_000)
    assert len(destination.sent) > 5
    assert all(len(request.body) <= 50_000 for request in destination.sent)
    assert destination.numbers() == list(range(1, 1001))
    assert set(state) == {(1000, 0.0)}
    assert (queue.items(TRACES), count(metrics, "sent")) == (0, 1000)


async def test_a_request_that_is_refused_as_too_large_is_sent_in_ever_smaller_parts(
    deliver: Deliver, queue: Queue, metrics: Metrics
) -> None:
    destination = Destination(above(40_000))
    await deliver(destination, [spans_request(1, 1000), spans_request(1001, 10)])
    assert destination.numbers() == list(range(1, 1011))
    assert (queue.items(TRACES), queue.dead.items(TRACES), count(metrics, "sent")) == (0, 0, 1010)


async def test_a_span_that_is_too_large_alone_becomes_a_dead_letter_and_the_others_arrive(
    deliver: Deliver, queue: Queue, metrics: Metrics
) -> None:
    body = spans_request(1, 100) + spans(name="x" * 60_000) + spans_request(101, 100)
    destination = Destination(above(20_000))
    await deliver(destination, [body])
    assert destination.numbers() == list(range(1, 201))
    (letter,) = await dead(queue)
    assert letter == ExportRequest(TRACES, spans(name="x" * 60_000), 1)
    assert await reasons(queue) == [("too_large", "413 Content Too Large")]
    assert (queue.items(TRACES), queue.dead.items(TRACES), count(metrics, "sent")) == (0, 1, 200)


async def test_a_span_above_the_bound_is_sent_as_it_is(deliver: Deliver, queue: Queue) -> None:
    destination = Destination(lambda _: None)
    await deliver(destination, [spans(name="x" * 60_000)], max_bytes=1000)
    assert [request.items for request in destination.taken] == [1]
    assert queue.dead.items(TRACES) == 0


async def test_what_the_destination_rejects_of_parts_adds_up(deliver: Deliver, queue: Queue, metrics: Metrics) -> None:
    destination = Destination(lambda request: PartlyRejected("some", items=2) if request.items > 5 else None)
    await deliver(destination, [spans_request(1, 1000)], max_bytes=50_000)
    rejected = 2 * sum(request.items > 5 for request in destination.sent)
    assert rejected > 5
    assert count(metrics, "dropped", reason="rejected") == rejected
    assert count(metrics, "sent") == 1000 - rejected


async def test_parts_that_are_refused_become_one_letter_that_holds_no_more(
    deliver: Deliver, queue: Queue, metrics: Metrics
) -> None:
    def judge(request: ExportRequest) -> OtlpError | None:
        numbers = {*identities([request.body])}
        if numbers & {100, 900}:
            return BAD
        return PartlyRejected("one", items=1) if 500 in numbers else None

    destination = Destination(judge)
    await deliver(destination, [spans_request(1, 1000)], max_bytes=20_000)
    (letter,) = await dead(queue)
    refused = {*identities([letter.body])}
    assert {100, 900} < refused
    assert len(refused) == letter.items < 300
    assert refused | {*destination.numbers()} == {*range(1, 1001)}
    assert count(metrics, "sent") == 1000 - letter.items - 1
    assert count(metrics, "dropped", reason="rejected") == 1


async def test_a_request_whose_resource_is_larger_than_all_its_spans_is_not_multiplied(
    deliver: Deliver, queue: Queue
) -> None:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="k" * 30_000)
    scope = resource.scope_spans.add()
    for _ in range(100):
        scope.spans.add(name="a")
    body = request.SerializeToString()
    destination = Destination(above(20_000))
    await deliver(destination, [body])
    assert len(destination.sent) == 1
    assert [request.items for request in await dead(queue)] == [100]


# Where we are refused, whatever we send, what was sent is not sent again, and the rest goes back to the queue.


async def test_where_we_are_refused_the_batch_goes_whole_to_the_dead_letters(
    deliver: Deliver, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    destination = Destination(lambda _: NOT_ALLOWED)
    delivery = await deliver(destination, named("a", "b", "c"))
    assert len(destination.sent) == 1
    assert delivery.open == []
    assert [request.body for request in await dead(queue, 3)] == named("a", "b", "c")
    (message,) = caplog.messages
    assert message == (
        "we are refused, whatever we send: 401 Unauthorized; 3 spans are dead letters now, the others wait, "
        "and every 30 s one batch tries whether it has changed"
    )


async def test_where_we_are_refused_amid_halves_the_rest_goes_back_to_the_queue(deliver: Deliver, queue: Queue) -> None:
    destination = Destination(lambda _: [BAD, NOT_ALLOWED][len(destination.sent) - 1])
    await deliver(destination, named("a", "b", "c", "d"))
    assert len(destination.sent) == 2
    assert (queue.waiting(TRACES), queue.dead.items(TRACES)) == (2, 2)
    await dead(queue, 2)


async def test_where_we_are_refused_amid_parts_the_rest_of_the_request_is_not_sent(
    deliver: Deliver, queue: Queue, metrics: Metrics
) -> None:
    destination = Destination(lambda _: NOT_ALLOWED if len(destination.sent) > 2 else None)
    await deliver(destination, [spans_request(1, 1000)], max_bytes=50_000)
    assert len(destination.sent) == 3
    (letter,) = await dead(queue)
    assert sorted([*destination.numbers(), *identities([letter.body])]) == list(range(1, 1001))
    assert count(metrics, "sent") == 1000 - letter.items
    assert [reason for reason, _ in await reasons(queue)] == ["not_allowed"]


async def test_where_we_are_refused_after_a_part_was_the_rest_of_the_request_is_not_sent_either(
    deliver: Deliver, queue: Queue
) -> None:
    destination = Destination(lambda _: [BAD, NOT_ALLOWED][len(destination.sent) - 1])
    await deliver(destination, [spans_request(1, 1000)], max_bytes=50_000)
    assert len(destination.sent) == 2
    (letter,) = await dead(queue)
    assert letter == ExportRequest(TRACES, spans_request(1, 1000), 1000)
    assert [reason for reason, _ in await reasons(queue)] == ["not_allowed"]


async def test_where_the_first_part_is_refused_the_request_stays_as_it_is(deliver: Deliver, queue: Queue) -> None:
    body = spans_request(1, 1000)
    await deliver(Destination(lambda _: NOT_ALLOWED), [body], max_bytes=50_000)
    (letter,) = await dead(queue)
    assert letter == ExportRequest(TRACES, body, 1000)
