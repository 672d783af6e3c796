"""The queue over the last hour."""

from collections.abc import Sequence

from app.console.charts import Line, chart
from app.console.figures import Sample
from app.console.history import History
from app.console.html import Markup, join, tag
from app.console.page import Live, Part, facts, hint
from app.console.views.view import Look
from app.console.words import count, per_second, percent, seconds, size
from app.core.request import Signal

__all__ = ["QueueView"]


class QueueView:
    """How full it is, how old what waits is, and what comes and goes."""

    title = "Queue"

    def __init__(self, history: History, storage: str) -> None:
        self._history = history
        self._storage = storage

    async def parts(self, look: Look) -> Sequence[Part]:  # noqa: ARG002 - it has no parameters
        latest = self._history.latest
        if latest is None:
            return [Live("now", hint(tag("p", "The queue is being opened."))), Live("charts", join())]
        return [Live("now", self._now(latest)), Live("charts", self._charts())]

    def _now(self, now: Sample) -> Markup:
        fill = now.used_bytes / now.capacity_bytes if now.capacity_bytes else 0.0
        return facts(
            [
                ("kept", "on disk" if self._storage == "disk" else "in memory"),
                ("full", f"{percent(fill)}, {size(now.used_bytes)} of {size(now.capacity_bytes)}"),
                ("the oldest has waited", seconds(round(now.oldest_seconds, 1))),
                *((f"{signal.noun} that wait", count(now.queued[signal])) for signal in Signal),
            ]
        )

    def _charts(self) -> Markup:
        points = self._history.points
        if not points:
            return hint(tag("p", "Charts begin ten seconds after the start, and reach back for an hour."))
        times = [point.time_ns for point in points]
        fill = Line("full", [point.fill for point in points], "first")
        age = Line("age of the oldest item", [point.oldest_seconds for point in points], "first")
        rates = [
            Line("accepted", [point.arrived for point in points], "first"),
            Line("delivered", [point.left for point in points], "second"),
        ]
        return join(
            chart("How full the queue was", times, [fill], percent, 1.0),
            chart("How long the oldest item had waited", times, [age], lambda value: seconds(round(value, 1))),
            chart("Items a second", times, rates, per_second),
        )
