"""Any number of items of a signal out of what a shop makes."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.trace import ReadableSpan

from app.core.request import Signal
from app.send.shop import Shop

__all__ = ["Batch", "Batches"]

Batch = Sequence[ReadableSpan] | Sequence[ReadableLogRecord] | MetricsData
"""What an exporter of the SDK takes."""


class _Point(NamedTuple):
    """A data point and where it belongs."""

    resource: ResourceMetrics
    scope: ScopeMetrics
    metric: Metric
    point: Any  # the SDK has a type for each kind of metric


class Batches:
    """What a shop makes of `signal`, in its order, taken by the item."""

    def __init__(self, signal: Signal, shop: Shop) -> None:
        self._signal = signal
        self._shop = shop
        self._items: deque[Any] = deque()

    def take(self, items: int) -> Batch:
        """The next `items` items, for one request."""
        while len(self._items) < items:
            self._shop.sell()
            self._items += self._made()
        taken = [self._items.popleft() for _ in range(items)]
        return _together(taken) if self._signal is Signal.METRICS else taken

    def _made(self) -> Iterable[Any]:
        memory = self._shop.memory
        spans, records = memory.spans(), memory.log_records()  # what is not wanted must not gather either
        match self._signal:
            case Signal.TRACES:
                return spans
            case Signal.LOGS:
                return records
            case Signal.METRICS:
                return _apart(memory.metrics())


def _apart(data: MetricsData) -> list[_Point]:
    return [
        _Point(resource, scope, metric, point)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]


def _together(points: list[_Point]) -> MetricsData:
    """Each resource, scope and metric once: the SDK's encoder keeps only the last of resources that are the same."""
    return MetricsData(
        [
            replace(
                resource[0].resource,
                scope_metrics=[
                    replace(
                        scope[0].scope,
                        metrics=[
                            _with_points(metric[0].metric, [each.point for each in metric])
                            for metric in _groups(scope, lambda point: point.metric.name)
                        ],
                    )
                    for scope in _groups(resource, lambda point: point.scope.scope)
                ],
            )
            for resource in _groups(points, lambda point: point.resource.resource)
        ]
    )


def _with_points(metric: Metric, points: list[Any]) -> Metric:
    data: Any = metric.data
    return replace(metric, data=replace(data, data_points=points))


def _groups(points: list[_Point], key: Callable[[_Point], Hashable]) -> list[list[_Point]]:
    groups: dict[Hashable, list[_Point]] = {}
    for point in points:
        groups.setdefault(key(point), []).append(point)
    return list(groups.values())
