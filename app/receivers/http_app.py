"""OTLP over HTTP as an ASGI application: it answers the three OTLP paths itself and hands on the rest.

A request is authenticated, bounded, read, inflated, checked and counted, and consumed, in this order; the first that
says no ends it. A refusal carries a ``google.rpc.Status`` in the encoding of the request.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import grpc
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.core.errors import Retryable, TooLarge, UnsupportedEncoding
from app.core.instance import HEADER
from app.core.request import Signal
from app.memory import COPIES, JSON_COPIES, Headroom
from app.receivers.answers import TAKEN, Answer, retry_after
from app.receivers.auth import Holder
from app.receivers.budget import Budget, Lease
from app.receivers.cors import Cors
from app.receivers.encoding import Encoding, choose_encoding, read_content_type
from app.receivers.handler import Handler
from app.receivers.http_bounds import BUSY, WHOLE
from app.receivers.inflate import announced, inflate_async
from app.receivers.meter import Meter
from app.receivers.otlp_json import forecast
from app.receivers.turns import Turnstile
from app.settings import CorsSettings

__all__ = ["Limits", "OtlpApp"]

_SIGNALS: Final = {signal.path: signal for signal in Signal}
_INSTANCES: Final = HEADER.encode()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of one body, compressed and inflated, by its encoding; and of all bodies together."""

    protobuf: int
    json: int
    inflight: int


class _Gone(Exception):
    """The client left before its request was whole."""


class _Head:
    """What a request's headers say."""

    __slots__ = (
        "accept",
        "api_key",
        "authorization",
        "content_encoding",
        "content_type",
        "encoding",
        "instances",
        "length",
        "origin",
        "traceparent",
    )

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        given = dict(headers)
        self.content_type = given.get(b"content-type", b"")
        self.content_encoding = given.get(b"content-encoding", b"")
        self.length = int(given.get(b"content-length", 0))
        self.accept = given.get(b"accept", b"")
        self.traceparent = _all(headers, b"traceparent") if b"traceparent" in given else b""  # of two there is none
        self.authorization = given.get(b"authorization", b"")
        self.api_key = given.get(b"x-api-key", b"")
        self.origin = given.get(b"origin", b"")
        self.instances = _all(headers, _INSTANCES) if _INSTANCES in given else b""
        self.encoding = read_content_type(self.content_type)


