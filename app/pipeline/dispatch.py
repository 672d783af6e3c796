"""From the queue to the destination: leases what is due, merged by signal, and settles it by the outcome.

Invariants, each with a test of its name:

- A batch is sent when `batch_size` items wait or `batch_timeout` has passed since the first of them.
- At most `concurrency` batches of a signal are under way at once.
- What a destination takes is settled after it was taken; what it refuses for good becomes dead letters (`Delivery`).
- What is under way when the dispatcher ends goes back to the queue.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from app.core.clock import Clock
from app.core.consumer import Consumer
from app.core.log import Log
from app.core.request import Signal
from app.pipeline.batch import due_in
from app.pipeline.delivery import Delivery
from app.pipeline.ledger import Ledger
from app.queue import Queue
from app.settings import ExporterSettings, RetrySettings
from app.telemetry.metrics import Metrics

__all__ = ["Dispatcher"]

_log = Log(__name__)
_AFTER_A_MISTAKE_SECONDS = 1.0


class Dispatcher:
    """One loop a signal; `destinations` has the chain that each signal's batches go to."""

    def __init__(
        self,
        queue: Queue,
        destinations: Mapping[Signal, Consumer],
        settings: ExporterSettings,
        max_age: float | None,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._destinations = destinations
        self._settings = settings
        self._max_age = max_age
        self._clock = clock
        self._metrics = metrics
        self._ledger = Ledger(queue, metrics, clock, settings.retry.max_interval)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        """A delivery ended, or entries went without one."""
        self._filling: dict[Signal, asyncio.Timeout] = {}
        self._batch_timeout = settings.batch_timeout
        self.tasks: list[asyncio.Task[None]] = []
        """The loops; each runs until the dispatcher ends. One that ends by itself has failed."""

    async def __aenter__(self) -> Self:
        self.tasks = [asyncio.create_task(self._run(signal), name=f"dispatch {signal.value}") for signal in Signal]
        if self._max_age is not None:
            self.tasks.append(asyncio.create_task(self._expire_older_than(self._max_age), name="expiry"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self.tasks, *self._deliveries]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.tasks = []

    def adopt(self, settings: RetrySettings) -> None:
        """Tell of other settings from the next refusal on."""
        self._ledger.pause = settings.max_interval

    async def drain(self, seconds: float) -> None:
        """Send what waits without waiting for more, until the queue is empty or `seconds` have passed."""
        self._batch_timeout = 0.0
        for filling in self._filling.values():
            if not filling.expired():
                filling.reschedule(0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(self._queue.items(signal) for signal in Signal):
                    self._moved.clear()
                    await self._moved.wait()

    async def _run(self, signal: Signal) -> None:
        slots = asyncio.Semaphore(self._settings.concurrency)

        def ended(task: asyncio.Task[None], delivery: Delivery) -> None:
            self._deliveries.discard(task)
            for lease in delivery.open:
                self._queue.release(lease)
            self._moved.set()
            slots.release()

        while True:
            await self._queue.wait(signal, 1)
            began = self._clock.monotonic()
            while self._queue.waiting(signal):
                await self._fill(signal, self._clock.monotonic() - began)
                await slots.acquire()
                lease = await self._queue.lease(signal, self._settings.max_batch_bytes)
                if lease is None:  # what waited is gone: expired, or damaged
                    slots.release()
                    self._moved.set()
                    break
                self._metrics.batch_items.labels(signal.value).observe(lease.request.items)
                delivery = Delivery(
                    lease, self._queue, self._destinations[signal], self._ledger, self._settings.max_batch_bytes
                )
                task = asyncio.create_task(self._deliver(delivery, signal), name=f"deliver {signal.value}")
                self._deliveries.add(task)
                task.add_done_callback(partial(ended, delivery=delivery))

    async def _fill(self, signal: Signal, waited: float) -> None:
        """Return when a batch is due, the first of whose items have `waited` seconds."""
        size = self._settings.batch_size
        wait = due_in(self._queue.waiting(signal), waited, batch_size=size, batch_timeout=self._batch_timeout)
        if wait > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait) as self._filling[signal]:
                    await self._queue.wait(signal, size)
            del self._filling[signal]

    async def _deliver(self, delivery: Delivery, signal: Signal) -> None:
        try:
            await delivery.run()
        except Exception as fault:  # noqa: BLE001 - a mistake of ours must neither lose the batch nor spin
            items = sum(lease.request.items for lease in delivery.open)
            _log.error(
                "delivery_failed",
                "delivering %(items)d %(noun)s failed; they are kept",
                kind=f"{signal.value} {type(fault).__name__}",
                items=items,
                noun=signal.noun,
                fault=fault,
            )
            await self._clock.sleep(_AFTER_A_MISTAKE_SECONDS)

    async def _expire_older_than(self, seconds: float) -> None:
        while True:
            await self._clock.sleep(min(seconds, 1.0))
            await self._queue.expire(self._clock.now_ns() - int(seconds * 1e9), self._expired)

    def _expired(self, signal: Signal, items: int) -> None:
        self._metrics.dropped.labels(signal.value, "expired").inc(items)
        _log.error(
            "expired",
            "%(items)d %(noun)s were older than queue.max_age",
            kind=signal.value,
            items=items,
            noun=signal.noun,
        )
        self._moved.set()
