"""What a receiver counts. Series are looked up once, because finding one by its labels costs more than counting."""

from app.core.request import Signal
from app.telemetry.metrics import Metrics
from app.telemetry.series import Count

__all__ = ["Meter"]

_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class Meter:
    """Counts what one transport answers."""

    def __init__(self, metrics: Metrics, transport: str) -> None:
        self._metrics = metrics
        self.transport = transport
        self._routes = {signal: signal.method if transport == "grpc" else signal.path for signal in Signal}
        self._seconds = {signal: metrics.request_seconds.labels(signal.value, transport) for signal in Signal}
        self._bytes = {signal: metrics.request_bytes.labels(signal.value, transport) for signal in Signal}
        self._answers: dict[tuple[Signal, str, str], tuple[Count, Count]] = {}
        # An autoscaler that finds no series does not scale down, so there is one before the first request.
        for route in self._routes.values():
            metrics.http_requests.labels("POST", route, "OK" if transport == "grpc" else "200")

    def answered(self, signal: Signal, code: str, method: str = "POST") -> None:
        """Count an answer, by its HTTP status or the name of its gRPC status."""
        if method not in _METHODS:
            method = "other"
        key = (signal, code, method)
        counters = self._answers.get(key)
        if counters is None:
            counters = self._answers[key] = (
                self._metrics.requests.labels(signal.value, self.transport, code),
                self._metrics.http_requests.labels(method, self._routes[signal], code),
            )
        for counter in counters:
            counter.inc()

    def measured(self, signal: Signal, seconds: float, size: int) -> None:
        """Note how long a request took from its last byte to its answer, and how many bytes it came in."""
        self._seconds[signal].observe(seconds)
        self._bytes[signal].observe(size)

    def refused(self, signal: Signal, reason: str, items: int) -> None:
        """Count the items of a readable request that was refused."""
        if items:
            self._metrics.refused.labels(signal.value, self.transport, reason).inc(items)
