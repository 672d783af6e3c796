"""What became of a batch: counted, told to the queue and logged in one turn of the event loop."""

import logging

from app.core.clock import Clock
from app.core.errors import NotAllowed, PartlyRejected, Refused
from app.core.request import ExportRequest
from app.queue import Lease, Queue
from app.telemetry.logs import Sparingly
from app.telemetry.metrics import Metrics

__all__ = ["Ledger"]

_log = logging.getLogger(__name__)


class Ledger:
    """Ends leases. `pause` is for how many seconds a destination is left alone that refuses us."""

    def __init__(self, queue: Queue, metrics: Metrics, clock: Clock, pause: float) -> None:
        self._queue = queue
        self._metrics = metrics
        self._clock = clock
        self._pause = pause
        self._complaints = Sparingly(_log)

    def taken(self, lease: Lease, rejection: PartlyRejected | None = None) -> None:
        """The destination took what was leased, but for the items of `rejection`."""
        rejected = self._reject(lease, rejection)
        self._sent(lease, lease.request.items - rejected)
        self._queue.settle(lease)

    def refused(
        self,
        lease: Lease,
        refusal: Refused,
        remainder: ExportRequest | None = None,
        rejection: PartlyRejected | None = None,
    ) -> None:
        """The destination refused what was leased, or `remainder` of it; the rest it took but for `rejection`."""
        rejected = self._reject(lease, rejection)
        dead = (remainder or lease.request).items
        if dead + rejected < lease.request.items:
            self._sent(lease, lease.request.items - dead - rejected)
        self._queue.bury(lease, refusal, remainder)
        noun, items = lease.request.signal.noun, lease.request.items
        if isinstance(refusal, NotAllowed):
            self._complaints.error(
                f"{noun} {refusal.reason}",
                "we are refused, whatever we send: %s; %d %s are dead letters now, the others wait, and every %g s one "
                "batch tries whether it has changed",
                refusal,
                dead,
                noun,
                self._pause,
            )
        else:
            self._complaints.error(
                f"{noun} {refusal.reason}",
                "the destination refused %d of %d %s, which are dead letters now: %s",
                dead,
                items,
                noun,
                refusal,
            )

    def _sent(self, lease: Lease, items: int) -> None:
        signal = lease.request.signal.value
        self._metrics.sent.labels(signal).inc(items)
        self._metrics.last_success.labels(signal).set(self._clock.now_ns() / 1e9)

    def _reject(self, lease: Lease, rejection: PartlyRejected | None) -> int:
        if rejection is None:
            return 0
        signal, items = lease.request.signal, lease.request.items
        rejected = min(rejection.items, items)
        self._metrics.dropped.labels(signal.value, rejection.reason).inc(rejected)
        self._complaints.error(
            f"{signal.noun} {rejection.reason}",
            "the destination rejected %d of %d %s: %s",
            rejected,
            items,
            signal.noun,
            rejection,
        )
        return rejected
