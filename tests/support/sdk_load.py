"""A client that exports with the OpenTelemetry SDK for Python, retries and all, and remembers what was acknowledged."""

import asyncio
from itertools import count
from types import TracebackType
from typing import Self

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from app.core.request import Signal

__all__ = ["SdkLoad"]

_SPANS = 20


class SdkLoad:
    """Exports its next spans when the last were taken or given up, to `endpoint` over ``http/protobuf`` or ``grpc``.

    Spans are numbered from `first`: the number is the span's id.
    """

    def __init__(self, endpoint: str, protocol: str, *, first: int) -> None:
        self._numbers = _Numbers(first)
        self._exporter: SpanExporter = (
            GrpcSpanExporter(endpoint) if protocol == "grpc" else HttpSpanExporter(endpoint + Signal.TRACES.path)
        )
        self._finishing = False
        self.exports = 0
        """How many were taken or given up."""
        self.acknowledged: set[int] = set()
        self.given_up: list[str] = []
        """For each export that failed for good, that it did; the exporter has no more to say."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return when what is under way is answered."""
        self._finishing = True
        await self._task
        self._exporter.shutdown()

    async def _run(self) -> None:
        while not self._finishing:
            spans = self._make()
            result = await asyncio.to_thread(self._exporter.export, spans)
            self.exports += 1
            if result is SpanExportResult.SUCCESS:
                self.acknowledged.update(span.context.span_id for span in spans)
            else:
                self.given_up.append(result.name)

    def _make(self) -> tuple[ReadableSpan, ...]:
        made = InMemorySpanExporter()
        provider = TracerProvider(id_generator=self._numbers, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(made))
        for _ in range(_SPANS):
            provider.get_tracer("load").start_span("numbered").end()
        return made.get_finished_spans()


class _Numbers(IdGenerator):
    def __init__(self, first: int) -> None:
        self._spans = count(first)

    def generate_span_id(self) -> int:
        return next(self._spans)

    def generate_trace_id(self) -> int:
        return 1
