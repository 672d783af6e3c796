"""The service's own traces, between the stages that make them and a sink."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from app.core.errors import InvalidData, NotAllowed, Retryable
from app.core.request import ExportRequest, Signal
from app.settings import TracingSettings
from app.telemetry.tracing import SelfTracing, resource
from tests.support.clock import FakeClock, turns
from tests.support.log_lines import kinds
from tests.support.sink import Sink

BATCH = ExportRequest(Signal.LOGS, b"batch", 3)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def make(sink: Sink, clock: FakeClock, rate: float = 1) -> SelfTracing:
    return SelfTracing(TracingSettings(sampling_rate=rate), "1.2.3", "me", sink, clock)


@pytest.fixture
async def tracing(sink: Sink, clock: FakeClock) -> AsyncIterator[SelfTracing]:
    async with make(sink, clock) as tracing:
        yield tracing


def resources(sink: Sink) -> list[ResourceSpans]:
    bodies = b"".join(request.body for request in sink.requests)
    return list(ExportTraceServiceRequest.FromString(bodies).resource_spans)


def sent(sink: Sink) -> list[Span]:
    return [span for each in resources(sink) for scope in each.scope_spans for span in scope.spans]


def attributes(span: Span) -> dict[str, str | int]:
    return {
        each.key: each.value.string_value if each.value.HasField("string_value") else each.value.int_value
        for each in span.attributes
    }


async def make_spans(tracing: SelfTracing, number: int) -> None:
    for _ in range(number):
        tracing.export(BATCH).end("delivered")
    await turns()


async def test_a_batch_has_a_root_span_that_says_what_became_of_it(
    tracing: SelfTracing, sink: Sink, clock: FakeClock
) -> None:
    tracing.export(BATCH).end("delivered", attempts=2, last_failure="it was away")
    await turns()
    await clock.advance(1)
    [span] = sent(sink)
    assert (span.name, span.kind, span.parent_span_id) == ("export logs", Span.SPAN_KIND_CLIENT, b"")
    assert span.end_time_unix_nano >= span.start_time_unix_nano > 0
    assert span.status.code == 0
    assert attributes(span) == {
        "otlp.signal": "logs",
        "otlp.items": 3,
        "otlp.bytes": 5,
        "otlp.attempts": 2,
        "otlp.last_failure": "it was away",
        "otlp.outcome": "delivered",
    }
    assert [(request.signal, request.items) for request in sink.requests] == [(Signal.TRACES, 1)]


@pytest.mark.parametrize(("error", "description"), [("an id is short", "an id is short"), ("", "invalid")])
async def test_what_was_not_delivered_is_an_error(
    tracing: SelfTracing, sink: Sink, clock: FakeClock, error: str, description: str
) -> None:
    tracing.export(BATCH).end("invalid", error)
    await turns()
    await clock.advance(1)
    [span] = sent(sink)
    assert (span.status.code, span.status.message) == (2, description)


async def test_a_request_with_a_sampled_caller_has_a_span_below_it(
    tracing: SelfTracing, sink: Sink, clock: FakeClock
) -> None:
    span = tracing.receive(Signal.TRACES, "http", 7, SAMPLED)
    assert span is not None
    span.end("taken", items=2)
    await turns()
    await clock.advance(1)
    [received] = sent(sink)
    assert (received.name, received.kind) == ("receive traces", Span.SPAN_KIND_SERVER)
    assert (received.trace_id.hex(), received.parent_span_id.hex()) == (TRACE, PARENT)
    assert received.status.code == 0
    assert attributes(received) == {
        "otlp.signal": "traces",
        "otlp.transport": "http",
        "otlp.bytes": 7,
        "otlp.items": 2,
        "otlp.outcome": "taken",
    }


@pytest.mark.parametrize(
    "traceparent", [UNSAMPLED, "", "x", SAMPLED[1:], f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "9" * 999]
)
async def test_a_request_without_a_sampled_caller_has_none(tracing: SelfTracing, traceparent: str) -> None:
    assert tracing.receive(Signal.TRACES, "http", 7, traceparent) is None


async def test_only_a_share_of_batches_has_a_span_but_each_request_of_a_sampled_caller(
    sink: Sink, clock: FakeClock
) -> None:
    async with make(sink, clock, rate=0) as none:
        await make_spans(none, 10)
        span = none.receive(Signal.TRACES, "grpc", 7, SAMPLED)
        assert span is not None
        span.end("taken")
    assert [span.name for span in sent(sink)] == ["receive traces"]
    async with make(sink, clock, rate=0.5) as half:
        await make_spans(half, 200)
    assert 50 < len(sent(sink)) < 150


async def test_sending_own_spans_makes_no_span(tracing: SelfTracing, sink: Sink, clock: FakeClock) -> None:
    await make_spans(tracing, 1)
    await clock.advance(1)
    for _ in range(20):
        await clock.advance(1)
    assert len(sink.requests) == 1
    assert clock.alarms == []


async def test_many_own_spans_go_in_several_requests(tracing: SelfTracing, sink: Sink, clock: FakeClock) -> None:
    await make_spans(tracing, 250)
    await clock.advance(1)
    assert [request.items for request in sink.requests] == [100, 100, 50]


async def test_own_spans_are_kept_while_the_destination_says_later(
    tracing: SelfTracing, sink: Sink, clock: FakeClock
) -> None:
    sink.error = Retryable("it is away", reason="unavailable")
    await make_spans(tracing, 3)
    await clock.advance(1)
    pauses = [await clock.skip() for _ in range(8)]
    assert pauses == [2, 4, 8, 16, 32, 64, 64, 64]
    sink.error = None
    await clock.skip()
    assert len(sent(sink)) == 3
    sink.error = Retryable("it is away again", reason="unavailable")
    await make_spans(tracing, 1)
    await clock.advance(1)
    assert clock.alarms == [2]


@pytest.mark.parametrize(("asked", "given"), [(45, 45), (86_400, 300)])
async def test_a_hint_is_honoured_up_to_five_minutes(
    tracing: SelfTracing, sink: Sink, clock: FakeClock, asked: float, given: float
) -> None:
    sink.error = Retryable("it is away", reason="unavailable", delay=asked)
    await make_spans(tracing, 1)
    await clock.advance(1)
    assert clock.alarms == [given]


async def test_more_own_spans_than_are_kept_are_lost_and_told(
    tracing: SelfTracing, sink: Sink, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    sink.error = Retryable("it is away", reason="unavailable")
    await make_spans(tracing, 2048 + 7)
    await clock.advance(1)
    sink.error = None
    await clock.advance(2)
    assert len(sent(sink)) == 2048
    assert caplog.messages == ["7 own spans are lost, because the destination was away"]


async def test_own_spans_that_are_refused_are_lost_and_told(
    tracing: SelfTracing, sink: Sink, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    sink.error = InvalidData("an id is short")
    await make_spans(tracing, 150)
    await clock.advance(1)
    sink.error = None
    await make_spans(tracing, 1)
    await clock.advance(1)
    assert len(sent(sink)) == 1
    assert caplog.messages == [f"of {spans} own spans some are lost: an id is short" for spans in (100, 50)]
    assert set(kinds(caplog)) == {("own_spans_rejected", "")}


async def test_who_refuses_us_is_left_alone_for_a_while(tracing: SelfTracing, sink: Sink, clock: FakeClock) -> None:
    sink.error = NotAllowed("the token has expired")
    await make_spans(tracing, 150)
    await clock.advance(1)
    assert clock.alarms == [2]


async def test_a_mistake_of_ours_costs_own_spans_and_nothing_else(
    tracing: SelfTracing, sink: Sink, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    sink.error = ZeroDivisionError("oops")
    await make_spans(tracing, 1)
    await clock.advance(1)
    sink.error = None
    await make_spans(tracing, 1)
    await clock.advance(1)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert len(sent(sink)) == 1
    assert not tracing.tasks[0].done()


async def test_what_waits_is_sent_at_the_end(sink: Sink, clock: FakeClock) -> None:
    async with make(sink, clock) as tracing:
        await make_spans(tracing, 150)
    assert len(sent(sink)) == 150


async def test_the_end_waits_a_second_for_own_spans_at_most(sink: Sink, clock: FakeClock) -> None:
    began = asyncio.get_running_loop().time()
    async with make(sink, clock) as tracing:
        await make_spans(tracing, 1)
        sink.hold()
    assert asyncio.get_running_loop().time() - began < 5


async def test_the_end_does_not_ask_a_destination_that_is_away(sink: Sink, clock: FakeClock) -> None:
    async with make(sink, clock) as tracing:
        sink.error = Retryable("it is away", reason="unavailable")
        await make_spans(tracing, 1)
        await clock.advance(1)
        sink.error = None
    assert sink.requests == []


async def test_a_request_that_the_end_cuts_is_sent_again(sink: Sink, clock: FakeClock) -> None:
    async with make(sink, clock) as tracing:
        sink.hold()
        await make_spans(tracing, 2)
        await clock.advance(1)
        await sink.wait_for_callers(1)
        asyncio.get_running_loop().call_later(0.05, sink.release)
    assert len(sent(sink)) == 2


def described(settings: TracingSettings) -> dict[str, object]:
    return dict(resource(settings, "1.2.3", "me").attributes)


def test_own_spans_say_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found = described(TracingSettings(service_name="gateway"))
    assert (found["service.name"], found["service.version"]) == ("gateway", "1.2.3")
    assert (found["service.instance.id"], found["telemetry.sdk.name"]) == ("me", "opentelemetry")
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=otlp-0,service.instance.id=uid,service.name=other,k8s.node.name=a%20b"
    )
    found = described(TracingSettings())
    assert (found["k8s.pod.name"], found["k8s.node.name"]) == ("otlp-0", "a b")
    assert (found["service.instance.id"], found["service.name"]) == ("uid", "otlp-service")


async def test_the_resource_goes_with_the_spans(tracing: SelfTracing, sink: Sink, clock: FakeClock) -> None:
    await make_spans(tracing, 1)
    await clock.advance(1)
    [found] = resources(sink)
    assert {each.key: each.value.string_value for each in found.resource.attributes}["service.name"] == "otlp-service"
    assert [scope.scope.name for scope in found.scope_spans] == ["otlp-service"]
