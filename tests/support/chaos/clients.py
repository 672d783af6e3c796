"""Clients that know exactly what was acknowledged, and what every other answer was."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle
from types import TracebackType
from typing import Final, Literal, Self

import aiohttp
import grpc
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has a stub, but no py.typed
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from app.core.request import Signal
from tests.support.chaos.numbered import numbered
from tests.support.patience import PATIENCE

__all__ = ["TRANSPORTS", "Answer", "Clients", "Seen", "Transport"]

Transport = Literal["http", "grpc"]
TRANSPORTS: Final[tuple[Transport, ...]] = ("http", "grpc")

_SIZES: Final = (2, 20)
"""Items of a request: records of which some share a page of the queue's file, and some have pages of their own."""
_PAUSE: Final = 0.05  # after a refusal, as a real client makes one
_RETRYABLE_HTTP: Final = {429, 502, 503, 504}
_HINTED: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
_RETRYABLE_GRPC: Final = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_NOBODY_THERE: Final = ("Connection refused", "failed to connect", "Failed to connect")
_HUNG_UP: Final = ("Socket closed", "Connection reset", "Broken pipe", "GOAWAY", "recvmsg", "sendmsg", "Cancelling all")
_OPTIONS: Final = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
]


class Seen(StrEnum):
    """What came of a request, as its client sees it."""

    TAKEN = "acknowledged"
    LATER = "later"
    """A retryable refusal with when to come back."""
    NO_HINT = "later, but not when"
    CUT = "connection cut"
    NOBODY = "connection refused"
    SILENCE = "no answer in time"
    NEVER = "refused for good"
    """What OTLP forbids to send again, or a success for only a part: neither is true of what these clients send."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what came of it. Times are those of `time.monotonic`."""

    client: int
    asked: float
    at: float
    transport: Transport
    signal: Signal
    first: int
    items: int
    seen: Seen
    detail: str

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.items)


