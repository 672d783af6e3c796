"""What the stages know of the service's own traces. That there is an SDK behind it is not for them to know."""

from typing import Protocol

from app.core.log import SpanIds
from app.core.request import ExportRequest, Signal

__all__ = ["Span", "Tracer"]


class Span(Protocol):
    """What is under way."""

    @property
    def ids(self) -> SpanIds | None:
        """What lines of the log within it bear; None where it is not sampled."""

    def end(self, outcome: str, error: str = "", **attributes: int | str) -> None:
        """It ended now: how, in a word, and what went wrong, if anything. To be called once."""


class Tracer(Protocol):
    """Where spans come from. Nothing waits for what it makes of them."""

    def receive(self, signal: Signal, transport: str, size: int, traceparent: str) -> Span | None:
        """A request of `size` bytes that bears `traceparent` came in. None: that is not sampled."""

    def export(self, request: ExportRequest) -> Span:
        """A batch is to be delivered."""
