"""The last traces that passed, and how to find one of them.

Invariants, each with a test of its name:

- What is kept is bounded: in traces, in spans of a trace and in bytes; what was added to longest ago goes first.
- Every span of a trace has one row, also where ids are empty, repeated or run in a circle.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.console.decode import Attributes, Span, cost_of
from app.settings.units import parse_duration

__all__ = ["Query", "Row", "Trace", "TraceBook"]

_TRACES = 300
_SPANS = 1000
_BYTES = 16 << 20
_SHARE = 4
"""One trace has at most this part of all bytes."""


class Row(NamedTuple):
    """A span in the tree of its trace."""

    span: Span
    depth: int


@dataclass(slots=True, eq=False)
class Trace:
    """What passed of a trace."""

    trace_id: str
    spans: list[Span] = field(default_factory=list)
    left_out: int = 0
    """Spans beyond what is kept."""
    cost: int = 0
    start_ns: int = 0
    end_ns: int = 0
    failed: int = 0
    services: dict[str, None] = field(default_factory=dict)
    """In the order in which they came."""
    _resources: set[int] = field(default_factory=set)
    """Those of its spans, by their identity."""

    def add(self, span: Span, most_bytes: int) -> int:
        """Keep a span, unless there are enough, or they take `most_bytes`; returns the bytes that it takes."""
        if len(self.spans) >= _SPANS or self.cost >= most_bytes:
            self.left_out += 1
            return 0
        cost = span.cost
        if id(span.resource) not in self._resources:
            self._resources.add(id(span.resource))
            cost += cost_of(span.resource)
        self.spans.append(span)
        self.start_ns = min(self.start_ns or span.start_ns, span.start_ns)
        self.end_ns = max(self.end_ns, span.end_ns)
        self.failed += span.failed
        self.services.setdefault(span.service)
        self.cost += cost
        return cost

    @property
    def duration_ns(self) -> int:
        return max(0, self.end_ns - self.start_ns)

    @property
    def root(self) -> Span:
        """The span that it began with: one without a parent, if that has passed."""
        return min(self.spans, key=lambda span: (bool(span.parent_id), span.start_ns))

    def rows(self) -> Iterator[Row]:
        """The spans from the root down, siblings in the order of their start."""
        spans = sorted(self.spans, key=lambda span: span.start_ns)
        known = {span.span_id for span in spans}
        children: dict[str, list[Span]] = {}
        for span in spans:
            parent = span.parent_id if span.parent_id in known else ""
            children.setdefault(parent, []).append(span)
        seen: set[int] = set()
        # After the roots come those whose ancestors run in a circle: the first of each is taken for a root.
        for first in [*children.get("", ()), *spans]:
            todo = [Row(first, 0)]
            while todo:
                row = todo.pop()
                if id(row.span) in seen:
                    continue
                seen.add(id(row.span))
                yield row
                below = children.get(row.span.span_id, ()) if row.span.span_id else ()
                todo += [Row(child, row.depth + 1) for child in reversed(below)]


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: service, name and attribute hold for one span of a trace, the rest for it as a whole."""

    service: str = ""
    name: str = ""
    attribute: str = ""
    """``key``, ``key=value``, or a part of a value."""
    at_least: str = ""
    """As it was typed: ``200ms``."""
    errors: bool = False
    at_least_ns: int = 0
    problem: str = ""

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> "Query":
        """Read it from the parameters of a URL."""
        at_least, problem, ns = given.get("at_least", "").strip(), "", 0
        if at_least:
            try:
                ns = int(parse_duration(f"{at_least}ms" if at_least.isdecimal() else at_least) * 1e9)
            except ValueError:
                problem = f"“{at_least}” is no duration; write 200ms or 1.5s"
        return cls(
            given.get("service", "").strip(),
            given.get("name", "").strip(),
            given.get("attribute", "").strip(),
            at_least,
            given.get("errors", "") != "",
            ns,
            problem,
        )

    @property
    def asks(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.service or self.name or self.attribute or self.errors or self.at_least_ns)

    def takes(self, trace: Trace) -> bool:
        if trace.duration_ns < self.at_least_ns or (self.errors and not trace.failed):
            return False
        return any(map(self._takes_span, trace.spans))

    def _takes_span(self, span: Span) -> bool:
        return (
            self.service.lower() in span.service.lower()
            and self.name.lower() in span.name.lower()
            and (not self.attribute or any(map(self._takes_attributes, (span.attributes, span.resource))))
        )

    def _takes_attributes(self, attributes: Attributes) -> bool:
        key, equals, value = self.attribute.lower().partition("=")
        if equals:
            return any(k.lower() == key and value in v.lower() for k, v in attributes)
        return any(k.lower() == key or key in v.lower() for k, v in attributes)


class TraceBook:
    """Traces by their id."""

    def __init__(self, most_traces: int = _TRACES, most_bytes: int = _BYTES) -> None:
        self._most_traces = most_traces
        self._most_bytes = most_bytes
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._traces)

    def add(self, span: Span) -> None:
        trace = self._traces.setdefault(span.trace_id, Trace(span.trace_id))
        self._traces.move_to_end(span.trace_id)
        self._bytes += trace.add(span, max(1, self._most_bytes // _SHARE))
        while len(self._traces) > self._most_traces or (self._bytes > self._most_bytes and len(self._traces) > 1):
            _, oldest = self._traces.popitem(last=False)
            self._bytes -= oldest.cost

    def get(self, trace_id: str) -> Trace | None:
        return self._traces.get(trace_id)

    def find(self, query: Query) -> list[Trace]:
        """Those that are meant; what began last comes first."""
        return sorted(filter(query.takes, self._traces.values()), key=lambda trace: -trace.start_ns)

    def services(self) -> list[str]:
        """The names of all services in it."""
        return sorted({name for trace in self._traces.values() for name in trace.services})