class Clients:
    """`each` clients of each transport on connections of their own, and one that makes a connection for each request.

    Each sends its next request when the last was answered, of one signal after another. What was not acknowledged is
    sent again only where `resend` says so, until it is; that is remembered, because it may arrive as often.
    """

    def __init__(
        self,
        http_url: str,
        grpc_target: str,
        *,
        each: int = 3,
        pace: float = 0.005,
        resend: bool = False,
    ) -> None:
        self._http_url = http_url
        self._grpc_target = grpc_target
        self._each = each
        self._pace = pace
        self._resend = resend
        self._next = 1
        self._finishing = False
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._patience = PATIENCE
        self._limits: set[asyncio.Timeout] = set()
        """Of the requests under way."""
        self.answers: list[Answer] = []
        """In the order in which they came."""
        self.acknowledged: set[int] = set()
        self.signals: dict[int, Signal] = {}
        """Which signal each number that was sent is of."""
        self.resent: Counter[int] = Counter()
        """How many times each number was sent beyond the first."""

    async def __aenter__(self) -> Self:
        for number in range(self._each + 1):
            lasting = number < self._each
            self._tasks.append(asyncio.create_task(self._run_http(number, lasting=lasting)))
            self._tasks.append(asyncio.create_task(self._run_grpc(number, lasting=lasting)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for result in results:
            if isinstance(result, Exception) and error is None:
                raise result

    @property
    def patience(self) -> float:
        """Seconds that a client waits for an answer; those who wait when it is set have as much from then on."""
        return self._patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._patience = seconds
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time() + seconds)

    async def finish(self) -> None:
        """Send nothing more; returns when what is under way is answered."""
        self._finishing = True
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def until(self, condition: Callable[[Self], bool], what: str) -> None:
        """Return when `condition` holds, which is asked after each answer.

        Raises:
            AssertionError: it does not hold in time; `what` says what was waited for.
        """
        try:
            async with asyncio.timeout(PATIENCE), self._changed:
                await self._changed.wait_for(lambda: condition(self) or any(task.done() for task in self._tasks))
        except TimeoutError:
            latest = Counter(f"{answer.seen}: {answer.detail}" for answer in self.answers[-50:])
            raise AssertionError(f"{what}: not after {PATIENCE} s; the latest answers are {latest}") from None
        for task in self._tasks:
            if task.done() and not self._finishing:
                task.result()

    async def until_more(self, requests: int, *kinds: Seen, what: str = "more answers") -> None:
        """Return when over each transport `requests` more were asked from now on and answered by one of `kinds`."""
        now, start = time.monotonic(), len(self.answers)

        def enough(clients: Self) -> bool:
            fresh = [answer for answer in clients.answers[start:] if answer.asked >= now and answer.seen in kinds]
            met = Counter(answer.transport for answer in fresh)
            return all(met[transport] >= requests for transport in TRANSPORTS)

        await self.until(enough, f"{requests} x {' or '.join(kinds)} over each transport ({what})")

    async def until_all_served(self, what: str) -> None:
        """Return when each client had a request acknowledged that it made from now on."""
        now, start = time.monotonic(), len(self.answers)

        def served(clients: Self) -> bool:
            fresh = clients.answers[start:]
            good = {
                (answer.transport, answer.client)
                for answer in fresh
                if answer.asked >= now and answer.seen is Seen.TAKEN
            }
            return len(good) == len(clients._tasks)

        await self.until(served, f"every client is served ({what})")

    async def _run_http(self, number: int, *, lasting: bool) -> None:
        connector = aiohttp.TCPConnector(limit=1, force_close=not lasting)
        headers = {"Content-Type": "application/x-protobuf"}
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

            async def send(signal: Signal, body: bytes) -> tuple[Seen, str]:
                try:
                    async with session.post(self._http_url + signal.path, data=body) as answer:
                        return _http_outcome(answer, await answer.read())
                except (aiohttp.ClientError, OSError) as error:
                    nobody = isinstance(getattr(error, "os_error", error), ConnectionRefusedError)
                    return (Seen.NOBODY if nobody else Seen.CUT), f"{type(error).__name__}: {error}"

            await self._run("http", number, send)

    async def _run_grpc(self, number: int, *, lasting: bool) -> None:
        if lasting:
            async with grpc.aio.insecure_channel(self._grpc_target, options=_OPTIONS) as channel:

                async def send(signal: Signal, body: bytes) -> tuple[Seen, str]:
                    return await self._call(channel, signal, body)

                await self._run("grpc", number, send)
        else:

            async def send_once(signal: Signal, body: bytes) -> tuple[Seen, str]:
                async with grpc.aio.insecure_channel(self._grpc_target, options=_OPTIONS) as channel:
                    return await self._call(channel, signal, body)

            await self._run("grpc", number, send_once)

    async def _call(self, channel: grpc.aio.Channel, signal: Signal, body: bytes) -> tuple[Seen, str]:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(signal.method)
        try:
            return _success(await call(body))
        except grpc.aio.AioRpcError as error:
            return _grpc_outcome(error)

    async def _run(
        self, transport: Transport, number: int, send: Callable[[Signal, bytes], Awaitable[tuple[Seen, str]]]
    ) -> None:
        signals = cycle([*Signal][number % 3 :] + [*Signal][: number % 3])
        sizes = cycle(_SIZES)
        while not self._finishing:
            signal, first, items = next(signals), self._next, next(sizes)
            self._next += items
            numbers = range(first, self._next)
            self.signals.update(dict.fromkeys(numbers, signal))
            body = numbered(signal, first, items)
            while True:
                asked = time.monotonic()
                seen, detail = await self._in_time(send(signal, body))
                await self._note(Answer(number, asked, time.monotonic(), transport, signal, first, items, seen, detail))
                if seen is Seen.TAKEN or not self._resend or self._finishing:
                    break
                self.resent.update(numbers)
            await asyncio.sleep(self._pace)

    async def _in_time(self, sending: Awaitable[tuple[Seen, str]]) -> tuple[Seen, str]:
        limit = asyncio.timeout(self._patience)
        self._limits.add(limit)
        try:
            async with limit:
                return await sending
        except TimeoutError:
            return Seen.SILENCE, "timeout"
        finally:
            self._limits.discard(limit)

    async def _note(self, answer: Answer) -> None:
        if answer.seen is Seen.TAKEN:
            self.acknowledged.update(answer.numbers)
        async with self._changed:
            self.answers.append(answer)
            self._changed.notify_all()
        if answer.seen is not Seen.TAKEN:
            await asyncio.sleep(_PAUSE)


def _success(body: bytes) -> tuple[Seen, str]:
    # All signals' responses have the same shape: how many were rejected, and why.
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    if partial.rejected_spans:
        return Seen.NEVER, f"{partial.rejected_spans} items were rejected: {partial.error_message}"
    return Seen.TAKEN, ""


def _http_outcome(answer: aiohttp.ClientResponse, body: bytes) -> tuple[Seen, str]:
    if answer.status == 200:
        return _success(body)
    try:
        message = Status.FromString(body).message
    except Exception:  # noqa: BLE001 - whatever it is, it is shown
        message = repr(body[:100])
    detail = f"{answer.status} {message}"
    if answer.status not in _RETRYABLE_HTTP:
        return Seen.NEVER, detail
    return (Seen.LATER if "Retry-After" in answer.headers else Seen.NO_HINT), detail


def _grpc_outcome(error: grpc.aio.AioRpcError) -> tuple[Seen, str]:
    code, words = error.code(), error.details() or ""
    detail = f"{code.name} {words}"
    if code in _HINTED and "google.rpc.retryinfo-bin" in dict(error.trailing_metadata() or ()):
        return Seen.LATER, detail
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or "timed out" in words:
        return Seen.SILENCE, detail
    if code not in _RETRYABLE_GRPC:
        return Seen.NEVER, detail
    if code is grpc.StatusCode.CANCELLED or any(sign in words for sign in _HUNG_UP):
        return Seen.CUT, detail
    if any(sign in words for sign in _NOBODY_THERE):
        return Seen.NOBODY, detail
    return Seen.NO_HINT, detail
