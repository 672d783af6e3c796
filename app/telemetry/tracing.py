"""The service's own traces, by the OpenTelemetry SDK. Only `app.service` imports this, and only when they are on.

Own spans go past the queue, straight to the destination of everyone's traces: what tells of the pipeline is not in it.

Invariants, each with a test of its name:

- Sending own spans makes no span.
- The span of a batch is linked to the clients of its requests, once to each span of theirs, and to 128 at most.
- Own spans are kept while the destination says "later", up to a bound; what is more is lost, and told.
- Whatever happens to own spans, nobody waits for them.
"""

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.core.clock import Clock
from app.core.consumer import Consumer
from app.core.errors import NotAllowed, Refused, Retryable
from app.core.log import Log, SpanIds
from app.core.request import ExportRequest, Signal
from app.settings import TracingSettings

__all__ = ["SelfTracing", "resource"]

_log = Log(__name__)
_MOST = 2048  # spans that wait, as the SDK's own processor has it
_AT_ONCE = 100  # spans that are written in one turn of the event loop: 2 ms
_MOST_LINKS = 128  # of a span, as the SDK's own limit has it
_GATHER_SECONDS = 1.0
_LONGEST_PAUSE = 300.0
_FAREWELL_SECONDS = 1.0
_GOOD = frozenset({"delivered", "taken"})


def resource(settings: TracingSettings, version: str, instance: str) -> Resource:
    """Who we are: what the configuration says, then ``OTEL_RESOURCE_ATTRIBUTES``, then what we know ourselves."""
    ourselves = Resource.create({"service.version": version, "service.instance.id": instance})
    return ourselves.merge(OTELResourceDetector().detect()).merge(Resource({"service.name": settings.service_name}))


class SelfTracing:
    """A `Tracer` whose spans `destination` gets, from entering to leaving."""

    def __init__(
        self, settings: TracingSettings, version: str, instance: str, destination: Consumer, clock: Clock
    ) -> None:
        self._destination = destination
        self._clock = clock
        self._waiting = _Waiting()
        self._sampler = _Sampler(settings.sampling_rate)
        provider = TracerProvider(
            ParentBased(self._sampler),
            resource(settings, version, instance),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._waiting)
        self._tracer = provider.get_tracer("otlp-service", version)
        self._callers = TraceContextTextMapPropagator()
        self._failures = 0
        self.tasks: list[asyncio.Task[None]] = []
        """What runs from entering to leaving."""

    def sample(self, rate: float) -> None:
        """Make spans of this share of the batches from now on."""
        self._sampler.rate = TraceIdRatioBased(rate)

    def receive(self, signal: Signal, transport: str, size: int, traceparent: str) -> "_Span | None":
        caller = self._callers.extract({"traceparent": traceparent}, Context())
        if not trace.get_current_span(caller).get_span_context().trace_flags.sampled:
            return None
        attributes = {"otlp.signal": signal.value, "otlp.transport": transport, "otlp.bytes": size}
        return _Span(self._tracer.start_span(f"receive {signal.value}", caller, SpanKind.SERVER, attributes))

    def export(self, request: ExportRequest) -> "_Span":
        attributes: dict[str, int | str] = {
            "otlp.signal": request.signal.value,
            "otlp.items": request.items,
            "otlp.bytes": len(request.body),
        }
        callers = list(dict.fromkeys(request.callers))
        if len(callers) > _MOST_LINKS:
            attributes["otlp.links_left_out"] = len(callers) - _MOST_LINKS
        links = [Link(self._caller(each)) for each in callers[:_MOST_LINKS]]
        name = f"export {request.signal.value}"
        return _Span(self._tracer.start_span(name, Context(), SpanKind.CLIENT, attributes, links))

    def _caller(self, traceparent: str) -> SpanContext:
        return trace.get_current_span(self._callers.extract({"traceparent": traceparent}, Context())).get_span_context()

    async def __aenter__(self) -> Self:
        self.tasks = [asyncio.create_task(self._send_for_ever(), name="own spans")]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                while self._waiting.spans and not self._failures:
                    await self._send()

    async def _send_for_ever(self) -> None:
        while True:
            await self._waiting.wait()
            await self._clock.sleep(_GATHER_SECONDS)
            while self._waiting.spans:
                if pause := await self._send():
                    await self._clock.sleep(pause)

    async def _send(self) -> float:
        """Send some of what waits; returns for how many seconds to leave the destination alone."""
        spans = self._waiting.take(_AT_ONCE)
        try:
            body = encode_spans(spans).SerializeToString()
            await self._destination.consume(ExportRequest(Signal.TRACES, body, len(spans)))
        except asyncio.CancelledError:
            self._waiting.put_back(spans)
            raise
        except Retryable as error:
            self._waiting.put_back(spans)
            return self._pause(error.delay)
        except NotAllowed as error:
            _log.error(
                "own_spans_refused", "%(spans)d own spans are lost: %(reason)s", spans=len(spans), reason=str(error)
            )
            return self._pause(None)
        except Refused as error:
            _log.error(
                "own_spans_rejected",
                "of %(spans)d own spans some are lost: %(reason)s",
                spans=len(spans),
                reason=str(error),
            )
        except Exception as fault:  # noqa: BLE001 - a mistake about own spans must not end the service
            _log.error(
                "own_spans_failed", "sending own spans failed; %(spans)d are lost", spans=len(spans), fault=fault
            )
        self._failures = 0
        if lost := self._waiting.told():
            _log.error("own_spans_lost", "%(spans)d own spans are lost, because the destination was away", spans=lost)
        return 0.0

    def _pause(self, hint: float | None) -> float:
        self._failures += 1
        return min(max(hint or 0.0, 2.0 ** min(self._failures, 6)), _LONGEST_PAUSE)


class _Sampler(Sampler):
    """Takes a share of the traces, which may change."""

    def __init__(self, rate: float) -> None:
        self.rate = TraceIdRatioBased(rate)

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        return self.rate.should_sample(*arguments, **named)

    def get_description(self) -> str:
        return self.rate.get_description()


class _Waiting(SpanProcessor):
    """Spans that ended and are not sent yet."""

    def __init__(self) -> None:
        self.spans: deque[ReadableSpan] = deque()
        self._lost = 0
        self._some = asyncio.Event()

    def on_end(self, span: ReadableSpan) -> None:
        if len(self.spans) >= _MOST:
            self._lost += 1
        else:
            self.spans.append(span)
            self._some.set()

    async def wait(self) -> None:
        """Return when there are some."""
        while not self.spans:
            self._some.clear()
            await self._some.wait()

    def take(self, number: int) -> list[ReadableSpan]:
        return [self.spans.popleft() for _ in range(min(number, len(self.spans)))]

    def put_back(self, spans: list[ReadableSpan]) -> None:
        self.spans.extendleft(reversed(spans))

    def told(self) -> int:
        """How many were lost since this was asked."""
        lost, self._lost = self._lost, 0
        return lost


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def ids(self) -> SpanIds | None:
        context = self._span.get_span_context()
        if not context.trace_flags.sampled:
            return None
        return SpanIds(trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))

    def end(self, outcome: str, error: str = "", **attributes: int | str) -> None:
        self._span.set_attributes({f"otlp.{name}": value for name, value in attributes.items()})
        self._span.set_attribute("otlp.outcome", outcome)
        if outcome not in _GOOD:
            self._span.set_status(Status(StatusCode.ERROR, error or outcome))
        self._span.end()
