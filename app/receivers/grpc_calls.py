"""What a call of OTLP/gRPC is given, whichever engine brought it."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import grpc

from app.core.errors import OtlpError, Retryable
from app.core.instance import HEADER
from app.core.request import Signal
from app.receivers.answers import Answer
from app.receivers.auth import Holder
from app.receivers.handler import Handler
from app.receivers.meter import Meter

__all__ = ["Caller", "Calls"]


@dataclass(frozen=True, slots=True)
class Caller:
    """What a call's metadata says."""

    instances: str = ""
    traceparent: str = ""
    holder: Holder | None = None
    """Who it is, where that is asked."""
    refusal: OtlpError | None = None
    """Why it is turned away."""


_NOTHING: Final = Caller()


class Calls:
    """Answers and counts calls, until it is `closing`."""

    def __init__(self, handler: Handler, meter: Meter) -> None:
        self._handler = handler
        self._meter = meter
        self._inflight = 0
        self._idle = asyncio.Event()
        self.closing = False
        """Calls are refused as retryable."""

    def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller | None:
        """Who calls; None where there is nothing to say of it, as of most calls."""
        instances = traceparent = authorization = api_key = ""
        for name, value in metadata:
            if name == HEADER:
                instances += f"{value!s},"
            elif name == "traceparent":
                traceparent = str(value)
            elif name == "authorization":
                authorization = str(value)
            elif name == "x-api-key":
                api_key = str(value)
        if not (instances or traceparent or self._handler.asks_for_a_key):
            return None
        try:
            return Caller(instances, traceparent, self._handler.admit(authorization, api_key))
        except OtlpError as error:
            return Caller(refusal=error)

    def check_open(self) -> None:
        """See that calls are taken.

        Raises:
            Retryable: the service is closing.
        """
        if self.closing:
            raise Retryable("the service is shutting down", reason="closing")

    def refuse(self, signal: Signal, error: OtlpError) -> Answer:
        """Turn away a call of which nothing was read; it is counted when it was told so (`refused`)."""
        return self._handler.refuse(signal, error)

    def refused(self, signal: Signal, answer: Answer) -> None:
        """A call that was turned away was told so."""
        self._meter.answered(signal, answer.code.name)

    async def answer(self, signal: Signal, body: bytes, caller: Caller | None) -> Answer:
        """Take a call's message; every outcome but cancellation is an answer."""
        began = time.monotonic()
        self._inflight += 1
        code = grpc.StatusCode.CANCELLED.name
        try:
            try:
                self.check_open()
            except OtlpError as error:
                answer = self._handler.refuse(signal, error)
            else:
                said = caller or _NOTHING
                answer = await self._handler.take(
                    signal, body, instances=said.instances, traceparent=said.traceparent, holder=said.holder
                )
            code = answer.code.name
            return answer
        finally:
            self._inflight -= 1
            if not self._inflight:
                self._idle.set()
            self._meter.measured(signal, time.monotonic() - began, len(body))
            self._meter.answered(signal, code)

    async def idle(self, grace: float) -> None:
        """Wait until what is in flight is answered, at most `grace` seconds."""
        try:
            async with asyncio.timeout(grace):
                while self._inflight:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return
