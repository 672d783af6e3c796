"""Traces as they pass: a list that can be searched, and one of them as a waterfall."""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from urllib.parse import urlencode

from app.console.decode import Attributes, Link, Span
from app.console.html import Child, Markup, join, tag
from app.console.page import Live, Part, facts, hint, table
from app.console.passing import Passing
from app.console.traces import Query, Row, Trace
from app.console.views.passing import pairs, share
from app.console.views.view import Look
from app.console.words import NOTHING, clock, date, plural, several
from app.core.request import Signal
from app.exporters.values import duration

__all__ = ["TracesView"]

_PATH = "/console/traces"
_DEEPEST = 12
_COLOURS = 6
_SHOWN = 100
_IN_ONE_TURN = 50
"""Spans that are written in one turn of the event loop: 10 ms."""
_WRITTEN = 4
"""Traces that are kept as they were written …"""
_WRITTEN_CHARACTERS = 8 << 20
"""… but for one at least, no more than this."""
_SERVICES = 200


class TracesView:
    """What passes of traces."""

    title = "Traces"

    def __init__(self, passing: Passing, addresses: Callable[[], str]) -> None:
        self._passing = passing
        self._addresses = addresses
        self._written: dict[Hashable, Markup] = {}

    async def parts(self, look: Look) -> Sequence[Part]:
        self._passing.look(Signal.TRACES)
        given = look.parameters
        if "trace" in given:
            return [
                tag("p", tag("a", "All traces", href=_PATH), class_="note"),
                Live("trace", await self._one(given["trace"])),
            ]
        query = Query.parse(given)
        return [_search(query), Live("services", self._services()), Live("traces", self._list(query))]

    def _services(self) -> Markup:
        return tag(
            "datalist",
            [tag("option", value=name) for name in self._passing.traces.services()[:_SERVICES]],
            id="services",
        )

    def _list(self, query: Query) -> Markup:
        found = self._passing.traces.find(query)
        told = share(self._passing, Signal.TRACES)
        if not len(self._passing.traces):
            return join(
                told,
                hint(tag("p", f"No trace has passed since you began to look. Send to {self._addresses()}.")),
            )
        if not found:
            return join(told, hint(tag("p", "No trace that has passed is like that.")))
        longest = max(trace.duration_ns for trace in found) or 1
        rows = [_summary(trace, longest) for trace in found[:_SHOWN]]
        more = len(found) - len(rows)
        number = f"{plural(len(found), 'trace')}{' of ' + str(len(self._passing.traces)) if query.asks else ''}"
        head = ["Began", "Trace", "Services", "Spans", "Took", "", "Errors"]
        return join(
            told,
            table(f"Traces, the latest first: {number}", head, rows, ["", "wide", "", "number", "number", "graph", ""]),
            tag("p", f"{number}{f'; the latest {len(rows)} are shown' if more else ''}.", class_="note"),
        )

    async def _one(self, trace_id: str) -> Markup:
        trace = self._passing.traces.get(trace_id)
        if trace is None:
            return hint(tag("p", "This trace has not passed since you began to look, or is forgotten by now."))
        # A thousand spans with all of their attributes take a fifth of a second, so they are not written each time.
        named = {link.trace_id for span in trace.spans for link in span.links}
        known = frozenset(name for name in named if self._passing.traces.get(name))
        state = trace_id, len(trace.spans), trace.left_out, known
        if state not in self._written:
            written = await self._write(trace)
            self._written[state] = written
            while len(self._written) > _WRITTEN or (
                len(self._written) > 1 and sum(map(len, self._written.values())) > _WRITTEN_CHARACTERS
            ):
                del self._written[next(iter(self._written))]
            return written
        return self._written[state]

    async def _write(self, trace: Trace) -> Markup:
        services = {service: number % _COLOURS for number, service in enumerate(trace.services)}
        about = [
            ("trace", tag("code", trace.trace_id or "without an id")),
            ("began", date(trace.start_ns)),
            ("took", duration(trace.duration_ns)),
            ("spans", f"{len(trace.spans)}{f', {trace.left_out} more are not shown' if trace.left_out else ''}"),
            ("services", several(list(trace.services), 6)),
            ("errors", str(trace.failed)),
        ]
        seen: Counter[str] = Counter()
        rows: list[Markup] = []
        for row in list(trace.rows()):  # more spans may come while they are written
            seen[row.span.span_id] += 1
            name = f"s{row.span.span_id}-{seen[row.span.span_id]}"
            rows.append(self._row(row, trace, services[row.span.service], name))
            if len(rows) % _IN_ONE_TURN == 0:
                await asyncio.sleep(0)
        head = tag(
            "div",
            tag("span", "Span"),
            tag("span", "Service"),
            tag("span", "Took"),
            tag("span", f"0 to {duration(trace.duration_ns)}"),
            class_="line head",
            aria_hidden="true",
        )
        return join(tag("h2", trace.root.name), facts(about), head, tag("ol", rows, class_="waterfall"))

    def _row(self, row: Row, trace: Trace, colour: int, name: str) -> Markup:
        span = row.span
        error = tag("span", tag("span", "■", class_="shape", aria_hidden="true"), "error", class_="badge failing")
        title = tag(
            "span",
            tag("span", f"level {row.depth + 1}: ", class_="unseen"),
            span.name,
            " " if span.failed else None,
            error if span.failed else None,
            class_=f"name d{min(row.depth, _DEEPEST)}",
        )
        line = tag(
            "summary",
            title,
            tag("span", span.service, class_=f"service c{colour}"),
            tag("span", duration(span.duration_ns), class_="took"),
            _bar(span, trace, colour),
            class_="line",
        )
        return tag("li", tag("details", line, self._details(span, trace)), id=name)

    def _details(self, span: Span, trace: Trace) -> Markup:
        about: list[tuple[str, Child]] = [("began after", duration(span.start_ns - trace.start_ns))]
        if span.message:
            about.append(("status", span.message))
        about += [("kind", span.kind), ("scope", span.scope), ("span", tag("code", span.span_id))]
        if span.parent_id:
            about.append(("parent", tag("code", span.parent_id)))
        parts: list[Child] = [facts([(name, value) for name, value in about if value])]
        parts += [_attributes("Attributes", span.attributes)]
        if span.events:
            events = [
                [duration(event.time_ns - trace.start_ns), tag("b", event.name), event.failure, pairs(event.attributes)]
                for event in span.events
            ]
            kinds = ["number", "", "wide", "wide"]
            parts += [
                tag("h3", "Events"),
                table("Events", ["After", "Event", "Exception", "Attributes"], events, kinds),
            ]
        if span.links:
            links = [[self._link(link), pairs(link.attributes)] for link in span.links]
            parts += [tag("h3", "Links"), table("Links", ["To", "Attributes"], links, ["", "wide"])]
        parts += [_attributes("Resource", span.resource)]
        if span.left_out:
            parts.append(tag("p", f"{span.left_out} more attributes, events and links are not shown.", class_="note"))
        return tag("div", parts, class_="inside")

    def _link(self, link: Link) -> Markup:
        target = self._passing.traces.get(link.trace_id)
        if target is None:
            return tag("code", f"{link.trace_id} {link.span_id}")
        name = next((span.name for span in target.spans if span.span_id == link.span_id), target.root.name)
        return tag("a", name, href=f"{_PATH}?{urlencode({'trace': link.trace_id})}")


