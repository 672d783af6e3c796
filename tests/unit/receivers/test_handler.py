"""One request between a receiver and a sink."""

import asyncio

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.errors import InvalidData, PartlyRejected, Retryable
from app.core.instance import Instance
from app.core.request import ExportRequest, Signal
from app.receivers.answers import TAKEN
from app.receivers.auth import Doorkeeper
from app.receivers.handler import Handler
from app.receivers.meter import Meter
from app.settings import AuthSettings
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.log_lines import kinds
from tests.support.payload import spans
from tests.support.sink import Sink
from tests.support.spans import RecordedSpan, RecordingTracer


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def instance() -> Instance:
    return Instance()


@pytest.fixture
def handler(sink: Sink, metrics: Metrics, instance: Instance) -> Handler:
    return Handler(sink, Meter(metrics, "grpc"), instance=instance)


def refused(metrics: Metrics, reason: str) -> float | None:
    labels = {"signal": "traces", "transport": "grpc", "reason": reason}
    return metrics.registry.get_sample_value("otlp_receiver_refused_items_total", labels)


async def test_a_request_is_passed_on_as_the_bytes_that_it_came_as(handler: Handler, sink: Sink) -> None:
    body = spans(2) + b"\xfa\x3f\x03abc"  # a field that nobody knows
    assert await handler.take(Signal.TRACES, body) is TAKEN
    assert sink.requests == [ExportRequest(Signal.TRACES, body, 2)]


async def test_json_is_passed_on_as_protobuf(handler: Handler, sink: Sink) -> None:
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"one"},{"name":"two"}]}]}]}'
    assert await handler.take(Signal.TRACES, body, json=True) is TAKEN
    assert [(request.signal, request.items) for request in sink.requests] == [(Signal.TRACES, 2)]
    parsed = ExportTraceServiceRequest.FromString(sink.requests[0].body)
    assert [span.name for span in parsed.resource_spans[0].scope_spans[0].spans] == ["one", "two"]


@pytest.mark.parametrize(("body", "json"), [(b"", False), (b"{}", True), (b"\x0a\x00", False)])
async def test_an_empty_request_succeeds_and_goes_nowhere(
    handler: Handler, sink: Sink, body: bytes, json: bool
) -> None:
    assert await handler.take(Signal.TRACES, body, json=json) is TAKEN
    assert sink.requests == []


@pytest.mark.parametrize(("body", "json"), [(b"\xff", False), (b"{", True)])
async def test_malformed_data_is_refused_before_the_consumer_sees_it(
    handler: Handler, sink: Sink, body: bytes, json: bool
) -> None:
    answer = await handler.take(Signal.TRACES, body, json=json)
    assert (answer.status, answer.retryable) == (400, False)
    assert answer.message
    assert sink.requests == []


async def test_what_the_consumer_refuses_is_counted_by_its_reason(
    handler: Handler, sink: Sink, metrics: Metrics
) -> None:
    sink.error = Retryable("full", reason="queue_full", delay=2)
    answer = await handler.take(Signal.TRACES, spans(2))
    assert (answer.status, answer.retryable, answer.delay) == (503, True, 2)
    sink.error = InvalidData("no")
    await handler.take(Signal.TRACES, spans(2))
    assert (refused(metrics, "queue_full"), refused(metrics, "invalid")) == (2, 2)


async def test_what_cannot_be_read_has_no_items_to_count(handler: Handler, metrics: Metrics) -> None:
    await handler.take(Signal.TRACES, b"\xff")
    assert refused(metrics, "invalid") is None


async def test_a_request_that_was_taken_in_part_is_not_counted_as_refused(
    handler: Handler, sink: Sink, metrics: Metrics
) -> None:
    sink.error = PartlyRejected("one has no name", items=1)
    answer = await handler.take(Signal.TRACES, spans(2))
    assert (answer.status, answer.rejected) == (200, 1)
    assert refused(metrics, "rejected") is None


