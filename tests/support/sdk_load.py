"""Clients that export with the OpenTelemetry SDK for Python, retries and all, and remember what was acknowledged."""

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
    """One SDK for each transport, which exports its next spans when the last were taken or given up.

    Spans are numbered from `first`: the number is the span's id.
    """

    def __init__(self, http_url: str, grpc_target: str, *, first: int) -> None:
        self._numbers = _Numbers(first)
        self._exporters: list[SpanExporter] = [
            HttpSpanExporter(http_url + Signal.TRACES.path),
            GrpcSpanExporter(f"http://{grpc_target}"),
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._finishing = False
        self.acknowledged: set[int] = set()
        self.given_up: list[str] = []
        """For each export that failed for good, which exporter that was."""

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run(exporter)) for exporter in self._exporters]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return when what is under way is answered."""
        self._finishing = True
        await asyncio.gather(*self._tasks)
        for exporter in self._exporters:
            exporter.shutdown()

    async def _run(self, exporter: SpanExporter) -> None:
        while not self._finishing:
            spans = self._make()
            if await asyncio.to_thread(exporter.export, spans) is SpanExportResult.SUCCESS:
                self.acknowledged.update(span.context.span_id for span in spans)
            else:
                self.given_up.append(type(exporter).__module__)

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
