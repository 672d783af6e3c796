"""The console exporter prints, and says so when it cannot."""

import asyncio
import errno
import io
import threading

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from app.core.clock import SystemClock
from app.core.errors import InvalidData, Retryable
from app.core.request import ExportRequest, Signal
from app.exporters.attempts import Attempts
from app.exporters.console import ConsoleExporter
from app.telemetry.metrics import Metrics
from tests.support.patience import PATIENCE


class FullStream(io.StringIO):
    """Takes nothing, as a file on a full disk."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, f"no room for {len(text)} characters")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class StalledStream(io.StringIO):
    """Takes nothing before it is released, as a pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def write(self, text: str, /) -> int:
        self.entered.set()
        assert self.released.wait(timeout=PATIENCE)
        return super().write(text)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
def attempts(metrics: Metrics) -> Attempts:
    return Attempts(metrics, SystemClock(), timeout=PATIENCE)


def named(*names: str) -> ExportRequest:
    scopes = [ScopeSpans(spans=[Span(name=name) for name in names])]
    message = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=scopes)])
    return ExportRequest(Signal.TRACES, message.SerializeToString(), len(names))


def count(metrics: Metrics, code: str) -> float | None:
    return metrics.registry.get_sample_value("otlp_exporter_requests_total", {"signal": "traces", "code": code})


async def test_every_item_is_a_line_under_that_of_its_trace(attempts: Attempts, metrics: Metrics) -> None:
    stream = io.StringIO()
    async with ConsoleExporter(stream, attempts) as exporter:
        await exporter.consume(named("first", "second"))
        await exporter.consume(named("third"))
    words = [line.split()[:2] for line in stream.getvalue().splitlines()]
    assert [first if second != "trace" else second for first, second in words] == [
        "trace",
        "first",
        "second",
        "trace",
        "third",
    ]
    assert count(metrics, "OK") == 2


async def test_only_a_terminal_gets_colours(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    printed = []
    for stream in (io.StringIO(), Terminal()):
        async with ConsoleExporter(stream, attempts) as exporter:
            await exporter.consume(named("first"))
        printed.append(stream.getvalue())
    assert "\x1b[" not in printed[0]
    assert "\x1b[1mfirst\x1b[0m" in printed[1]


async def test_what_the_stream_cannot_encode_is_escaped(attempts: Attempts) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", newline="")
    async with ConsoleExporter(stream, attempts) as exporter:
        await exporter.consume(named("größe 🙂"))
    assert b"gr\\xf6\\xdfe \\U0001f642" in raw.getvalue()


async def test_a_stream_that_takes_nothing_is_retryable(attempts: Attempts, metrics: Metrics) -> None:
    async with ConsoleExporter(FullStream(), attempts) as exporter:
        with pytest.raises(Retryable, match="no room") as raised:
            await exporter.consume(named("first"))
    assert raised.value.reason == "unavailable"
    assert count(metrics, "UNAVAILABLE") == 1


async def test_a_body_that_is_no_request_is_refused(attempts: Attempts, metrics: Metrics) -> None:
    async with ConsoleExporter(io.StringIO(), attempts) as exporter:
        with pytest.raises(InvalidData, match="a batch of traces cannot be read"):
            await exporter.consume(ExportRequest(Signal.TRACES, b"\xff\xff", 1))
    assert count(metrics, "INVALID_ARGUMENT") == 1


async def test_a_stalled_stream_does_not_hold_up_the_loop(attempts: Attempts, metrics: Metrics) -> None:
    stream = StalledStream()
    async with ConsoleExporter(stream, attempts) as exporter:
        printing = asyncio.create_task(exporter.consume(named("first")))
        assert await asyncio.to_thread(stream.entered.wait, 10)
        printing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await printing
        assert count(metrics, "cancelled") == 1
        stream.released.set()