def _all(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    return b",".join(value for each, value in headers if each == name)


class OtlpApp:
    """The ASGI application. While `closing` it takes no new request."""

    def __init__(
        self,
        limits: Limits,
        handler: Handler,
        meter: Meter,
        rest: ASGIApp,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        cors: Cors | None = None,
        headroom: Headroom | None = None,
        turnstile: Turnstile | None = None,
    ) -> None:
        self.closing = False
        self._bounds = {
            Encoding.PROTOBUF: (limits.protobuf, "server.max_request_size", COPIES),
            Encoding.JSON: (limits.json, "server.max_json_size", JSON_COPIES),
        }
        self._budget = Budget(limits.inflight, "server.max_inflight_bytes", headroom)
        self._handler = handler
        self._meter = meter
        self._rest = rest
        self._cors = cors or Cors(CorsSettings())
        self._turnstile = turnstile or Turnstile()
        self._monotonic = monotonic

    @property
    def held_bytes(self) -> int:
        """What the bodies of all requests under way hold."""
        return self._budget.held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        signal = _SIGNALS.get(scope["path"])
        if signal is None:
            await self._rest(scope, receive, send)
            return
        head = _Head(scope["headers"])
        if head.origin and scope["method"] == "OPTIONS" and self._cors.allows(head.origin):
            for message in _empty(204, self._cors.of_preflight(head.origin, scope["headers"])):
                await send(message)
            return
        try:
            answer = await self._answer(signal, scope, head, receive)
        except _Gone:
            return
        self._meter.answered(signal, str(answer.status), scope["method"])
        if answer is TAKEN and head.encoding and not head.origin and WHOLE in scope.get("extensions", ()):
            await send(_TAKEN[head.encoding])
            return
        start, body = _write(signal, choose_encoding(head.content_type, head.accept), answer)
        if head.origin and self._cors.on:
            start = dict(start, headers=[*start["headers"], *self._cors.of_answer(head.origin)])
        await send(start)
        await send(body)

    async def _answer(self, signal: Signal, scope: Scope, head: _Head, receive: Receive) -> Answer:
        try:
            if scope["method"] != "POST":
                return _not_allowed(scope["method"], signal)
            self._check_open(scope)
            holder = self._handler.admit(head.authorization.decode("latin-1"), head.api_key.decode("latin-1"))
            await self._turnstile.turn()
            return await self._take(signal, head, receive, holder)
        except _Gone:
            raise
        except TimeoutError as error:
            return Answer(grpc.StatusCode.DEADLINE_EXCEEDED, 408, str(error))
        except asyncio.CancelledError:
            # Only the end of the server cancels a request, and whoever runs us would answer 500 for it.
            return self._handler.refuse(signal, Retryable("the service has ended", reason="closing"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told that we do not have its data
            return self._handler.refuse(signal, error)

    def _check_open(self, scope: Scope) -> None:
        if self.closing:
            raise Retryable("the service is shutting down", reason="closing")
        if busy := scope["state"].get(BUSY):
            raise Retryable(busy, reason="connections")

    async def _take(self, signal: Signal, head: _Head, receive: Receive, holder: Holder | None) -> Answer:
        encoding = head.encoding
        if encoding is None:
            raise UnsupportedEncoding(
                f"content type {head.content_type[:80].decode('latin-1')!r} is not OTLP's; "
                "send application/x-protobuf or application/json"
            )
        limit, key, copies = self._bounds[encoding]
        with Lease(self._budget, copies) as lease:
            body = await _read(receive, head.length, limit, key, lease)
            size, began = len(body), self._monotonic()
            try:
                if head.content_encoding:
                    coding = head.content_encoding.decode("latin-1")
                    await lease.expect(announced(body, coding, limit))
                    body = await inflate_async(body, coding, limit, key, lease.grow)
                    lease.resize(len(body))
                if encoding is Encoding.JSON:
                    await lease.expect_reading(*forecast(body))
                return await self._handler.take(
                    signal,
                    body,
                    json=encoding is Encoding.JSON,
                    hold=lease.hold,
                    instances=head.instances.decode("latin-1"),
                    traceparent=head.traceparent.decode("latin-1"),
                    holder=holder,
                )
            finally:
                self._meter.measured(signal, self._monotonic() - began, size)


async def _read(receive: Receive, length: int, limit: int, key: str, lease: Lease) -> bytes:
    """Read a body of the announced `length`, or as long as it is where none was announced (0)."""
    if length > limit:
        raise TooLarge(f"the body has {length} bytes, above the bound of {limit} ({key})")
    # Before something has come, nothing is held for it.
    piece, more = await _piece(receive)
    await lease.expect(max(length, len(piece)))
    pieces, size = [piece], len(piece)
    lease.resize(_within(size, limit, key))
    if more:
        async with lease.wait():
            while more:
                piece, more = await _piece(receive)
                pieces.append(piece)
                size += len(piece)
                lease.resize(_within(size, limit, key))
    return b"".join(pieces)


def _within(size: int, limit: int, key: str) -> int:
    if size > limit:
        raise TooLarge(f"the body has more than {limit} bytes ({key})")
    return size


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    """What has come of a body, and whether there is more."""
    message = await receive()
    if message["type"] != "http.request":
        raise _Gone
    return message.get("body", b""), message.get("more_body", False)


def _not_allowed(method: str, signal: Signal) -> Answer:
    return Answer(grpc.StatusCode.UNIMPLEMENTED, 405, f"{method} is not allowed on {signal.path}; use POST")


def _write(signal: Signal, encoding: Encoding, answer: Answer) -> tuple[Message, Message]:
    """The two ASGI messages of an answer."""
    body = encoding.response(signal, answer) if answer.status == 200 else encoding.status(answer)
    headers = [(b"content-type", encoding.value), (b"content-length", b"%d" % len(body))]
    if answer.status == 405:
        headers.append((b"allow", b"POST"))
    elif answer.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    elif answer.status == 413:
        headers.append((b"connection", b"close"))  # there may be more to come than is worth reading
    elif answer.retryable:
        seconds = retry_after(answer.delay, random.random())  # noqa: S311 - jitter
        headers.append((b"retry-after", b"%d" % seconds))
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    return start, {"type": "http.response.body", "body": body}


def _empty(status: int, headers: list[tuple[bytes, bytes]]) -> tuple[Message, Message]:
    return {"type": "http.response.start", "status": status, "headers": headers}, {"type": "http.response.body"}


def _whole(start: Message, body: Message) -> Message:
    """The same in one message, for connections that take it."""
    lines = [STATUS_LINE[start["status"]], *[b"%s: %s\r\n" % header for header in start["headers"]]]
    return {"type": WHOLE, "head": b"".join(lines), "body": body["body"]}


_TAKEN: Final = {
    encoding: _whole(*_write(Signal.TRACES, encoding, TAKEN))  # for each signal the same
    for encoding in Encoding
}
