"""The last stage before a client is answered: what it took is the service's to deliver."""

from collections.abc import Callable

from app.core.errors import Retryable
from app.core.request import ExportRequest, Signal
from app.queue import Queue
from app.telemetry.metrics import Metrics

__all__ = ["Admission"]


class Admission:
    """Puts requests of one transport into the queue, unless the service is closing.

    With `delivered` a client is answered when the destination has its data, not when the queue has it.
    """

    def __init__(self, queue: Queue, metrics: Metrics, transport: str, *, delivered: bool) -> None:
        self._queue = queue
        self._delivered = delivered
        self._accepted = {signal: metrics.accepted.labels(signal.value, transport).inc for signal in Signal}
        self.closed = False
        self.tap: Callable[[ExportRequest], None] | None = None
        """Is shown what was taken, where somebody looks; it must not wait."""

    async def consume(self, request: ExportRequest) -> None:
        if self.closed:
            raise Retryable("the service is shutting down", reason="closing")
        accepted = self._accepted[request.signal]
        sequence = await self._queue.append(request, accepted, expect=self._delivered)
        if self.tap is not None:
            self.tap(request)
        if self._delivered:
            await self._queue.delivered(request.signal, sequence)
