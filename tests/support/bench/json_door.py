"""JSON at the door, beside protobuf's own reader of JSON, on the same bodies."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal
from app.receivers.otlp_json import read_json
from tests.support.bench.payload import request_json

__all__ = ["JsonDoor", "at_the_json_door"]

_TIMES = 7


@dataclass(frozen=True, slots=True)
class JsonDoor:
    """Microseconds of processor time for a request: from its text to protobuf's bytes, checked and counted."""

    spans: int
    """In each request."""
    ours_us: float
    json_format_us: float

    @property
    def times_faster(self) -> float:
        return self.json_format_us / self.ours_us

    def __str__(self) -> str:
        return f"{self.spans} spans a request: {self.ours_us:.0f} us, json_format {self.json_format_us:.0f} us"


async def at_the_json_door(sizes: Sequence[int], spans: int) -> AsyncIterator[JsonDoor]:
    """Read about `spans` spans in requests of each size, some times in turn; the least of each counts."""
    for size in sizes:
        body, times = request_json(size), max(1, spans // size)
        ours, theirs = [], []
        for _ in range(_TIMES):
            began = time.thread_time()
            for _ in range(times):
                await read_json(Signal.TRACES, body)
            ours.append(time.thread_time() - began)
            began = time.thread_time()
            for _ in range(times):
                _count(json_format.Parse(body, ExportTraceServiceRequest()))
            theirs.append(time.thread_time() - began)
        yield JsonDoor(size, 1e6 * min(ours) / times, 1e6 * min(theirs) / times)


def _count(request: ExportTraceServiceRequest) -> tuple[bytes, int]:
    """What remains to be done with a tree: its bytes go on, and its spans are counted."""
    spans = sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
    return request.SerializeToString(), spans
