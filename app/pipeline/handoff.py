"""From the queue to a sibling when the service ends: what the destination did not take in time.

Invariants, each with a test of its name:

- What a sibling takes is settled after it was taken, and counted as sent.
- What a sibling refuses stays in the queue, and holds up nothing else while memory has room beside it.
- A sibling that refuses us, whatever the data, is asked no more for that signal.
- It ends when nothing is left that could be handed off, or when its time is over.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from app.core.consumer import Consumer
from app.core.errors import NotAllowed, PartlyRejected, Refused
from app.core.log import Log
from app.core.request import Signal
from app.queue import Lease, Queue
from app.settings import ExporterSettings
from app.telemetry.metrics import Metrics

__all__ = ["Handoff"]

_log = Log(__name__)


class Handoff:
    """Takes the place of a dispatcher that has ended; `destinations` has the chain that each signal's batches go to."""

    def __init__(
        self, queue: Queue, destinations: Mapping[Signal, Consumer], settings: ExporterSettings, metrics: Metrics
    ) -> None:
        self._queue = queue
        self._destinations = destinations
        self._settings = settings
        self._metrics = metrics
        self._unwelcome: set[Signal] = set()
        self._refused: list[Lease] = []
        self.items = 0
        """How many were handed off."""

    async def run(self, seconds: float) -> None:
        """Hand off what waits, for at most `seconds`."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                    for signal in Signal:
                        for _ in range(self._settings.concurrency):
                            group.create_task(self._empty(signal), name=f"hand off {signal.value}")
        finally:
            for lease in self._refused:
                self._queue.release(lease)
            self._refused.clear()

    async def _empty(self, signal: Signal) -> None:
        size = self._settings.max_batch_bytes
        while signal not in self._unwelcome and (lease := await self._queue.lease(signal, size)) is not None:
            await self._deliver(lease)

    async def _deliver(self, lease: Lease) -> None:
        signal, items = lease.request.signal, lease.request.items
        try:
            await self._destinations[signal].consume(lease.request)
        except PartlyRejected as error:
            rejected = min(error.items, items)
            self._metrics.dropped.labels(signal.value, error.reason).inc(rejected)
            _log.error(
                "sibling_rejected",
                "a sibling took %(taken)d of %(items)d: %(reason)s",
                kind=error.reason,
                taken=items - rejected,
                items=items,
                reason=str(error),
            )
            self._taken(lease, items - rejected)
        except Refused as error:
            _log.error(
                "sibling_refused",
                "a sibling (shutdown.handoff) refused %(items)d %(noun)s, which stay: %(reason)s",
                kind=error.reason,
                items=items,
                noun=signal.noun,
                reason=str(error),
            )
            self._refused.append(lease)
            if isinstance(error, NotAllowed):
                self._unwelcome.add(signal)
        except asyncio.CancelledError:
            self._queue.release(lease)
            raise
        except Exception as fault:  # noqa: BLE001 - a mistake of ours must not take the rest of the queue with it
            _log.error(
                "handoff_failed",
                "handing off %(items)d %(noun)s failed; they stay",
                kind=signal.value,
                items=items,
                noun=signal.noun,
                fault=fault,
            )
            self._refused.append(lease)
        else:
            self._taken(lease, items)

    def _taken(self, lease: Lease, items: int) -> None:
        self._metrics.sent.labels(lease.request.signal.value).inc(items)
        self.items += items
        self._queue.settle(lease)
