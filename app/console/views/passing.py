"""Metrics and logs as they pass, and what all such views say of how much of it they show."""

from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile
from typing import TypeVar
from urllib.parse import urlencode

from app.console.decode import Attributes, Point, Record
from app.console.html import Markup, join, tag
from app.console.page import Live, Part, hint, table
from app.console.passing import Passing
from app.console.views.view import Look
from app.console.words import NOTHING, clock, count, percent, plural
from app.core.request import Signal

__all__ = ["LogsView", "MetricsView", "share"]

T = TypeVar("T", Point, Record)

_SHOWN = 200
_SHOWN_BYTES = 512 << 10
"""A page is written anew each second, so it is bounded in what its rows take, too."""


def share(passing: Passing, signal: Signal) -> Markup:
    """Since when somebody looks, and how much of what passed was shown."""
    found = passing.shares[signal]
    told = f"{plural(found.passed, 'request')} since {clock(found.since_ns)}, when you began to look."
    if not found.left_out:
        return tag("p", told, class_="note")
    kept = 1 - found.left_out / found.passed
    rest = f" They come too fast, or are too large, to show all: {percent(kept)} are shown, so there are gaps."
    return tag("p", told, tag("b", rest), class_="note")


class MetricsView:
    """The latest data point of each series."""

    title = "Metrics"

    def __init__(self, passing: Passing, addresses: Callable[[], str]) -> None:
        self._passing = passing
        self._addresses = addresses

    async def parts(self, look: Look) -> Sequence[Part]:
        self._passing.look(Signal.METRICS)
        text = look.parameters.get("text", "").strip()
        return [_filter("/console/metrics", text), Live("points", self._points(text))]

    def _points(self, text: str) -> Markup:
        told = share(self._passing, Signal.METRICS)
        if not self._passing.points:
            return join(
                told, hint(tag("p", f"No data point has passed since you began to look. Send to {self._addresses()}."))
            )
        found = [
            point
            for point in reversed(self._passing.points.values())
            if _holds(text, (point.service, point.metric, point.kind), point.attributes)
        ]
        if not found:
            return join(told, hint(tag("p", "No series that has passed has this in it.")))
        found.sort(key=lambda point: (point.service, point.metric))
        shown = _first(found)
        rows = [
            [
                point.service,
                tag("b", point.metric),
                point.value,
                pairs(point.attributes),
                point.kind,
                clock(point.time_ns),
            ]
            for point in shown
        ]
        head = ["Service", "Metric", "Latest value", "Attributes", "Kind", "At"]
        return join(
            told,
            table("The latest of each series", head, rows, ["", "", "value", "wide", "", ""]),
            _more(len(found) - len(shown)),
        )


class LogsView:
    """The last log records."""

    title = "Logs"

    def __init__(self, passing: Passing, addresses: Callable[[], str]) -> None:
        self._passing = passing
        self._addresses = addresses

    async def parts(self, look: Look) -> Sequence[Part]:
        self._passing.look(Signal.LOGS)
        text = look.parameters.get("text", "").strip()
        return [_filter("/console/logs", text), Live("records", self._records(text))]

    def _records(self, text: str) -> Markup:
        told = share(self._passing, Signal.LOGS)
        if not self._passing.records:
            return join(
                told, hint(tag("p", f"No log record has passed since you began to look. Send to {self._addresses()}."))
            )
        found = [
            record
            for record in reversed(self._passing.records)
            if _holds(text, (record.service, record.severity, record.body), record.attributes)
        ]
        if not found:
            return join(told, hint(tag("p", "No record that has passed has this in it.")))
        found.sort(key=lambda record: -record.time_ns)
        shown = _first(found)
        rows = [
            [
                clock(record.time_ns),
                tag("span", record.severity, class_=f"level l{record.level}"),
                record.service,
                tag("span", record.body, class_="value"),
                pairs(record.attributes),
                self._trace(record),
            ]
            for record in shown
        ]
        head = ["Time", "Severity", "Service", "Message", "Attributes", "Trace"]
        return join(
            told,
            table("Log records, the latest first", head, rows, ["", "", "", "wide", "wide", ""]),
            _more(len(found) - len(shown)),
        )

    def _trace(self, record: Record) -> Markup:
        if not record.trace_id:
            return join(NOTHING)
        short = record.trace_id[:8]
        if self._passing.traces.get(record.trace_id) is None:
            return tag("code", short)
        return tag("a", tag("code", short), href=f"/console/traces?{urlencode({'trace': record.trace_id})}")


def pairs(attributes: Attributes) -> Markup:
    """Attributes in a row."""
    return join([tag("span", tag("code", key), " ", value, class_="pair") for key, value in attributes])


def _holds(text: str, names: Sequence[str], attributes: Attributes) -> bool:
    wanted = text.lower()
    if any(wanted in name.lower() for name in names):
        return True
    return any(wanted in f"{key}={value}".lower() for key, value in attributes)


def _filter(path: str, text: str) -> Markup:
    typed = tag("input", id="text", name="text", value=text, type="text", autocomplete="off")
    return tag(
        "form",
        tag("p", tag("label", "Search for", for_="text"), typed),
        tag(
            "p",
            tag("button", "Search", type="submit", class_="primary"),
            tag("a", "Clear", href=path, class_="button") if text else None,
            class_="buttons",
        ),
        method="get",
        action=path,
        role="search",
        class_="search",
    )


def _first(found: Sequence[T]) -> Sequence[T]:
    """Those that a page has room for; one at least."""
    reached = accumulate(item.cost for item in found)
    return found[: max(1, min(_SHOWN, sum(1 for _ in takewhile(lambda taken: taken <= _SHOWN_BYTES, reached))))]


def _more(more: int) -> Markup:
    return tag("p", f"{count(more)} more are not shown.", class_="note") if more > 0 else join()
