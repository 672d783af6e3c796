"""Retryable data is sent until it is delivered; how often is decided per endpoint and signal, not per batch.

Invariants, each with a test of its name:

- Nothing is sent before the time that the destination named (cut to `max_hint`), whichever batch it named it to.
- While the destination says "later", one batch at a time is tried.
- One batch that keeps failing does not keep the others from being tried: after three failures another goes first.
- A destination that comes back is not flooded: each success lets twice as many go at once.
- What is refused for good is raised at once.
- A destination that refuses us, whatever we send, is left alone: one batch every `max_interval` tries it.
- One batch is sent first; only when it is known how the destination answers do others go beside it.

OTLP, "OTLP/gRPC Throttling", "OTLP/HTTP Throttling"; the shape of the backoff is the Collector's.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from app.core.clock import Clock
from app.core.consumer import Consumer
from app.core.errors import NotAllowed, Refused, Retryable
from app.core.log import Log
from app.core.request import ExportRequest
from app.settings import RetrySettings

__all__ = ["Backoff", "Retry", "Standing"]

_log = Log(__name__)
_FAILURES_BEFORE_ANOTHER = 3
_WELL = 16  # so many at once without a failure: no more counting


class Backoff:
    """How long to stay away: exponential with jitter, or as long as the destination asks. No I/O, no clock."""

    def __init__(self, settings: RetrySettings, jitter: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._jitter = jitter
        self.failures = 0

    def adopt(self, settings: RetrySettings) -> None:
        """Wait by other settings from the next failure on."""
        self._settings = settings

    def failed(self, hint: float | None) -> float:
        """Return the seconds to wait after one more failure; `hint` is what the destination asked for."""
        self.failures += 1
        jitter = 0.5 + self._jitter() / 2
        initial = self._settings.initial_interval
        if hint is not None:
            return max(self.cut(hint), initial * jitter)  # "at once" must not become a storm
        grown = initial * self._settings.multiplier ** min(self.failures - 1, 64)
        return min(grown, self._settings.max_interval) * jitter

    def cut(self, hint: float) -> float:
        """Return as much of a hint as is honoured."""
        return min(hint, self._settings.max_hint)

    def succeeded(self) -> None:
        self.failures = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands between us and an endpoint."""

    trouble: str | None
    """What went wrong last, until the destination takes something again."""
    failures: int
    """Rounds in a row that failed."""
    wait: float
    """Seconds until the next attempt may be made; 0: at any time."""
    under_way: int
    """Batches that are being sent."""
    in_line: int
    """Batches that wait for their turn."""


class Retry:
    """Consumes by calling `next_stage` until it takes the request or refuses it for good.

    One instance belongs to one endpoint and signal: all its callers share one backoff. Attempts that began between
    two failures that were counted are one *round*: ten batches that fail together are one failure.
    """

    def __init__(self, next_stage: Consumer, settings: RetrySettings, clock: Clock, name: str) -> None:
        self._next = next_stage
        self._backoff = Backoff(settings)
        self._pause = settings.max_interval
        self._clock = clock
        self._name = name
        self._line: deque[asyncio.Future[None]] = deque()
        self._round = 0
        self._under_way = 0
        self._allowed: int | None = 1
        """How many may be under way at once; None: the destination is well, any number."""
        self._resume_at = 0.0
        self._alarm: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """What went wrong last, until the destination takes something again."""

    def adopt(self, settings: RetrySettings) -> None:
        """Wait by other settings from the next failure on."""
        self._backoff.adopt(settings)
        self._pause = settings.max_interval

    def standing(self) -> Standing:
        wait = 0.0 if self._allowed is None else max(0.0, self._resume_at - self._clock.monotonic())
        waiting = sum(not place.done() for place in self._line)
        return Standing(self.trouble, self._backoff.failures, wait, self._under_way, waiting)

    async def consume(self, request: ExportRequest) -> None:
        failures = 0
        leads = False
        while True:
            await self._turn(first=leads and failures % _FAILURES_BEFORE_ANOTHER != 0)
            this_round = self._round
            try:
                await self._next.consume(request)
            except Retryable as error:
                failures += 1
                leads = self._failed(error, this_round)
            except NotAllowed as error:
                self._refused(error)
                raise
            except Refused:
                self._succeeded(this_round)  # it answered, so it is there
                raise
            else:
                self._succeeded(this_round)
                return
            finally:
                self._under_way -= 1
                self._let_go()

    async def _turn(self, *, first: bool) -> None:
        if self._allowed is None:
            self._under_way += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            self._line.appendleft(place)
        else:
            self._line.append(place)
        self._let_go()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                with suppress(ValueError):  # _let_go may have met the abandoned place first
                    self._line.remove(place)
            else:
                self._under_way -= 1  # the turn came in the very moment in which it was given up
            self._let_go()
            raise

    def _let_go(self) -> None:
        """Give turns to those in line, as many as may go now."""
        if not self._line:
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
        elif self._allowed is not None and self._clock.monotonic() < self._resume_at:
            if self._alarm is None:
                self._alarm = asyncio.create_task(self._wake_up(), name=f"retry of {self._name}")
        else:
            while self._line and (self._allowed is None or self._under_way < self._allowed):
                place = self._line.popleft()
                if not place.done():
                    self._under_way += 1
                    place.set_result(None)

    async def _wake_up(self) -> None:
        while (wait := self._resume_at - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)
        self._alarm = None
        self._let_go()

    def _failed(self, error: Retryable, this_round: int) -> bool:
        """Note a failure; returns whether it is the one that counts for its round."""
        counts = this_round == self._round
        if counts:
            self._round += 1
            self._allowed = 1
            wait = self._backoff.failed(error.delay)
        else:
            wait = self._backoff.cut(error.delay or 0.0)
        self._resume_at = max(self._resume_at, self._clock.monotonic() + wait)
        if self.trouble is None:
            _log.warning(
                "destination_failing",
                "%(what)s: %(reason)s; what waits is kept, the next attempt is in %(wait_seconds).1f s",
                kind=self._name,
                what=self._name,
                reason=str(error),
                wait_seconds=wait,
            )
        self.trouble = str(error)
        return counts

    def _refused(self, error: NotAllowed) -> None:
        """Note that the destination wants nothing of us."""
        self._round += 1
        self._allowed = 1
        self._resume_at = max(self._resume_at, self._clock.monotonic() + self._pause)
        self.trouble = f"we are refused: {error}"

    def _succeeded(self, this_round: int) -> None:
        if this_round != self._round or self._allowed is None:
            return  # it began before the destination said "later"
        self._backoff.succeeded()
        self._allowed *= 2
        if self._allowed > _WELL:
            self._allowed = None
        if self.trouble is not None:
            _log.info(
                "destination_well",
                "%(what)s: the destination takes telemetry again",
                kind=self._name,
                what=self._name,
            )
            self.trouble = None
