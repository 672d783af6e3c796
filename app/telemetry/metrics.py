"""Every series that the service exports. Names and labels are an interface; no label's value comes from a client.

Every scrape obeys the law, per signal: accepted + recovered = sent + dropped + queued + dead. It holds because a
counter and the queue's own figures change in the same turn of the event loop, and a scrape is one turn.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge, Info, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from app.core.request import Signal
from app.telemetry.series import Counter, Histogram

__all__ = ["TRANSPORTS", "Metrics", "gauge", "gauge_by", "gauge_by_signal"]

TRANSPORTS = ("grpc", "http")

# A `_created` beside each series would add a third to every scrape; a start shows in process_start_time_seconds.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BYTES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24)
_ITEMS = (1, 10, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000)


class Metrics:
    """One registry and all its series. Made once per service; tests make their own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            family = Counter(name, text, labels)
            self.registry.register(family)
            return family

        def histogram(name: str, text: str, labels: Iterable[str], buckets: Iterable[float]) -> Histogram:
            family = Histogram(name, text, labels, buckets)
            self.registry.register(family)
            return family

        self.accepted = counter(
            "otlp_receiver_accepted_items",
            "Items kept for delivery before the client was answered.",
            "signal",
            "transport",
        )
        self.refused = counter(
            "otlp_receiver_refused_items",
            "Items in readable requests that were refused.",
            "signal",
            "transport",
            "reason",
        )
        self.requests = counter(
            "otlp_receiver_requests",
            "Answered requests, by HTTP status or gRPC status code.",
            "signal",
            "transport",
            "code",
        )
        self.request_seconds = histogram(
            "otlp_receiver_request_duration_seconds",
            "From the whole request to its answer.",
            ("signal", "transport"),
            _SECONDS,
        )
        self.request_bytes = histogram(
            "otlp_receiver_request_size_bytes", "Request bodies as they came.", ("signal", "transport"), _BYTES
        )
        self.http_requests = counter(
            "http_requests", "OTLP requests over both transports, for autoscaling.", "method", "route", "code"
        )
        self.auth_items = counter(
            "otlp_auth_items", "Items taken of those who hold an API key, by its name.", "key", "signal"
        )
        self._reloads = counter("otlp_config_reloads", "Files that changed and were read again.", "file", "outcome")
        self.recovered = counter(
            "otlp_queue_recovered_items", "Items that a start found in the queue, dead letters included.", "signal"
        )
        self.commit_seconds = histogram(
            "otlp_queue_commit_duration_seconds", "One group commit, its fsync included.", (), _SECONDS
        )
        self.sent = counter("otlp_exporter_sent_items", "Items that the destination took.", "signal")
        self.dropped = counter("otlp_exporter_dropped_items", "Items given up, by reason.", "signal", "reason")
        self.export_requests = counter(
            "otlp_exporter_requests",
            "Export attempts, by HTTP status, gRPC status code, or what went wrong.",
            "signal",
            "code",
        )
        self.export_seconds = histogram(
            "otlp_exporter_request_duration_seconds", "One export attempt.", ("signal",), _SECONDS
        )
        self.batch_items = histogram("otlp_exporter_batch_items", "Items in a batch.", ("signal",), _ITEMS)
        self.last_success = Gauge(
            "otlp_exporter_last_success_timestamp_seconds",
            "When the destination last took a batch.",
            ["signal"],
            registry=self.registry,
        )
        Info("otlp_service", "The running version.", registry=self.registry).info({"version": version})
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """Make the series that alerts and the law are written over exist before their first event."""
        for signal in Signal:
            self.sent.labels(signal.value)
            self.recovered.labels(signal.value)
            self.batch_items.labels(signal.value)
            self.export_seconds.labels(signal.value)
            self.dropped.labels(signal.value, "rejected")
            self.dropped.labels(signal.value, "purged")
            for transport in TRANSPORTS:
                self.accepted.labels(signal.value, transport)
                self.request_seconds.labels(signal.value, transport)
                self.request_bytes.labels(signal.value, transport)

    def reloaded(self, key: str, well: bool) -> None:
        """Count that the file of the setting `key` changed, and whether it could be read again."""
        self._reloads.labels(key, "success" if well else "failure").inc()

    def at_scrape(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Add figures that are read when they are asked for; `collect` runs in the scrape's own turn of the loop."""
        self.registry.register(_AtScrape(collect))


class _AtScrape(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing to check for clashes before the queue is open


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def gauge_by_signal(name: str, text: str, values: Mapping[Signal, float]) -> GaugeMetricFamily:
    """A gauge with a value for each signal."""
    return gauge_by(name, text, "signal", {signal.value: value for signal, value in values.items()})


def gauge_by(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """A gauge with a value for each of a label's."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for name_of_value, value in values.items():
        family.add_metric([name_of_value], value)
    return family
