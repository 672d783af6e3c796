"""A stage before the exporter that remembers what became of the last attempts."""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from app.core.clock import Clock
from app.core.consumer import Consumer
from app.core.errors import OtlpError
from app.core.request import ExportRequest, Signal

__all__ = ["Attempt", "Failure", "Witness"]

_FAILURES = 30


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that did not succeed. The same message again counts on, so that one outage is one line."""

    first_ns: int
    last_ns: int
    times: int
    signal: Signal
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A batch that is being sent."""

    signal: Signal
    items: int
    size: int
    began: float
    """In seconds of the monotonic clock."""


class Witness:
    """Calls `next_stage`, and remembers the last failures of all signals and the last success of each."""

    def __init__(self, next_stage: Consumer, clock: Clock) -> None:
        self._next = next_stage
        self._clock = clock
        self._failures: deque[Failure] = deque(maxlen=_FAILURES)
        self._under_way: dict[int, Attempt] = {}
        self._numbers = itertools.count()
        self.succeeded_ns: dict[Signal, int] = {}

    @property
    def failures(self) -> Sequence[Failure]:
        """The latest first."""
        return self._failures

    @property
    def under_way(self) -> list[Attempt]:
        """The oldest first."""
        return list(self._under_way.values())

    async def consume(self, request: ExportRequest) -> None:
        number = next(self._numbers)
        signal = request.signal
        self._under_way[number] = Attempt(signal, request.items, len(request.body), self._clock.monotonic())
        try:
            await self._next.consume(request)
        except OtlpError as error:
            self._failed(signal, error)
            raise
        else:
            self.succeeded_ns[signal] = self._clock.now_ns()
        finally:
            del self._under_way[number]

    def _failed(self, signal: Signal, error: OtlpError) -> None:
        now, first, times = self._clock.now_ns(), self._clock.now_ns(), 1
        message = str(error)
        for known in self._failures:
            if (known.signal, known.reason, known.message) == (signal, error.reason, message):
                self._failures.remove(known)
                first, times = known.first_ns, known.times + 1
                break
        self._failures.appendleft(Failure(first, now, times, signal, error.reason, message))
