"""Many clients in a process of their own, cheap enough to send more than the service can take; and what they met.

    result = await flood(tmp_path, Plan(service.port, service.grpc_port, http_clients=200, …))

Raw sockets, HTTP/1.1 and HTTP/2 by hand: a client of an SDK costs more than what it asks for. A request that is due
while every client waits for an answer is not sent, and counted.
"""

import asyncio
import json
import math
import os
import re
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from app.core.request import Signal
from tests.support.load import FILLER, spans_request
from tests.support.raw_http2 import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    message,
)

__all__ = ["SPANS", "Plan", "Result", "flood", "numbers_in", "request_bytes", "signal_of"]

SPANS = 20
"""In each request; data points in one for metrics, records in one for logs."""
HTTP, GRPC = range(2)
_FRAME_BYTES = 16_384
_TICK_SECONDS = 0.005
_GIVE_UP_SECONDS = 10.0  # as SDKs do
_ID = {
    Signal.TRACES: re.compile(rb"\x0a\x10\0{7}\x01(.{8})\x12\x08\1", re.DOTALL),
    Signal.METRICS: re.compile(rb"\x22\x08(.{8})\x2a\x10\0{7}\x01\1", re.DOTALL),  # in an exemplar of each data point
    Signal.LOGS: re.compile(rb"\x4a\x10\0{7}\x01(.{8})\x52\x08\1", re.DOTALL),
}
"""The trace id and the span id that items have, in the order of their fields."""
_RETRY_AFTER = re.compile(rb"\r\nretry-after: [1-9]\d*\r\n", re.IGNORECASE)
_HTTP_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_GRPC_STATUS = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")
_GRPC_CODES = {0: "OK", 8: "RESOURCE_EXHAUSTED", 14: "UNAVAILABLE"}
_GOOD = {"200", "OK"}


_SIGNALS = tuple(Signal)
_FIELDS = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": b"",
    b":authority": b"flood",
    b"content-type": b"application/grpc",
    b"te": b"trailers",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What clients do."""

    http_port: int
    grpc_port: int
    http_clients: int
    grpc_clients: int
    streams: int
    """Requests at once of each gRPC client."""
    rates: tuple[float, float] | None
    """Requests a second over HTTP and gRPC; None: each client sends its next when the last was answered."""
    seconds: float
    first: int
    """The number of the first span."""
    back_off: bool = True
    """Whether a client that was refused waits for a second, as it was asked to."""
    filler: int = 1
    """How many times as large as usual spans are."""
    requests: int | None = None
    """How many are sent at most; they end before `seconds` have passed when they are."""
    every_signal: bool = False
    """Whether requests are for traces, metrics and logs by turns; otherwise all are for traces."""
    refusals: int | None = None
    """How many are met at most; they end before `seconds` have passed when they are."""
    cpus: tuple[int, ...] = ()
    """The processors that the clients keep to; none: all."""
    warm_up: float = 0.0
    """How many of the seconds do not count for the goodput."""
    refused_first: bool = False
    """Nor what comes before the first refusal."""
    log: bool = False
    """Whether each request is written down by itself."""


@dataclass(slots=True)
class Result:
    """What clients met."""

    seconds: float = 0.0
    ended_at: float = 0.0
    """When they sent no more, by the machine's monotonic clock."""
    sent: int = 0
    """Requests."""
    sent_bytes: int = 0
    """In their bodies."""
    unsent: int = 0
    """Requests that were due and found no client free."""
    answers: dict[str, int] = field(default_factory=dict)
    """By HTTP status or gRPC code; also `broken` connections, and `given up` after ten seconds."""
    without_hint: int = 0
    """Refusals that do not say when to come back."""
    acknowledged: list[int] = field(default_factory=list)
    """Numbers of requests, each the number of its first span divided by `SPANS`."""
    in_time: int = 0
    """How many were acknowledged after the first seconds and before the end; what was under way then is waited for."""
    counted: float = 0.0
    """In how many seconds those were acknowledged."""
    latencies: list[float] = field(default_factory=list)
    """The 50th, 99th and 100th percentile of what was acknowledged, in seconds."""
    log: list[tuple[float, float, str, int]] = field(default_factory=list)
    """Of each request, if that was asked for: when it was sent, by the machine's monotonic clock; how many seconds its
    answer took; which that was; and its number."""

    @property
    def goodput(self) -> float:
        """Requests a second that were acknowledged."""
        return self.in_time / self.counted


