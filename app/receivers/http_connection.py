"""One HTTP/1.1 connection: uvicorn's, which parses and answers, with bounds on what a client may do to it.

- A head is at most `Bounds.head_bytes` long (431; its URL: 414) and whole within `header_timeout` (408).
- A head is not one that another server could understand differently (400): of `Host`, and of what says who asks and
  what the body is, there is one; the body's end is where a length or `chunked` says.
- A body is whole within `body_timeout`, and the framing around it is no flood of its own.
- A few pipelined requests wait; reading stops until they are answered.
- An answer that waits for its client is read within `body_timeout`, or the connection ends.
- A connection is closed in a way that lets the client read the last answer.
- Above `max_connections` requests are refused as busy. There, on a connection that is old, and while the server
  closes, an answer is the connection's last.

What ends a body early reaches the application as an exception of `receive`: `TimeoutError` or `InvalidData`.
Time is kept by the server, which looks at every connection's `deadline` once a second: no timer per request.
"""

import asyncio
import random
import sys
from collections.abc import Coroutine
from enum import Enum
from functools import partial
from http import HTTPStatus
from math import inf

import httptools
from starlette.types import Message
from uvicorn._types import ASGI3Application, ASGIReceiveEvent, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.http_bounds import BUSY, WHOLE, State
from app.receivers.http_transport import GentleTransport

__all__ = ["Connection"]

_PIPELINE = 8  # requests that may wait for the answer to another
_FRAMING = 8  # bytes around one of a body; a chunk of one costs five
_SINGLE = {b"host", b"authorization", b"x-api-key", b"content-type", b"content-encoding"}  # of which one is meant
_LINGER_SECONDS = 2.0
_CLOSING_IDLE_SECONDS = 1.0
_PATHS = {signal.path.encode(): signal.path for signal in Signal}
_EXTENSIONS: dict[str, dict[object, object]] = {WHOLE: {}}


if sys.version_info >= (3, 12):
    # A task that ends at once costs 1.5 µs less when it is not scheduled first.
    _start = partial(asyncio.Task, eager_start=True)
