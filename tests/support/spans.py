"""A tracer that remembers."""

from dataclasses import dataclass, field

from app.core.log import SpanIds
from app.core.request import ExportRequest, Signal

__all__ = ["RecordedSpan", "RecordingTracer"]


@dataclass(slots=True)
class RecordedSpan:
    """A span, and how it ended: an empty outcome is one that has not yet."""

    name: str
    outcome: str = ""
    error: str = ""
    attributes: dict[str, int | str] = field(default_factory=dict)
    ids: SpanIds | None = None

    def end(self, outcome: str, error: str = "", **attributes: int | str) -> None:
        assert not self.outcome, "a span ends once"
        self.outcome, self.error, self.attributes = outcome, error, attributes


class RecordingTracer:
    """What asked for spans, and the spans; of requests it samples those whose traceparent is in `sampled`."""

    def __init__(self, *sampled: str) -> None:
        self.spans: list[RecordedSpan] = []
        self.requests: list[tuple[Signal, str, int, str]] = []
        self._sampled = set(sampled)

    def receive(self, signal: Signal, transport: str, size: int, traceparent: str) -> RecordedSpan | None:
        self.requests.append((signal, transport, size, traceparent))
        return self._begin(f"receive {signal.value}") if traceparent in self._sampled else None

    def export(self, request: ExportRequest) -> RecordedSpan:
        return self._begin(f"export {request.signal.value}")

    def _begin(self, name: str) -> RecordedSpan:
        self.spans.append(RecordedSpan(name))
        return self.spans[-1]
