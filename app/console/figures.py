"""What the service counts, looked at twice: the difference tells what happens now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from app.core.clock import Clock
from app.core.request import Signal
from app.queue import Queue
from app.telemetry.metrics import Metrics
from app.telemetry.series import Count, Histogram

__all__ = ["Change", "Sample", "Spread", "sample"]

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """A histogram: how many observations fell into each bucket, by its largest value, and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def since(self, before: "Spread") -> "Spread":
        counts = (now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Spread(self.bounds, tuple(counts), self.total - before.total)

    @property
    def number(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        return self.total / self.number if self.number else None

    def within(self, share: float) -> float | None:
        """The bound of the bucket that holds the `share` smallest; None where nothing was observed."""
        wanted = self.number * share
        if not wanted:
            return None
        reached = zip((*self.bounds, inf), accumulate(self.counts), strict=True)
        return next(bound for bound, number in reached if number >= wanted)


@dataclass(frozen=True, slots=True)
class Sample:
    """All figures of one turn of the event loop. Counters are by the values of their labels."""

    monotonic: float
    time_ns: int
    accepted: Mapping[Labels, float]
    refused: Mapping[Labels, float]
    requests: Mapping[Labels, float]
    recovered: Mapping[Labels, float]
    sent: Mapping[Labels, float]
    dropped: Mapping[Labels, float]
    exports: Mapping[Labels, float]
    request_seconds: Spread
    commit_seconds: Spread
    export_seconds: Spread
    batch_items: Spread
    queued: Mapping[Signal, int]
    dead: Mapping[Signal, int]
    used_bytes: int
    capacity_bytes: int
    oldest_seconds: float
    """0 where nothing waits."""
    full: bool


def sample(metrics: Metrics, queue: Queue, clock: Clock) -> Sample:
    now, oldest = clock.now_ns(), queue.oldest_ns()
    return Sample(
        monotonic=clock.monotonic(),
        time_ns=now,
        accepted=_values(metrics.accepted.series),
        refused=_values(metrics.refused.series),
        requests=_values(metrics.requests.series),
        recovered=_values(metrics.recovered.series),
        sent=_values(metrics.sent.series),
        dropped=_values(metrics.dropped.series),
        exports=_values(metrics.export_requests.series),
        request_seconds=_spread(metrics.request_seconds),
        commit_seconds=_spread(metrics.commit_seconds),
        export_seconds=_spread(metrics.export_seconds),
        batch_items=_spread(metrics.batch_items),
        queued={signal: queue.items(signal) for signal in Signal},
        dead={signal: queue.dead.items(signal) for signal in Signal},
        used_bytes=queue.used_bytes,
        capacity_bytes=queue.capacity_bytes,
        oldest_seconds=0.0 if oldest is None else max(0, now - oldest) / 1e9,
        full=queue.full,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What happened between two samples."""

    before: Sample
    now: Sample

    @property
    def seconds(self) -> float:
        return max(self.now.monotonic - self.before.monotonic, 1e-9)

    def by(self, counter: str, label: int) -> dict[str, float]:
        """How much `counter` grew, by the value of its label at `label`, the most first; without what did not."""
        before, now = getattr(self.before, counter), getattr(self.now, counter)
        grown: dict[str, float] = {}
        for labels, value in now.items():
            more = value - before.get(labels, 0.0)
            if more > 0:
                grown[labels[label]] = grown.get(labels[label], 0.0) + more
        return dict(sorted(grown.items(), key=lambda item: -item[1]))

    def rate(self, counter: str, matches: Callable[[Labels], bool] = lambda _: True) -> float:
        """By how much the series of `counter` that match grew in a second."""
        before, now = getattr(self.before, counter), getattr(self.now, counter)
        grown: float = sum(value - before.get(labels, 0.0) for labels, value in now.items() if matches(labels))
        return max(0.0, grown) / self.seconds

    def spread(self, histogram: str) -> Spread:
        now: Spread = getattr(self.now, histogram)
        return now.since(getattr(self.before, histogram))


def _values(series: Mapping[Labels, Count]) -> dict[Labels, float]:
    return {labels: count.value for labels, count in series.items()}


def _spread(histogram: Histogram) -> Spread:
    """All series of a histogram together."""
    series = list(histogram.series.values())
    counts = tuple(sum(column) for column in zip(*(each.counts for each in series), strict=True))
    return Spread(series[0].bounds, counts, sum(each.total for each in series))
