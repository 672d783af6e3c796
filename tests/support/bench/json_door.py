"""JSON at the door, beside protobuf's own reader of JSON, on the same bodies."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import product

from google.protobuf import json_format

from app.core.request import Signal
from app.receivers.decode import request_type
from app.receivers.otlp_json import read_json
from tests.support.bench.payload import request_json

__all__ = ["JsonDoor", "at_the_json_door"]

_TIMES = 7


@dataclass(frozen=True, slots=True)
class JsonDoor:
    """Microseconds of processor time for a request: from its text to protobuf's bytes, checked and counted."""

    signal: str
    items: int
    """Spans, data points or log records in each request."""
    ours_us: float
    json_format_us: float

    @property
    def times_faster(self) -> float:
        return self.json_format_us / self.ours_us

    def __str__(self) -> str:
        return (
            f"{self.items} of {self.signal} a request: {self.ours_us:.0f} us, json_format {self.json_format_us:.0f} us"
        )


async def at_the_json_door(sizes: Sequence[int], items: int) -> AsyncIterator[JsonDoor]:
    """Read about `items` of each signal in requests of each size, some times in turn; the least of each counts."""
    for signal, size in product(Signal, sizes):
        body, times, kind = request_json(signal, size), max(1, items // size), request_type(signal)
        ours, theirs = [], []
        for _ in range(_TIMES):
            began = time.thread_time()
            for _ in range(times):
                await read_json(signal, body)
            ours.append(time.thread_time() - began)
            began = time.thread_time()
            for _ in range(times):
                json_format.Parse(body, kind()).SerializeToString()
            theirs.append(time.thread_time() - began)
        yield JsonDoor(signal.value, size, 1e6 * min(ours) / times, 1e6 * min(theirs) / times)
