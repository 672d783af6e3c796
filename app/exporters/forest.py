"""The spans of a batch as trees, whatever their ids say.

- Every span is in exactly one place, also where ids are empty, repeated or run in a circle.
- A span whose parent is not in the batch is a root; of a circle, the span that began first is.
- Siblings, roots and traces are in the order of their start.
- Nothing recurses: a chain may be as long as a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.exporters.values import service_name

__all__ = ["Node", "Trace", "plant"]


@dataclass(slots=True, eq=False)
class Node:
    """A span in its tree."""

    span: Span
    service: str
    children: list["Node"] = field(default_factory=list)
    orphan: bool = False
    """It names a parent that is not in the batch."""

    @property
    def failed(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR


@dataclass(slots=True, eq=False)
class Trace:
    """What the batch holds of a trace."""

    trace_id: bytes
    nodes: list[Node] = field(default_factory=list)
    """All of them, in the order of their start."""
    roots: list[Node] = field(default_factory=list)

    start: int = 0
    """Nanoseconds since the epoch; 0 where no span says when it began."""
    end: int = 0


def plant(request: ExportTraceServiceRequest) -> list[Trace]:
    """The traces of a request."""
    traces: dict[bytes, Trace] = {}
    for resource in request.resource_spans:
        service = service_name(resource.resource)
        for scope in resource.scope_spans:
            for span in scope.spans:
                traces.setdefault(span.trace_id, Trace(span.trace_id)).nodes.append(Node(span, service))
    for trace in traces.values():
        _link(trace)
    return sorted(traces.values(), key=lambda trace: trace.start)


def _link(trace: Trace) -> None:
    trace.nodes.sort(key=_start)
    trace.start = next((start for start in map(_start, trace.nodes) if start), 0)
    trace.end = max(node.span.end_time_unix_nano for node in trace.nodes)
    first: dict[bytes, Node] = {}
    for node in trace.nodes:
        first.setdefault(node.span.span_id, node)
    parents: dict[Node, Node] = {}
    for node in trace.nodes:
        parent = first.get(node.span.parent_span_id) if node.span.parent_span_id else None
        if parent is None:
            node.orphan = bool(node.span.parent_span_id)
            trace.roots.append(node)
        else:
            parents[node] = parent
            parent.children.append(node)
    seen = {node for root in trace.roots for node in _under(root)}
    for node in trace.nodes:
        if node not in seen:  # its ancestors run in a circle, which is cut here
            parents[node].children.remove(node)
            trace.roots.append(node)
            seen.update(_under(node))
    trace.roots.sort(key=_start)


def _start(node: Node) -> int:
    return node.span.start_time_unix_nano


def _under(root: Node) -> Iterator[Node]:
    todo = [root]
    while todo:
        node = todo.pop()
        yield node
        todo += node.children
