"""What both receivers do with a request once they have its bytes; nothing here knows a transport."""

import asyncio
from dataclasses import replace

from app.core.consumer import Consumer
from app.core.errors import PartlyRejected
from app.core.instance import Instance
from app.core.log import Log, within
from app.core.request import ExportRequest, Signal
from app.receivers.answers import TAKEN, Answer, answer_to
from app.receivers.auth import Doorkeeper, Holder
from app.receivers.decode import read_protobuf
from app.receivers.meter import Meter
from app.receivers.otlp_json import Hold, hold_freely, read_json
from app.telemetry.spans import Tracer

__all__ = ["Handler"]

_log = Log(__name__)


class Handler:
    """Checks and counts requests, and passes on those that hold something."""

    def __init__(
        self,
        consumer: Consumer,
        meter: Meter,
        *,
        instance: Instance | None = None,
        tracer: Tracer | None = None,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        self._consumer = consumer
        self._meter = meter
        self._instance = instance or Instance()
        self._tracer = tracer
        self._doorkeeper = doorkeeper

    @property
    def asks_for_a_key(self) -> bool:
        """Whether a request needs one."""
        return self._doorkeeper is not None and self._doorkeeper.asks

    def admit(self, authorization: str, api_key: str) -> Holder | None:
        """See who asks, before the request is read; None where nobody needs a key.

        Raises:
            Unauthenticated: the key is missing or wrong.
            OverQuota: its holder has to wait.
        """
        if self._doorkeeper is None or not self._doorkeeper.asks:
            return None
        holder = self._doorkeeper.holder(authorization, api_key)
        holder.check()
        return holder

    async def take(
        self,
        signal: Signal,
        body: bytes,
        *,
        json: bool = False,
        hold: Hold = hold_freely,
        instances: str = "",
        traceparent: str = "",
        holder: Holder | None = None,
    ) -> Answer:
        """Take one inflated request; every outcome but cancellation is an answer.

        Args:
            signal: what the request holds.
            body: the request.
            json: it is JSON, not protobuf.
            hold: is told what the reading of JSON holds.
            instances: those of this service that it has passed, as its header says.
            traceparent: the caller's span, as its header says.
            holder: whose request it is, where that is asked.
        """
        items, span = 0, None
        if traceparent and self._tracer is not None:
            span = self._tracer.receive(signal, self._meter.transport, len(body), traceparent)
        try:
            if json:
                request = await read_json(signal, body, hold)
            else:
                request = ExportRequest(signal, body, await read_protobuf(signal, body))
            items = request.items
            if span is not None:
                request = replace(request, callers=(traceparent,))
            if items:
                await self._consume(request, instances, holder)
        except asyncio.CancelledError:
            if span is not None:
                span.end("cancelled", items=items)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told that we do not have its data
            with within(None if span is None else span.ids):
                answer = self.refuse(signal, error, items)
        else:
            answer = TAKEN
        if span is not None:
            span.end(answer.reason or "taken", answer.message, items=items)
        return answer

    async def _consume(self, request: ExportRequest, instances: str, holder: Holder | None) -> None:
        """Pass a request on, at the expense of `holder`; what was not taken costs nothing."""
        if instances:
            self._instance.came_from(request.signal, instances)
        if holder is None:
            await self._consumer.consume(request)
            return
        taken = 0
        holder.check()  # once more: others of this holder may have come in at the same time
        holder.spend(request.items, len(request.body))
        try:
            await self._consumer.consume(request)
            taken = request.items
        except PartlyRejected as error:
            taken = max(0, request.items - error.items)
            raise
        finally:
            if taken:
                holder.sent(request.signal, taken)
            else:
                holder.spend(-request.items, -len(request.body))

    def refuse(self, signal: Signal, error: Exception, items: int = 0) -> Answer:
        """Turn `error` into the client's answer, and count what is known of the request."""
        answer = answer_to(error)
        if answer.reason:
            self._meter.refused(signal, answer.reason, items)
        if answer.reason == "internal":
            _log.error(
                "request_failed",
                "a request for %(signal)s failed for no fault of its own",
                kind=type(error).__name__,
                signal=signal.value,
                fault=error,
            )
        elif answer.reason == "loop":
            _log.error(
                "loop_refused",
                "%(items)d %(noun)s are refused: %(reason)s",
                items=items,
                noun=signal.noun,
                reason=str(error),
            )
        return answer
