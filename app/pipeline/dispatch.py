"""From the queue to the destination: leases what is due, merged by signal, and settles it by the outcome.

Invariants, each with a test of its name:

- A batch is sent when `batch_size` items wait or `batch_timeout` has passed since the first of them.
- At most `concurrency` batches of a signal are under way at once.
- What a destination takes is settled after it was taken; what it refuses for good is counted with its reason.
- What is under way when the dispatcher ends goes back to the queue.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from app.core.clock import Clock
from app.core.consumer import Consumer
from app.core.errors import PartlyRejected, Refused
from app.core.request import Signal
from app.pipeline.batch import due_in
from app.queue import Lease, Queue
from app.settings import ExporterSettings
from app.telemetry.logs import Sparingly
from app.telemetry.metrics import Metrics

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)
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
        self._deliveries: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        """A delivery ended, or entries went without one."""
        self._filling: dict[Signal, asyncio.Timeout] = {}
        self._batch_timeout = settings.batch_timeout
        self._complaints = Sparingly(_log)
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

        def ended(delivery: asyncio.Task[None], lease: Lease) -> None:
            self._deliveries.discard(delivery)
            if delivery.cancelled():  # perhaps before it began
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
                delivery = asyncio.create_task(self._deliver(lease), name=f"deliver {signal.value}")
                self._deliveries.add(delivery)
                delivery.add_done_callback(partial(ended, lease=lease))

    async def _fill(self, signal: Signal, waited: float) -> None:
        """Return when a batch is due, the first of whose items have `waited` seconds."""
        size = self._settings.batch_size
        wait = due_in(self._queue.waiting(signal), waited, batch_size=size, batch_timeout=self._batch_timeout)
        if wait > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait) as self._filling[signal]:
                    await self._queue.wait(signal, size)
            del self._filling[signal]

    async def _deliver(self, lease: Lease) -> None:
        request = lease.request
        self._metrics.batch_items.labels(request.signal.value).observe(request.items)
        try:
            await self._destinations[request.signal].consume(request)
        except PartlyRejected as error:
            self._settle(lease, min(error.items, request.items), error)
        except Refused as error:
            self._settle(lease, request.items, error)
        except Exception:  # noqa: BLE001 - a mistake of ours must neither lose the batch nor spin
            _log.exception("delivering %d %s failed; they are kept", request.items, request.signal.noun)
            await self._clock.sleep(_AFTER_A_MISTAKE_SECONDS)
            self._queue.release(lease)
        else:
            self._settle(lease, 0, None)

    def _settle(self, lease: Lease, given_up: int, refusal: Refused | None) -> None:
        """The destination has spoken: count, and let the queue forget, in one turn of the loop."""
        signal, items = lease.request.signal, lease.request.items
        if refusal is not None:
            self._metrics.dropped.labels(signal.value, refusal.reason).inc(given_up)
            self._complaints.error(
                refusal.reason, "the destination refused %d of %d %s: %s", given_up, items, signal.noun, refusal
            )
        if given_up < items:
            self._metrics.sent.labels(signal.value).inc(items - given_up)
            self._metrics.last_success.labels(signal.value).set(self._clock.now_ns() / 1e9)
        self._queue.settle(lease, None if isinstance(refusal, PartlyRejected) else refusal)

    async def _expire_older_than(self, seconds: float) -> None:
        while True:
            await self._clock.sleep(min(seconds, 1.0))
            await self._queue.expire(self._clock.now_ns() - int(seconds * 1e9), self._expired)

    def _expired(self, signal: Signal, items: int) -> None:
        self._metrics.dropped.labels(signal.value, "expired").inc(items)
        self._complaints.error("expired", "%d %s were older than queue.max_age", items, signal.noun)
        self._moved.set()
