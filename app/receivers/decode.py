"""The check at the door: whether a body is a valid request, and how many items it holds. The tree is dropped."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal
from app.receivers.turns import Steps, at_once, in_turns
from app.receivers.wire import Walk

__all__ = ["SMALL", "count_small", "counting", "read_protobuf", "request_type"]

SMALL: Final = 64 << 10
"""Bytes up to which `count_small` is a matter of milliseconds, whatever they are."""

_WHOLE: Final = 256 << 10  # bytes that are parsed in one piece: at most 22 MiB of tree and 20 ms
_PIECE: Final = 64 << 10  # bytes of the pieces of a larger body


def _spans(request: ExportTraceServiceRequest) -> Iterator[int]:
    for resource in request.resource_spans:
        yield 0
        for scope in resource.scope_spans:
            yield len(scope.spans)


def _log_records(request: ExportLogsServiceRequest) -> Iterator[int]:
    for resource in request.resource_logs:
        yield 0
        for scope in resource.scope_logs:
            yield len(scope.log_records)


def _data_points(request: ExportMetricsServiceRequest) -> Iterator[int]:
    for resource in request.resource_metrics:
        yield 0
        for scope in resource.scope_metrics:
            yield 0
            for metric in scope.metrics:
                data = metric.WhichOneof("data")
                yield len(getattr(metric, data).data_points) if data else 0


# How many items each container of a request holds; one number for every container, so that counting can pause.
_REQUESTS: Final[dict[Signal, tuple[type[Message], Callable[[Any], Iterator[int]]]]] = {
    Signal.TRACES: (ExportTraceServiceRequest, _spans),
    Signal.METRICS: (ExportMetricsServiceRequest, _data_points),
    Signal.LOGS: (ExportLogsServiceRequest, _log_records),
}


def request_type(signal: Signal) -> type[Message]:
    """The message that a request of `signal` is."""
    return _REQUESTS[signal][0]


def count_small(signal: Signal, body: bytes) -> int:
    """How many items the request in `body` holds, for bodies of up to `SMALL` bytes.

    Raises:
        InvalidData: It is not valid protobuf; says what and near which byte.
    """
    kind, sizes = _REQUESTS[signal]
    try:
        request = kind.FromString(body)
    except DecodeError:
        return at_once(Walk(kind, sizes, body, _PIECE).whole())  # which says where
    return sum(sizes(request))


async def read_protobuf(signal: Signal, body: bytes) -> int:
    """As `count_small`, for bodies of any size: memory stays bounded, and the loop gets its turns."""
    if len(body) <= SMALL:
        return count_small(signal, body)
    return await in_turns(counting(signal, body))


def counting(signal: Signal, body: bytes, *, whole: int = _WHOLE, piece: int = _PIECE) -> Steps[int]:
    """The steps of `read_protobuf`: up to `whole` bytes are parsed at once, more in pieces of `piece`."""
    walk = Walk(*_REQUESTS[signal], body, piece)
    return walk.whole() if len(body) <= whole else walk.count()
