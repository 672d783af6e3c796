"""What is known of attempts to export: their counts, how long they took, and what a destination remarked."""

from collections.abc import Callable

from app.core.clock import Clock
from app.core.log import Log
from app.core.request import ExportRequest, Signal
from app.exporters.answer import PartialSuccess, plain
from app.exporters.verdict import partly_rejected
from app.telemetry.metrics import Metrics

__all__ = ["Attempts"]

_log = Log(__name__)


class Attempts:
    """Counts each attempt once, under the code it ended with."""

    def __init__(self, metrics: Metrics, clock: Clock, timeout: float) -> None:
        self._metrics = metrics
        self._timeout = timeout
        self._clock = clock
        self._seconds = {signal: metrics.export_seconds.labels(signal.value) for signal in Signal}
        self._counts: dict[tuple[Signal, str], Callable[[], None]] = {}

    def begin(self) -> float:
        """When an attempt began, for `end`."""
        return self._clock.monotonic()

    def end(self, signal: Signal, code: str, began: float) -> None:
        """Count an attempt that ended now with `code`: a status, or what went wrong before there was one."""
        self._count(signal, code, self._clock.monotonic() - began)

    def cut(self, signal: Signal, began: float) -> None:
        """Count an attempt that was cancelled: because its time was up, or because the service stops."""
        seconds = self._clock.monotonic() - began
        self._count(signal, "timeout" if seconds >= self._timeout * 0.99 else "cancelled", seconds)

    def _count(self, signal: Signal, code: str, seconds: float) -> None:
        count = self._counts.get((signal, code))
        if count is None:
            count = self._counts[signal, code] = self._metrics.export_requests.labels(signal.value, code).inc
        count()
        self._seconds[signal].observe(seconds)

    def taken(self, destination: str, request: ExportRequest, partial: PartialSuccess) -> None:
        """Judge a success.

        Raises:
            PartlyRejected: it was one only for some of the items.
        """
        if partial.rejected > 0:
            raise partly_rejected(destination, request, partial)
        if partial.message:
            _log.warning(
                "destination_remarked",
                '%(destination)s took the %(noun)s and remarked: "%(remark)s"',
                kind=destination,
                destination=destination,
                noun=request.signal.noun,
                remark=plain(partial.message),
            )
