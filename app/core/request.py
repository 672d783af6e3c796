"""The one value that travels through the service."""

from dataclasses import dataclass
from enum import Enum

__all__ = ["ExportRequest", "Signal"]


class Signal(Enum):
    """A kind of telemetry; the value is its name in metrics and configuration."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"

    # Members are singletons, so identity is a correct hash, and a tenth of the cost of Enum's own:
    # signals index dictionaries several times a request.
    __hash__ = object.__hash__

    @property
    def path(self) -> str:
        """The OTLP/HTTP path, ``/v1/traces``."""
        return f"/v1/{self.value}"

    @property
    def service(self) -> str:
        """The full name of the OTLP/gRPC service."""
        return _SERVICES[self]

    @property
    def method(self) -> str:
        """The path of the OTLP/gRPC method."""
        return f"/{self.service}/Export"

    @property
    def noun(self) -> str:
        """What one item is called in messages to people."""
        return _NOUNS[self]


_SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}
_NOUNS = {Signal.TRACES: "spans", Signal.METRICS: "data points", Signal.LOGS: "log records"}


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """A serialized ``Export{Trace,Metrics,Logs}ServiceRequest``, from one client or merged from many.

    The concatenation of serialized requests of one signal is the serialization of their merge, because each of
    these messages holds one repeated field (protobuf, "Encoding", last field wins and repeated fields append).
    """

    signal: Signal
    body: bytes
    items: int
    """How many spans, data points or log records `body` holds."""

    callers: tuple[str, ...] = ()
    """The ``traceparent`` of those clients that trace their requests, while they are known: the disk does not."""