async def test_a_fault_is_answered_as_retryable_and_logged_with_its_traceback(
    handler: Handler, sink: Sink, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    sink.error = ZeroDivisionError("oops")
    answer = await handler.take(Signal.TRACES, spans(2))
    assert (answer.status, answer.retryable) == (503, True)
    assert refused(metrics, "internal") == 2
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [sink.error]


async def test_a_request_that_passed_this_instance_before_is_refused_for_good_and_counted(
    handler: Handler, instance: Instance, sink: Sink, metrics: Metrics
) -> None:
    answer = await handler.take(Signal.TRACES, spans(2), instances=f"{Instance().name},{instance.name}")
    assert (answer.code, answer.status, answer.retryable) == (grpc.StatusCode.PERMISSION_DENIED, 403, False)
    assert "round in circles" in answer.message
    assert sink.requests == []
    assert refused(metrics, "loop") == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ZeroDivisionError("oops"), ("request_failed", "ZeroDivisionError")), (None, ("loop_refused", ""))],
)
async def test_what_may_be_with_every_request_is_one_kind_of_line(
    handler: Handler,
    sink: Sink,
    instance: Instance,
    caplog: pytest.LogCaptureFixture,
    error: Exception | None,
    kind: tuple[str, str],
) -> None:
    sink.error = error
    for _ in range(3):
        await handler.take(Signal.TRACES, spans(2), instances="" if error else instance.name)
    assert kinds(caplog) == [kind] * 3


async def test_who_is_in_front_of_this_instance_is_named_behind_it(
    handler: Handler, instance: Instance, sink: Sink
) -> None:
    other = Instance()
    assert await handler.take(Signal.TRACES, spans(), instances=other.names(Signal.TRACES)) is TAKEN
    assert sink.items(Signal.TRACES) == 1
    assert instance.names(Signal.TRACES) == f"{instance.name},{other.name}"


class TestSpan:
    """Of a request whose client's span is sampled."""

    @pytest.fixture
    def tracer(self) -> RecordingTracer:
        return RecordingTracer("sampled")

    @pytest.fixture
    def handler(self, sink: Sink, metrics: Metrics, tracer: RecordingTracer) -> Handler:
        return Handler(sink, Meter(metrics, "grpc"), tracer=tracer)

    async def test_a_request_without_a_caller_asks_for_none(self, handler: Handler, tracer: RecordingTracer) -> None:
        assert await handler.take(Signal.TRACES, spans()) is TAKEN
        assert tracer.requests == []

    async def test_a_request_with_a_caller_that_is_not_sampled_has_none(
        self, handler: Handler, tracer: RecordingTracer
    ) -> None:
        body = spans()
        assert await handler.take(Signal.TRACES, body, traceparent="unsampled") is TAKEN
        assert tracer.requests == [(Signal.TRACES, "grpc", len(body), "unsampled")]
        assert tracer.spans == []

    async def test_a_request_that_is_taken(self, handler: Handler, tracer: RecordingTracer) -> None:
        assert await handler.take(Signal.TRACES, spans(2), traceparent="sampled") is TAKEN
        assert tracer.spans == [RecordedSpan("receive traces", "taken", "", {"items": 2})]

    async def test_a_request_that_is_refused(self, handler: Handler, sink: Sink, tracer: RecordingTracer) -> None:
        sink.error = Retryable("full", reason="queue_full")
        await handler.take(Signal.TRACES, spans(2), traceparent="sampled")
        assert tracer.spans == [RecordedSpan("receive traces", "queue_full", "full", {"items": 2})]

    async def test_a_request_that_is_cancelled(self, handler: Handler, sink: Sink, tracer: RecordingTracer) -> None:
        sink.hold()
        task = asyncio.create_task(handler.take(Signal.TRACES, spans(2), traceparent="sampled"))
        await sink.wait_for_callers(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert tracer.spans == [RecordedSpan("receive traces", "cancelled", "", {"items": 2})]


async def test_a_request_that_is_cancelled_is_no_answer(handler: Handler, sink: Sink) -> None:
    sink.hold()
    task = asyncio.create_task(handler.take(Signal.TRACES, spans(2)))
    await sink.wait_for_callers(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_comes_in_many_times_at_once_overdraws_a_quota_once(
    sink: Sink, metrics: Metrics, clock: FakeClock
) -> None:
    auth = {"api_keys": ["web:sesame"], "quotas": {"web": {"items_per_second": 1, "burst": "1s"}}}
    keeper = Doorkeeper(AuthSettings.model_validate(auth), metrics, clock.monotonic)
    handler = Handler(sink, Meter(metrics, "grpc"), doorkeeper=keeper)
    holders = [handler.admit("", "sesame") for _ in range(3)]
    answers = [await handler.take(Signal.TRACES, spans(5), holder=holder) for holder in holders]
    assert [answer.status for answer in answers] == [200, 429, 429]
    assert (sink.items(Signal.TRACES), refused(metrics, "quota")) == (5, 10)
