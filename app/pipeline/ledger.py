"""What became of a batch: counted, told to the queue and logged in one turn of the event loop."""

from app.core.clock import Clock
from app.core.errors import NotAllowed, PartlyRejected, Refused
from app.core.log import Log
from app.core.request import ExportRequest
from app.queue import Lease, Queue
from app.telemetry.metrics import Metrics

__all__ = ["Ledger"]

_log = Log(__name__)


class Ledger:
    """Ends leases. `pause` is for how many seconds a destination is left alone that refuses us."""

    def __init__(self, queue: Queue, metrics: Metrics, clock: Clock, pause: float) -> None:
        self._queue = queue
        self._metrics = metrics
        self._clock = clock
        self.pause = pause

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
            _log.error(
                "we_are_refused",
                "we are refused, whatever we send: %(reason)s; %(items)d %(noun)s are dead letters now, the others "
                "wait, and every %(pause_seconds)g s one batch tries whether it has changed",
                kind=f"{noun} {refusal.reason}",
                reason=str(refusal),
                items=dead,
                noun=noun,
                pause_seconds=self.pause,
            )
        else:
            _log.error(
                "data_refused",
                "the destination refused %(refused)d of %(items)d %(noun)s, which are dead letters now: %(reason)s",
                kind=f"{noun} {refusal.reason}",
                refused=dead,
                items=items,
                noun=noun,
                reason=str(refusal),
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
        _log.error(
            "data_rejected",
            "the destination rejected %(rejected)d of %(items)d %(noun)s: %(reason)s",
            kind=f"{signal.noun} {rejection.reason}",
            rejected=rejected,
            items=items,
            noun=signal.noun,
            reason=str(rejection),
        )
        return rejected
