"""Clients that remember exactly what was acknowledged, by identity."""

import asyncio
import gzip
import struct
from collections.abc import Iterable
from io import BytesIO
from itertools import count
from types import TracebackType
from typing import Self

import aiohttp
import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from app.core.request import Signal
from tests.support.patience import PATIENCE

__all__ = ["FILLER", "Load", "identities", "spans_request"]

FILLER = KeyValue(key="filler", value=AnyValue(string_value="x" * 200))
"""An attribute that makes items larger."""


def spans_request(first: int, spans: int, filler: int = 1) -> bytes:
    """A request whose spans are numbered from `first`: the number is the span's id. `filler` makes them larger."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "load"
    scope = resource.scope_spans.add()
    for number in range(first, first + spans):
        scope.spans.add(
            trace_id=struct.pack(">QQ", 1, number),
            span_id=struct.pack(">Q", number),
            name="numbered",
            start_time_unix_nano=1_760_000_000_000_000_000 + number,
            end_time_unix_nano=1_760_000_000_000_001_000 + number,
            attributes=[FILLER] * filler,
        )
    return request.SerializeToString()


def identities(bodies: Iterable[bytes]) -> list[int]:
    """The numbers of the spans in serialized trace requests, as often as they are there."""
    return [
        struct.unpack(">Q", span.span_id)[0]
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


class Load:
    """`clients` of each transport, each sending its next request when the last was answered, until the end.

    A refused or broken request is not sent again: its spans stay in `unacknowledged`, and may arrive or not. After
    one a client pauses for a moment, as a real one would. `ballast` is a serialized request that is merged into each.
    Without `lasting` each request has a connection of its own.
    """

    def __init__(
        self,
        http_url: str | None,
        grpc_target: str | None,
        *,
        clients: int = 4,
        spans: int = 20,
        first: int = 1,
        ballast: bytes = b"",
        gzipped: bool = False,
        lasting: bool = True,
    ) -> None:
        self._http_url = http_url
        self._grpc_target = grpc_target
        self._clients = clients
        self._spans = spans
        self._numbers = count(first, spans)
        self._ballast = ballast
        self._gzipped = gzipped
        self._lasting = lasting
        self._enough = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._finishing = False
        self.acknowledged: set[int] = set()
        self.unacknowledged: set[int] = set()
        self.answers: dict[str, int] = {}
        """How often each HTTP status, gRPC code or broken connection was met."""
        self.without_hint: list[str] = []
        """Refusals that did not say when to come back."""

    async def until_acknowledged(self, spans: int, patience: float = 60) -> None:
        """Return when at least `spans` spans were acknowledged."""
        async with asyncio.timeout(patience), self._enough:
            await self._enough.wait_for(lambda: len(self.acknowledged) >= spans)

    async def until_answers(self, answer: str, times: int, patience: float = 60) -> None:
        """Return when `answer` was met at least `times` times."""
        async with asyncio.timeout(patience), self._enough:
            await self._enough.wait_for(lambda: self.answers.get(answer, 0) >= times)

    async def until_more_answers(self, patience: float = 60) -> None:
        """Return when there was an answer, or a broken connection, that was not there yet."""
        so_far = sum(self.answers.values())
        async with asyncio.timeout(patience), self._enough:
            await self._enough.wait_for(lambda: sum(self.answers.values()) > so_far)

    async def __aenter__(self) -> Self:
        for _ in range(self._clients):
            if self._http_url is not None:
                self._tasks.append(asyncio.create_task(self._run_http(self._http_url)))
            if self._grpc_target is not None:
                self._tasks.append(asyncio.create_task(self._run_grpc(self._grpc_target)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Send nothing more; what is under way is cut. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def finish(self) -> None:
        """Send nothing more, and return when what is under way is answered."""
        self._finishing = True
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    async def _run_http(self, url: str) -> None:
        headers = {"Content-Type": "application/x-protobuf"} | ({"Content-Encoding": "gzip"} if self._gzipped else {})
        connector = aiohttp.TCPConnector(force_close=not self._lasting)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            while not self._finishing:
                first = self._next()
                body = await self._body(first)
                try:
                    async with session.post(url + Signal.TRACES.path, data=BytesIO(body)) as answer:
                        await answer.read()
                        outcome = str(answer.status)
                        if answer.status != 200 and "Retry-After" not in answer.headers:
                            self.without_hint.append(f"{outcome} {answer.headers}")
                except (aiohttp.ClientError, OSError) as error:
                    outcome = type(error).__name__
                await self._note(first, outcome, good="200")

    async def _run_grpc(self, target: str) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        if not self._lasting:
            options.append(("grpc.use_local_subchannel_pool", 1))
        compression = grpc.Compression.Gzip if self._gzipped else None
        while not self._finishing:
            async with grpc.aio.insecure_channel(target, options=options, compression=compression) as channel:
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(Signal.TRACES.method)
                while not self._finishing:
                    first = self._next()
                    try:
                        await call(spans_request(first, self._spans) + self._ballast, timeout=PATIENCE)
                        outcome = "OK"
                    except grpc.aio.AioRpcError as error:
                        outcome = error.code().name
                        if "google.rpc.retryinfo-bin" not in dict(error.trailing_metadata() or ()):
                            self.without_hint.append(f"{outcome} {error.details()}")
                    await self._note(first, outcome, good="OK")
                    if not self._lasting:
                        break

    async def _body(self, first: int) -> bytes:
        body = spans_request(first, self._spans) + self._ballast
        return await asyncio.to_thread(gzip.compress, body, 1) if self._gzipped else body

    def _next(self) -> int:
        first = next(self._numbers)
        self.unacknowledged.update(range(first, first + self._spans))
        return first

    async def _note(self, first: int, outcome: str, *, good: str) -> None:
        ok = outcome == good
        if ok:
            numbers = range(first, first + self._spans)
            self.acknowledged.update(numbers)
            self.unacknowledged.difference_update(numbers)
        async with self._enough:
            self.answers[outcome] = self.answers.get(outcome, 0) + 1
            self._enough.notify_all()
        if not ok:
            await asyncio.sleep(0.05)