async def flood(directory: Path, plan: Plan) -> Result:
    """Run a plan in a process of its own, which leaves what it met in `directory`."""
    output = directory / f"flood-{plan.first}.json"
    command = [sys.executable, "-m", "tests.support.flood", json.dumps(asdict(plan)), str(output)]
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    assert code == 0, f"the clients ended with {code}"
    return Result(**json.loads(output.read_text()))


def _nothing() -> None:
    """No client is free again."""


def request_bytes(signal: Signal, filler: int = 1) -> int:
    """How large each request is."""
    return len(_Requests(signal, filler).body(1))


def signal_of(number: int, *, every_signal: bool) -> Signal:
    """What the request of a number is for."""
    return _SIGNALS[number % len(_SIGNALS)] if every_signal else Signal.TRACES


def numbers_in(body: bytes, signal: Signal = Signal.TRACES) -> list[int]:
    """The numbers of the requests whose items are in a body, once for each that is there whole."""
    items = Counter(struct.unpack(">Q", number)[0] // SPANS for number in _ID[signal].findall(body))
    return [number for number, times in items.items() for _ in range(times // SPANS)]


def _metrics_request(first: int, points: int, filler: int) -> bytes:
    """As `spans_request`: the number is the span's id in an exemplar of each data point."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="numbered")
    for number in range(first, first + points):
        point = metric.gauge.data_points.add(as_double=1.5, attributes=[FILLER] * filler)
        point.exemplars.add(trace_id=struct.pack(">QQ", 1, number), span_id=struct.pack(">Q", number))
    return request.SerializeToString()


def _logs_request(first: int, records: int, filler: int) -> bytes:
    """As `spans_request`: the number is the span's id of each record."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for number in range(first, first + records):
        record = scope.log_records.add(attributes=[FILLER] * filler)
        record.trace_id, record.span_id = struct.pack(">QQ", 1, number), struct.pack(">Q", number)
    return request.SerializeToString()


_MAKE: dict[Signal, Callable[[int, int, int], bytes]] = {
    Signal.TRACES: spans_request,
    Signal.METRICS: _metrics_request,
    Signal.LOGS: _logs_request,
}


class _Requests:
    """Bodies that differ by the numbers of their items."""

    def __init__(self, signal: Signal, filler: int) -> None:
        first = 0x7172737475760000
        template = _MAKE[signal](first, SPANS, filler)
        self._pieces: list[bytes] = []
        for number in range(first, first + SPANS):
            name = struct.pack(">Q", number)
            before, between, template = template.split(name, 2)
            self._pieces += [before, between]
        self._last = template
        self.start = (
            b"POST %b HTTP/1.1\r\nhost: flood\r\ncontent-type: application/x-protobuf\r\n" % signal.path.encode()
        )
        fields = {**_FIELDS, b":path": signal.method.encode()}
        self.fields = b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields.items())

    def body(self, number: int) -> bytes:
        parts = []
        for at in range(SPANS):
            name = (number * SPANS + at).to_bytes(8, "big")
            parts += [self._pieces[2 * at], name, self._pieces[2 * at + 1], name]
        return b"".join([*parts, self._last])


class _Clients:
    """All clients, those that are free first, and what they met."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.result = Result()
        self.answers: Counter[str] = Counter()
        self.free: tuple[deque[Callable[[], None]], ...] = (deque(), deque())
        """Of each transport what sends one more request, once for each that could be under way."""
        self.ending = False
        self._requests = {signal: _Requests(signal, plan.filler) for signal in Signal}
        self._number = plan.first // SPANS
        self._refused = 0
        self._took: list[float] = []
        self._waiting: dict[int, float] = {}
        self._connecting: list[asyncio.Task[tuple[asyncio.BaseTransport, asyncio.Protocol]]] = []

    def next(self) -> tuple[int, "_Requests", bytes]:
        """The number of the next request, which is being sent; how such are sent; and its body."""
        self._number += 1
        requests = self._requests[signal_of(self._number, every_signal=self.plan.every_signal)]
        body = requests.body(self._number)
        self.result.sent += 1
        self.result.sent_bytes += len(body)
        self._waiting[self._number] = time.monotonic()
        return self._number, requests, body

    def answered(self, transport: int, number: int, answer: str, again: Callable[[], None], *, hint: bool) -> None:
        """A request was answered; `again` sends another in its place."""
        sent_at = self._waiting.pop(number)
        took = time.monotonic() - sent_at
        self.answers[answer] += 1
        if self.plan.log:
            self.result.log.append((sent_at, took, answer, number))
        if answer in _GOOD:
            self.result.acknowledged.append(number)
            self._took.append(took)
        else:
            self._refused += 1
            self.result.without_hint += not hint
        if answer not in _GOOD and self.plan.back_off:
            asyncio.get_running_loop().call_later(1.0, self.ready, transport, again)
        else:
            self.ready(transport, again)

    def ready(self, transport: int, send: Callable[[], None]) -> None:
        """A client is free."""
        if self.ending or self._over():
            return
        if self.plan.rates is None:
            send()
        else:
            self.free[transport].append(send)

    def _over(self) -> bool:
        return self.result.sent == self.plan.requests or self._refused >= (self.plan.refusals or math.inf)

    def connect(self, protocol: Callable[[], asyncio.Protocol], port: int) -> None:
        """Open one more connection. One that is refused ends all, with an error."""
        loop = asyncio.get_running_loop()
        self._connecting.append(loop.create_task(loop.create_connection(protocol, "127.0.0.1", port)))

    async def run(self) -> Result:
        plan, began = self.plan, time.monotonic()
        for _ in range(plan.http_clients):
            self.connect(lambda: _Http(self), plan.http_port)
        for _ in range(plan.grpc_clients):
            self.connect(lambda: _Grpc(self), plan.grpc_port)
        await asyncio.gather(*self._connecting)
        due = [0, 0]
        early, counting = 0, began
        while (now := time.monotonic()) - began < plan.seconds and not self._over():
            for transport, rate in enumerate(plan.rates or ()):
                free = self.free[transport]
                missing = int((now - began) * rate) - due[transport]
                due[transport] += missing
                for _ in range(min(missing, len(free))):
                    free.popleft()()
                    missing -= 1
                self.result.unsent += missing
            if now - began < plan.warm_up or (plan.refused_first and not self._refused):
                early, counting = len(self.result.acknowledged), now
            await asyncio.sleep(_TICK_SECONDS)
        self.ending = True
        await asyncio.gather(*self._connecting)
        self.result.ended_at = time.monotonic()
        self.result.seconds = self.result.ended_at - began
        self.result.in_time = len(self.result.acknowledged) - early
        self.result.counted = self.result.ended_at - counting
        while self._waiting and time.monotonic() - now < _GIVE_UP_SECONDS:  # noqa: ASYNC110 - until or for so long
            await asyncio.sleep(_TICK_SECONDS)
        for number in list(self._waiting):
            self.answered(HTTP, number, "given up", _nothing, hint=True)
        self.result.answers = dict(self.answers)
        took = sorted(self._took) or [0.0]
        self.result.latencies = [took[int(share * (len(took) - 1))] for share in (0.5, 0.99, 1)]
        return self.result


class _Http(asyncio.Protocol):
    """One connection, and one request at a time."""

    def __init__(self, clients: _Clients) -> None:
        self._clients = clients
        self._unread = b""
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._clients.ready(HTTP, self._send)

    def _send(self) -> None:
        self._number, requests, body = self._clients.next()
        self._transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (requests.start, len(body), body))

    def data_received(self, data: bytes) -> None:
        self._unread += data
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._unread[: end + 4]
        length = _LENGTH.search(head)
        assert length is not None, head
        if len(self._unread) < end + 4 + int(length[1]):
            return
        self._unread = b""
        number, self._number = self._number, 0
        status = _HTTP_STATUS.match(head)
        assert status is not None, head
        if b"\r\nconnection: close" in head.lower():
            self._transport.close()
            answered = self._reconnect
        else:
            answered = self._send
        self._clients.answered(HTTP, number, status[1].decode(), answered, hint=_RETRY_AFTER.search(head) is not None)

    def _reconnect(self) -> None:
        self._clients.connect(lambda: _Http(self._clients), self._clients.plan.http_port)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._number and not self._clients.ending:
            self._clients.answered(HTTP, self._number, "broken", self._reconnect, hint=True)


class _Grpc(asyncio.Protocol):
    """One connection, and some requests at once."""

    def __init__(self, clients: _Clients) -> None:
        self._clients = clients
        self._unread = b""
        self._stream = 1
        self._waiting: dict[int, int] = {}
        self._credit = 65_535
        self._unsent: deque[tuple[int, bytes, bytes]] = deque()
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        # No table of header fields, so that each answer spells out its own; windows that are never full.
        settings = struct.pack(">HIHI", 1, 0, 4, 1 << 30)
        widen = Frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
        self._transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(SETTINGS, 0, 0, settings).to_bytes() + widen.to_bytes()
        )
        for _ in range(self._clients.plan.streams):
            self._clients.ready(GRPC, self._send)

    def _send(self) -> None:
        if self._leaving:
            return  # the connection that takes its place has as many streams
        number, requests, body = self._clients.next()
        stream, self._stream = self._stream, self._stream + 2
        self._waiting[stream] = number
        self._unsent.append((stream, requests.fields, message(body)))
        self._write()

    def _write(self) -> None:
        """Send what the connection's window has room for; no message is larger than a stream's window."""
        while self._unsent and len(self._unsent[0][2]) <= self._credit:
            stream, fields, data = self._unsent.popleft()
            self._credit -= len(data)
            frames = [Frame(HEADERS, 4, stream, fields)]
            for at in range(0, len(data), _FRAME_BYTES):
                ends = END_STREAM if at + _FRAME_BYTES >= len(data) else 0
                frames.append(Frame(DATA, ends, stream, data[at : at + _FRAME_BYTES]))
            self._transport.write(b"".join(frame.to_bytes() for frame in frames))

    def data_received(self, data: bytes) -> None:
        unread = self._unread + data
        at = 0
        while len(unread) - at >= 9:
            length = int.from_bytes(unread[at : at + 3], "big")
            if len(unread) - at < 9 + length:
                break
            kind, flags = unread[at + 3], unread[at + 4]
            self._take(kind, flags, int.from_bytes(unread[at + 5 : at + 9], "big"), unread[at + 9 : at + 9 + length])
            at += 9 + length
        self._unread = unread[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._transport.write(Frame(SETTINGS, ACK, 0).to_bytes())
        elif kind == PING and not flags & ACK:
            self._transport.write(Frame(PING, ACK, 0, payload).to_bytes())
        elif kind == WINDOW_UPDATE and not stream:
            self._credit += int.from_bytes(payload, "big")
            self._write()
        elif kind == HEADERS and flags & END_STREAM:
            status = _GRPC_STATUS.search(payload)
            assert status is not None, payload
            code = int(status[1])
            hint = b"google.rpc.retryinfo-bin" in payload and b"grpc-status-details-bin" in payload
            name = _GRPC_CODES.get(code, f"gRPC {code}")
            self._clients.answered(GRPC, self._waiting.pop(stream), name, self._send, hint=hint)
        elif kind == RST_STREAM and stream in self._waiting:
            answer = f"stream reset {int.from_bytes(payload, 'big')}"
            self._clients.answered(GRPC, self._waiting.pop(stream), answer, self._send, hint=False)
        elif kind == GOAWAY and not self._leaving:
            self._leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._clients.ending:
            return
        if not self._leaving:
            self._leave()
        for number in self._waiting.values():
            self._clients.answered(GRPC, number, "broken", self._send, hint=True)
        self._waiting.clear()

    def _leave(self) -> None:
        """Send nothing more on this connection, and make another."""
        self._leaving = True
        self._clients.connect(lambda: _Grpc(self._clients), self._clients.plan.grpc_port)


def _main(plan: str, output: str) -> None:
    read = Plan(**json.loads(plan))
    if read.cpus:
        os.sched_setaffinity(0, read.cpus)

    async def run() -> Result:
        return await _Clients(read).run()

    Path(output).write_text(json.dumps(asdict(uvloop.run(run()))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
