"""Counters and histograms whose counting takes a fifth of the time of prometheus_client's, which exports them.

They are counted on the event loop's thread alone, and so without locks: a request counts eight times, 2.5 µs dearer
with them, of 36 in all.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

__all__ = ["Count", "Counter", "Distribution", "Histogram"]


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Distribution:
    """One series of a histogram, whose `bounds` are the largest values of its buckets but for the last."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


S = TypeVar("S", Count, Distribution)


class _Family(Collector, Generic[S]):
    """The series of one name, by the values of its labels."""

    def __init__(self, name: str, text: str, labels: Iterable[str], make: Callable[[], S]) -> None:
        self._described = name, text, tuple(labels)
        self._make: Callable[[], S] = make
        self._series: dict[tuple[str, ...], S] = {}
        if not self._described[2]:
            self.labels()

    def labels(self, *values: str) -> S:
        """The series of these values, one for each label in their order; from now on it is exported."""
        series = self._series.get(values)
        if series is None:
            if len(values) != len(self._described[2]):
                raise ValueError(f"{self._described[0]} has the labels {self._described[2]}, not {values}")
            series = self._series[values] = self._make()
        return series

    @property
    def series(self) -> Mapping[tuple[str, ...], S]:
        """Those that are exported, by the values of their labels."""
        return self._series

    def describe(self) -> Iterable[Metric]:
        return self.collect()


class Counter(_Family[Count]):
    """What only grows. Its series end in ``_total``."""

    def __init__(self, name: str, text: str, labels: Iterable[str]) -> None:
        super().__init__(name, text, labels, Count)

    @property
    def total(self) -> int:
        """The sum over all labels."""
        return int(sum(series.value for series in self._series.values()))

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(*self._described[:2], labels=self._described[2])
        for values, series in self._series.items():
            family.add_metric(values, series.value)
        return [family]


class Histogram(_Family[Distribution]):
    """How often what was observed fell below each of some bounds, and the sum of it."""

    def __init__(self, name: str, text: str, labels: Iterable[str], buckets: Iterable[float]) -> None:
        bounds = tuple(map(float, buckets))
        super().__init__(name, text, labels, lambda: Distribution(bounds))
        self._bounds = [*map(floatToGoString, bounds), "+Inf"]

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(*self._described[:2], labels=self._described[2])
        for values, series in self._series.items():
            buckets = zip(self._bounds, accumulate(series.counts), strict=True)
            family.add_metric(values, list(buckets), series.total)
        return [family]