else:

    def _start(work: Coroutine[None, None, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        return loop.create_task(work)


class _Phase(Enum):
    """What a connection waits for."""

    FRESH = "its first request"
    IDLE = "its next request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    ANSWER = "the answer"
    LINGER = "the client to close"


class _Refusal(Exception):
    """Raised in a callback of the parser: this is no request that could be handed on."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection(HttpToolsProtocol):
    """A client's connection to an `HttpServer`, which makes it and calls `sweep`, `move_on` and `retire`."""

    server_state: State
    transport: GentleTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(GentleTransport(transport, self._close))
        self.bounds = bounds = self.server_state.bounds
        now = self.loop.time()
        self.deadline = now + bounds.header_timeout
        self._retire_at = now + bounds.max_connection_age * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        self._last = self.server_state.closing
        self._phase = _Phase.FRESH
        self._moved = False
        self._deaf = False
        self._read_until = inf
        self._unparsed = self._framing = 0
        self._short = False
        """Whether a head that ends in what is read now began in it, and cannot be too long."""
        self._next: tuple[RequestResponseCycle, ASGI3Application] | None = None
        self._failed: RequestResponseCycle | None = None
        self._failure: Exception = InvalidData("")
        excess = len(self.connections) - bounds.max_connections
        self._busy = excess > 0
        if excess > bounds.excess:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.server_state.ended.set()

    # What the server does with its connections

    def sweep(self, now: float) -> None:
        """Do what is due at `now`, a time of the event loop."""
        if now >= self._retire_at:
            self._last = True
        if now >= self._read_until:
            self.transport.abort()
            return
        if now < self.deadline:
            return
        match self._phase:
            case _Phase.HEAD:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, "server.header_timeout: the request's head took too long")
            case _Phase.BODY:
                self._end_body(TimeoutError("server.body_timeout: the request's body took too long"))
            case _Phase.FRESH | _Phase.IDLE:
                self._linger(now + _LINGER_SECONDS)
            case _:
                self.transport.abort()

    def move_on(self) -> None:
        """Let the next answer be the last."""
        self._last = True
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def retire(self) -> None:
        """Let the next answer be the last, and end soon where there is none to give."""
        self.move_on()
        if self._phase is _Phase.IDLE:
            self.deadline += _CLOSING_IDLE_SECONDS - self.bounds.idle_timeout
        elif self._phase is _Phase.FRESH:
            self.deadline = min(self.deadline, self.loop.time() + _CLOSING_IDLE_SECONDS)

    # What the client does not read

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_until = self.loop.time() + self.bounds.body_timeout

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_until = inf

    # What comes from the client

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            self._take_in(data)
        finally:
            if self._next is not None:
                self._begin(*self._next)

    def _take_in(self, data: bytes) -> None:
        before = self._phase
        self._short = before is not _Phase.HEAD and len(data) <= self.bounds.head_bytes
        if before is _Phase.BODY:
            self._framing = max(0, self._framing) + len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._on_parser_error(error)
            return
        if self._moved:
            self._moved = False
            self._unparsed = 0
            self._set_deadline(before)
        elif before is _Phase.HEAD:
            self._unparsed += len(data)
            if self._unparsed > self.bounds.head_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too long")
        elif before is _Phase.BODY and self._framing > self.bounds.head_bytes:
            self._end_body(InvalidData("the request's body is mostly framing"))

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                # Where the head says that it is the connection's last, the old one would hear nothing more.
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        """The head that was parsed, to be parsed again as that of a plain request.

        Some clients (Java's, curl) offer HTTP/2 with a request and mean its body all the same; the parser takes what
        follows for the new protocol, and would let us acknowledge an empty body.
        """
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _set_deadline(self, before: _Phase) -> None:
        match self._phase:
            case _Phase.ANSWER:
                self.deadline = inf
            case _Phase.IDLE:
                self.deadline = self.loop.time() + self.bounds.idle_timeout
            case _Phase.BODY:
                # Where a request waits for another's answer, it is us who stopped reading.
                self.deadline = inf if self.pipeline else self.loop.time() + self.bounds.body_timeout
            case _Phase.HEAD if before is not _Phase.FRESH:  # the first request's time runs from the connection's start
                self.deadline = self.loop.time() + self.bounds.header_timeout

    def _on_parser_error(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
        if cause is not None and not isinstance(cause, _Refusal):
            raise cause  # a fault of ours: the loop logs it and resets the connection
        if self._phase is _Phase.BODY:
            self._end_body(InvalidData(f"the request's body is framed wrongly: {cause or error}"))
        elif cause is not None:
            self._refuse(cause.status, str(cause))
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, f"not an HTTP/1.1 request: {error}")

    # What the parser finds

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._moved = True

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refusal(HTTPStatus.NOT_IMPLEMENTED, "this is no proxy")
            return  # the head comes once more
        if len(self.url) > self.bounds.url_bytes:
            raise _Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "the request's URL is too long")
        if not self._short and sum([len(name) + len(value) for name, value in self.headers]) > self.bounds.head_bytes:
            raise _Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too long")
        given = dict(self.headers)
        if len(given) < len(self.headers) or b"host" not in given or b"transfer-encoding" in given:
            self._check_head(given)
        if len(self.pipeline) >= _PIPELINE:
            raise _Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many requests at once on one connection")
        self.scope["extensions"] = _EXTENSIONS
        if self._busy:
            self.scope["state"][BUSY] = f"server.max_connections: all {self.bounds.max_connections} are taken"
        self._make_cycle()
        if self._last or self._busy:
            self.cycle.keep_alive = False
        self.headers = []  # for the trailers, which are nothing to the application
        self._phase = _Phase.BODY
        self._moved = True
        self._framing = 0

    def _make_cycle(self) -> None:
        """Begin the request as uvicorn does, without looking into a URL that is known: of 15 µs one less."""
        path = _PATHS.get(self.url)
        waits = self.cycle is not None and not self.cycle.response_complete
        if path is None or waits or self.parser.get_http_version() != "1.1":
            try:
                super().on_headers_complete()
            except (httptools.HttpParserInvalidURLError, UnicodeDecodeError, AttributeError) as error:
                raise _Refusal(HTTPStatus.BAD_REQUEST, "the request's URL is not one") from error
            return
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["path"], self.scope["raw_path"], self.scope["query_string"] = path, self.url, b""
        self.cycle = RequestResponseCycle(
            self.scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            self.parser.should_keep_alive(),
            self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, self.app)

    def _check_head(self, given: dict[bytes, bytes]) -> None:
        """Refuse what another server in front of us could have understood differently; `given` are the last values."""
        version = self.parser.get_http_version()
        if b"host" not in given and version == "1.1":
            raise _Refusal(HTTPStatus.BAD_REQUEST, "the request has no Host (RFC 9112, 3.2)")
        for name in _SINGLE & given.keys():
            values = [value for each, value in self.headers if each == name]
            if len(values) > 1 and (name == b"host" or len(set(values)) > 1):
                raise _Refusal(HTTPStatus.BAD_REQUEST, f"the request's {name.decode()} is there {len(values)} times")
        if b"transfer-encoding" in given:
            self._check_transfer_encoding(version)

    def _check_transfer_encoding(self, version: str) -> None:
        if version < "1.1":
            raise _Refusal(HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding (RFC 9112, 6.1)")
        joined = b",".join(value for name, value in self.headers if name == b"transfer-encoding")
        *others, last = joined.lower().replace(b" ", b"").replace(b"\t", b"").split(b",")
        if last != b"chunked" or last in others:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "the request's Transfer-Encoding does not end with its only chunked")
        if others:
            raise _Refusal(HTTPStatus.NOT_IMPLEMENTED, "the request's Transfer-Encoding is not chunked alone")

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body) * (1 + _FRAMING)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._phase = _Phase.IDLE if self.cycle.response_complete else _Phase.ANSWER
        self._moved = True

    # What the application does

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._next = cycle, app

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Let the application work on a request with what has come of it: mostly all, and often it ends at once."""
        self._next = None
        task = _start(cycle.run_asgi(partial(self._run, cycle, app)), loop=self.loop)
        if not task.done():
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)

    async def _run(
        self,
        cycle: RequestResponseCycle,
        app: ASGI3Application,
        scope: Scope,
        _receive: object,
        _send: object,
    ) -> None:
        try:
            await app(scope, partial(self._receive, cycle), partial(self._send, cycle))
        except asyncio.CancelledError:
            # The server ends. uvicorn would take it for a fault and answer 500; a reset may be tried again.
            cycle.disconnected = True
            self.transport.abort()

    async def _receive(self, cycle: RequestResponseCycle) -> ASGIReceiveEvent:
        if cycle.body and not (cycle.more_body or cycle.disconnected or cycle.response_complete):
            # What uvicorn's does where the body is whole already, as most are, but for an event: 0.5 µs less.
            self.flow.resume_reading()
            body, cycle.body = bytes(cycle.body), bytearray()
            return {"type": "http.request", "body": body, "more_body": False}
        message = await cycle.receive()
        if self._failed is cycle:
            raise self._failure
        return message

    async def _send(self, cycle: RequestResponseCycle, message: Message) -> None:
        if message["type"] != WHOLE:
            await cycle.send(message)  # type: ignore[arg-type]  # uvicorn lists all types of it
            return
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((message["head"], self.server_state.header_lines, end, message["body"])))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def on_response_complete(self) -> None:
        # In place of uvicorn's, for it starts a timer with each answer.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._begin(*self.pipeline.pop())
            if self._phase is _Phase.BODY:
                self._set_deadline(_Phase.BODY)
        elif self._phase is _Phase.ANSWER:
            self._phase = _Phase.IDLE
            self._set_deadline(_Phase.ANSWER)

    # How it ends

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer what is no request, unless one before it is to be answered yet: then its answer is the last."""
        self._deaf = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self._phase = _Phase.ANSWER
            self.deadline = inf
            return
        body = message.encode()
        head = [STATUS_LINE[status], self.server_state.header_lines]
        head += [b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(body)]
        self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", body]))
        self._linger(self.loop.time() + _LINGER_SECONDS)

    def _end_body(self, error: Exception) -> None:
        """Let the application answer a request whose body will not come to its end."""
        self._deaf = True
        self.cycle.keep_alive = False
        self.deadline = inf
        if self.cycle.response_complete:
            self._linger(self.loop.time() + _LINGER_SECONDS)
        else:
            self._failed, self._failure = self.cycle, error
            self.cycle.message_event.set()

    def _close(self) -> None:
        """End after an answer, such that the client can read it: a socket with unread data resets its peer."""
        if self._phase is _Phase.BODY and not self._deaf:
            self._linger(self.deadline)
        elif self._deaf:
            self._linger(self.loop.time() + _LINGER_SECONDS)
        else:
            self.transport.real.close()

    def _linger(self, deadline: float) -> None:
        if not self.transport.is_closing():
            self._deaf = True
            self._phase = _Phase.LINGER
            self.deadline = deadline
            self.flow.resume_reading()
            self.transport.linger()
