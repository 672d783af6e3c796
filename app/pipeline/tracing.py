"""A span for each batch that is delivered: a stage above the retry, which has it, and one below, which counts."""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

from app.core.consumer import Consumer
from app.core.errors import OtlpError
from app.core.log import within
from app.core.request import ExportRequest
from app.telemetry.spans import Tracer

__all__ = ["TracedAttempts", "TracedBatches"]


@dataclass(slots=True)
class _Delivery:
    """What is known of the attempts at one batch."""

    attempts: int = 0
    failure: str = ""


_delivery: ContextVar[_Delivery] = ContextVar("delivery")


class TracedBatches:
    """Makes a span of each call of `next_stage`."""

    def __init__(self, next_stage: Consumer, tracer: Tracer) -> None:
        self._next = next_stage
        self._tracer = tracer

    async def consume(self, request: ExportRequest) -> None:
        delivery = _Delivery()
        ours = _delivery.set(delivery)
        span = self._tracer.export(request)
        outcome, error = "delivered", ""
        try:
            with within(span.ids):
                await self._next.consume(request)
        except OtlpError as refusal:
            outcome, error = refusal.reason, str(refusal)
            raise
        except asyncio.CancelledError:
            outcome, error = "cut", "the service ends; what was not delivered is kept"
            raise
        except Exception as fault:
            outcome, error = "internal", f"{type(fault).__name__}: {fault}"
            raise
        finally:
            _delivery.reset(ours)
            more = {"last_failure": delivery.failure} if delivery.failure else {}
            span.end(outcome, error, attempts=delivery.attempts, **more)


class TracedAttempts:
    """Counts each call of `next_stage` for the batch that it is made for."""

    def __init__(self, next_stage: Consumer) -> None:
        self._next = next_stage

    async def consume(self, request: ExportRequest) -> None:
        delivery = _delivery.get()
        delivery.attempts += 1
        try:
            await self._next.consume(request)
        except OtlpError as failure:
            delivery.failure = str(failure)
            raise
