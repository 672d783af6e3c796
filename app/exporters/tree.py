"""Traces for people: a line for each span, indented under its parent, and lines for what happened in it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.exporters.answer import plain
from app.exporters.canvas import Canvas, Piece, cells
from app.exporters.forest import Node, Trace, plant
from app.exporters.values import attributes, clock_time, duration, exception

__all__ = ["tree_lines"]

_NAME_LIMIT = 100
_MESSAGE_LIMIT = 300
_SERVICE_WIDTH = 16
_TIME_WIDTH = 6
_DETAILS = 8
"""How many events, and how many links, are shown of a span."""
_WIDTH_WITH_BARS = 70
_SHORT_ID = 4
"""Bytes of a trace id that tell it from its neighbours."""
_STEP = 3
"""Cells of one level of indentation."""
_GAP = Piece("  ")

_Known = dict[tuple[bytes, bytes], Node]


class _Row(NamedTuple):
    """A span and what stands before it and before the lines under it."""

    node: Node
    lead: str
    rail: str


def tree_lines(request: ExportTraceServiceRequest, canvas: Canvas) -> Iterator[str]:
    """The traces of a request, each with a line that tells what there is of it."""
    traces = plant(request)
    known: _Known = {(trace.trace_id, node.span.span_id): node for trace in traces for node in reversed(trace.nodes)}
    for trace in traces:
        yield canvas.line(_head(trace, canvas))
        rows = list(_rows(trace, canvas))
        shape = _Shape(trace, rows, canvas)
        for row in rows:
            yield canvas.line(shape.span(row))
            for detail in _details(row, trace, known, canvas):
                yield canvas.line(detail)


def _head(trace: Trace, canvas: Canvas) -> Iterator[Piece]:
    """What there is of a trace; where that is too wide, without its services, and at last with a part of its id."""
    trace_id = trace.trace_id[:16].hex() or "without an id"
    time = f"{clock_time(trace.start)}  trace   "
    spans = f"  {_count(len(trace.nodes), 'span')}, "
    services = f"{_count(len({node.service for node in trace.nodes}), 'service')}, "
    took = duration(trace.end - trace.start) if trace.start else "no times"
    failed = sum(node.failed for node in trace.nodes)
    errors = f", {_count(failed, 'error')}" if failed else ""
    room = canvas.width - len(time + spans + took + errors)
    if len(trace_id + services) > room:
        services = ""
    yield Piece(time, "dim")
    yield Piece(canvas.fit(trace_id, max(room - len(services), 2 * _SHORT_ID)), "bold")
    yield Piece(spans + services + took)
    yield Piece(errors, "red")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _rows(trace: Trace, canvas: Canvas) -> Iterator[_Row]:
    glyphs = canvas.glyphs
    blank = " " * len(glyphs.rail)
    widest = canvas.width // 3
    todo = [_Row(root, "", "") for root in reversed(trace.roots)]
    while todo:
        row = todo.pop()
        yield row
        deep = len(row.rail) + _STEP > widest
        for number, child in enumerate(reversed(row.node.children)):
            last = number == 0
            if deep:
                todo.append(_Row(child, row.lead[: -len(glyphs.deeper)] + glyphs.deeper, row.rail))
            else:
                lead, rail = (glyphs.last, blank) if last else (glyphs.branch, glyphs.rail)
                todo.append(_Row(child, row.rail + lead, row.rail + rail))


class _Shape:
    """The columns of a trace's lines."""

    def __init__(self, trace: Trace, rows: Iterable[_Row], canvas: Canvas) -> None:
        self._canvas = canvas
        self._start = trace.start
        self._whole = trace.end - trace.start if trace.start else 0
        self._bar = min(16, canvas.width // 10) if canvas.width >= _WIDTH_WITH_BARS else 0
        self._service = min(_SERVICE_WIDTH, canvas.width // 5, max(cells(node.service) for node in trace.nodes))
        # The gap, the spaces between the columns, the time and the bar.
        self._rest = 2 + 1 + self._service + 2 + _TIME_WIDTH + (self._bar and self._bar + 1)
        widest = max(cells(row.lead) + cells(_name(row.node, canvas)) for row in rows)
        self._name = min(widest, canvas.width * 45 // 100, canvas.width - self._rest - len("ERROR"))

    def span(self, row: _Row) -> Iterator[Piece]:
        canvas, node, span = self._canvas, row.node, row.node.span
        style = canvas.service(node.service)
        yield _GAP
        yield Piece(row.lead, "dim")
        yield Piece(canvas.column(_name(node, canvas), self._name - cells(row.lead)), "red" if node.failed else "bold")
        yield Piece(" " + canvas.column(node.service, self._service), style)
        took = duration(span.end_time_unix_nano - span.start_time_unix_nano)
        yield Piece(f" {took:>{_TIME_WIDTH}} ")
        if self._bar:
            yield Piece(canvas.column(self._bar_of(span), self._bar) + " ", style)
        used = self._rest + self._name + max(0, len(took) - _TIME_WIDTH)
        if node.failed or span.status.code == Status.STATUS_CODE_OK:
            word = "ERROR" if node.failed else "ok"
            yield Piece(f"{word} ", "red" if node.failed else "green")
            used += len(word) + 1
        yield from attributes(span.attributes, canvas.width - used, canvas)

    def _bar_of(self, span: Span) -> str:
        """When the span ran, within its trace; at least one cell, so that it is seen."""
        begin, end = span.start_time_unix_nano - self._start, span.end_time_unix_nano - self._start
        if self._whole <= 0 or not 0 <= begin <= end <= self._whole:
            return ""
        first = min(begin * self._bar // self._whole, self._bar - 1)
        last = max(first + 1, round(end * self._bar / self._whole))
        return " " * first + self._canvas.glyphs.bar * (last - first)


def _name(node: Node, canvas: Canvas) -> str:
    name = plain(node.span.name, _NAME_LIMIT) or "(no name)"
    return f"{canvas.glyphs.cut} {name}" if node.orphan else name


def _details(row: _Row, trace: Trace, known: _Known, canvas: Canvas) -> Iterator[list[Piece]]:
    """The message of an error, events and links."""
    span = row.node.span
    rail = row.rail + (canvas.glyphs.rail if row.node.children else " " * _STEP)
    lead = [_GAP, Piece(rail, "dim")]
    room = canvas.width - len(_GAP.text) - len(rail)
    if row.node.failed and span.status.message:
        yield [*lead, Piece(canvas.fit(f"! {plain(span.status.message, _MESSAGE_LIMIT)}", room), "red")]
    for event in span.events[:_DETAILS]:
        yield [*lead, *_event(event, trace.start, room, canvas)]
    for link in span.links[:_DETAILS]:
        yield [*lead, *_link(link, known, room, canvas)]
    for items, noun in ((span.events, "event"), (span.links, "link")):
        if len(items) > _DETAILS:
            yield [*lead, Piece(f"and {_count(len(items) - _DETAILS, f'more {noun}')}", "dim")]


def _event(event: Span.Event, start: int, room: int, canvas: Canvas) -> Iterator[Piece]:
    after = event.time_unix_nano - start
    when = f"+{duration(after)} " if start and after >= 0 else ""
    yield Piece(when, "dim")
    if thrown := exception(event.attributes):
        yield Piece(canvas.fit(thrown, room - len(when)), "red")
        return
    name = canvas.fit(plain(event.name, _NAME_LIMIT), room - len(when))
    yield Piece(f"{name}  ", "bold")
    yield from attributes(event.attributes, room - len(when) - cells(name) - 2, canvas)


def _link(link: Span.Link, known: _Known, room: int, canvas: Canvas) -> Iterator[Piece]:
    target = known.get((link.trace_id, link.span_id))
    what = f"{plain(target.span.name, _NAME_LIMIT)} of {target.service}" if target else f"span {link.span_id[:8].hex()}"
    text = canvas.fit(f"{canvas.glyphs.link} {what} in trace {link.trace_id[:16].hex()}", room)
    yield Piece(f"{text}  ")
    yield from attributes(link.attributes, room - cells(text) - 2, canvas)