def _search(query: Query) -> Markup:
    def field(name: str, label: str, value: str, example: str, **more: str) -> Markup:
        typed = tag(
            "input", id=name, name=name, value=value, placeholder=example, type="text", autocomplete="off", **more
        )
        return tag("p", tag("label", label, for_=name), typed)

    problem = tag("p", query.problem, class_="problem", role="alert") if query.problem else None
    errors = tag("input", type="checkbox", id="errors", name="errors", value="yes", checked=query.errors)
    return tag(
        "form",
        field("service", "Service", query.service, "checkout", list="services"),
        field("name", "Name of a span", query.name, "POST /checkout"),
        field("attribute", "Attribute", query.attribute, "rpc.system=grpc"),
        field("at_least", "Takes at least", query.at_least, "200ms"),
        tag("p", errors, tag("label", "With an error", for_="errors"), class_="check"),
        tag(
            "p",
            tag("button", "Search", type="submit", class_="primary"),
            tag("a", "Clear", href=_PATH, class_="button") if query.asks or query.problem else None,
            class_="buttons",
        ),
        problem,
        method="get",
        action=_PATH,
        role="search",
        class_="search",
    )


def _summary(trace: Trace, longest: int) -> list[Child]:
    root = trace.root
    error = tag(
        "span",
        tag("span", "■", class_="shape", aria_hidden="true"),
        plural(trace.failed, "error"),
        class_="badge failing",
    )
    width = max(1.0, round(100 * trace.duration_ns / longest, 1))
    bar = tag("rect", x=0, y=2, width=width, height=8, rx=2, class_="failed" if trace.failed else "fill")
    return [
        clock(trace.start_ns),
        tag("a", root.name, href=f"{_PATH}?{urlencode({'trace': trace.trace_id})}"),
        several(list(trace.services)),
        str(len(trace.spans)),
        duration(trace.duration_ns),
        tag("svg", bar, viewBox="0 0 100 12", preserveAspectRatio="none", class_="bar", aria_hidden="true"),
        error if trace.failed else NOTHING,
    ]


def _bar(span: Span, trace: Trace, colour: int) -> Markup:
    """When the span ran within its trace; wide enough to be seen."""
    whole = trace.duration_ns or 1
    begin = min(99.5, max(0.0, 100 * (span.start_ns - trace.start_ns) / whole))
    width = min(100 - begin, max(0.5, 100 * span.duration_ns / whole))
    shape = tag("rect", x=round(begin, 2), y=2, width=round(width, 2), height=8, class_=f"c{colour}")
    svg = tag("svg", shape, viewBox="0 0 100 12", preserveAspectRatio="none", class_="bar", aria_hidden="true")
    return tag("span", svg, class_="track")


def _attributes(title: str, attributes: Attributes) -> Markup:
    if not attributes:
        return join()
    rows = [[tag("code", key), tag("span", value, class_="value")] for key, value in attributes]
    return join(tag("h3", title), table(title, ["Key", "Value"], rows, ["key", "wide"]))
