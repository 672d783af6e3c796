"""What passes while somebody looks: taken at the door as it came, decoded a moment later, and soon forgotten.

Invariants, each with a test of its name:

- While nobody looks there is no tap, and nothing is decoded.
- What waits to be decoded is bounded, and so is the time that decoding takes of each second; what is more is counted.
- What is kept is bounded, in number and in bytes; what came longest ago goes first.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from google.protobuf.message import DecodeError

from app.console.decode import Point, Record, points_in, records_in, spans_in
from app.console.traces import TraceBook
from app.core.clock import Clock
from app.core.request import ExportRequest, Signal

__all__ = ["Passing", "Share"]

_LARGEST_REQUEST = 256 << 10
_WAITING_BYTES = 4 << 20
_WAITING_REQUESTS = 1000
_DECODE_SECONDS = 0.05
"""Of each second; 5 % of one processor."""
_IN_ONE_TURN = 50
"""Items that are decoded in one turn of the event loop."""
_LINGER_SECONDS = 10.0
"""A page that is left for another looks on."""
_FORGET_SECONDS = 600.0
_POINTS = 500
_RECORDS = 300
_KEPT_BYTES = 4 << 20
"""Of points, and of records; that of traces is their book's."""


@dataclass(slots=True)
class Share:
    """Requests of a signal since somebody began to look."""

    since_ns: int
    passed: int = 0
    left_out: int = 0
    """Those that came too fast to be shown, or were too large."""


class Passing:
    """Traces, metrics and logs as they pass. `decode` has to be called about once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Begin anew: nobody looks, and nothing has passed."""
        self._looked: dict[Signal, float] = {}
        self._waiting: deque[ExportRequest] = deque()
        self._waiting_bytes = 0
        self.traces = TraceBook()
        self.points: OrderedDict[tuple[object, ...], Point] = OrderedDict()
        """The latest of each series; what came last is last."""
        self._points_bytes = 0
        self.records: deque[Record] = deque()
        """What came last is last."""
        self._records_bytes = 0
        self.shares: dict[Signal, Share] = {}

    def look(self, signal: Signal) -> None:
        """Somebody looks at `signal` now."""
        if not self._is_looked_at(signal):
            self.shares[signal] = Share(self._clock.now_ns())
        self._looked[signal] = self._clock.monotonic()

    @property
    def tap(self) -> Callable[[ExportRequest], None] | None:
        """What is to be shown each request that is taken; None: nobody looks."""
        return self._take if any(map(self._is_looked_at, Signal)) else None

    def _is_looked_at(self, signal: Signal) -> bool:
        looked = self._looked.get(signal)
        return looked is not None and self._clock.monotonic() - looked <= _LINGER_SECONDS

    def _take(self, request: ExportRequest) -> None:
        share, size = self.shares.get(request.signal), len(request.body)
        if share is None or not self._is_looked_at(request.signal):
            return
        share.passed += 1
        if (
            size > _LARGEST_REQUEST
            or self._waiting_bytes + size > _WAITING_BYTES
            or len(self._waiting) >= _WAITING_REQUESTS
        ):
            share.left_out += 1
            return
        self._waiting.append(request)
        self._waiting_bytes += size

    async def decode(self) -> None:
        """Decode what waits, as far as time allows; forget all of it long after the last look."""
        now = self._clock.monotonic()
        if self._looked and now - max(self._looked.values()) > _FORGET_SECONDS:
            self.forget()
        spent = 0.0
        while self._waiting and spent < _DECODE_SECONDS:
            request = self._waiting.popleft()
            self._waiting_bytes -= len(request.body)
            items = self._read(request)
            more = True
            while more:
                began = self._clock.monotonic()
                more = sum(1 for _ in islice(items, _IN_ONE_TURN)) == _IN_ONE_TURN
                spent += self._clock.monotonic() - began
                await asyncio.sleep(0)

    def _read(self, request: ExportRequest) -> Iterator[None]:
        """Read a request, one item after another."""
        try:
            match request.signal:
                case Signal.TRACES:
                    for span in spans_in(request.body):
                        self.traces.add(span)
                        yield
                case Signal.METRICS:
                    for point in points_in(request.body):
                        self._note(point)
                        yield
                case Signal.LOGS:
                    for record in records_in(request.body):
                        self._remember(record)
                        yield
        except DecodeError:  # not what the door let in; it is the destination's to say so
            self.shares[request.signal].left_out += 1

    def _note(self, point: Point) -> None:
        key = (point.service, point.metric, point.attributes)
        before = self.points.pop(key, None)
        self.points[key] = point
        self._points_bytes += point.cost - (before.cost if before else 0)
        while len(self.points) > _POINTS or self._points_bytes > _KEPT_BYTES:
            self._points_bytes -= self.points.popitem(last=False)[1].cost

    def _remember(self, record: Record) -> None:
        self.records.append(record)
        self._records_bytes += record.cost
        while len(self.records) > _RECORDS or self._records_bytes > _KEPT_BYTES:
            self._records_bytes -= self.records.popleft().cost
