"""The service between a client on raw sockets and a scripted destination: what went in, what came out of it."""

from collections.abc import Awaitable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has a stub, but no py.typed
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.patience import PATIENCE
from tests.support.raw_http import Answer, RawClient, post
from tests.support.service import Service

__all__ = ["JSON", "PROTOBUF", "REQUESTS", "RESPONSES", "Gateway", "details_of", "trailers_of"]

T = TypeVar("T")
PROTOBUF, JSON = "application/x-protobuf", "application/json"
REQUESTS: dict[Signal, type[Message]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
RESPONSES: dict[Signal, type[Message]] = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
}

_RETRY = {"initial_interval": "10ms", "max_interval": "50ms", "max_hint": "1s"}


class Gateway:
    """A running service that sends on each request by itself; its queue is in `directory`.

    `settings` are those of `Service`, of which those of the exporter are added to ours.
    """

    def __init__(
        self, directory: Path, settings: dict[str, dict[str, Any]] | None = None, protocol: str = "http/protobuf"
    ) -> None:
        self.backend = Backend()
        self._directory = directory
        self._settings = settings or {}
        self.protocol = protocol

    async def __aenter__(self) -> Self:
        await self.backend.start()
        grpc_too = self.protocol == "grpc"
        endpoint = self.backend.grpc_endpoint if grpc_too else self.backend.http_endpoint
        exporter = {"endpoint": endpoint, "protocol": self.protocol, "batch_size": 1, "retry": _RETRY}
        exporter |= self._settings.get("exporter", {})
        self.service = Service(self._directory, self._settings | {"exporter": exporter})
        try:
            await self.service.__aenter__()
        except BaseException:
            await self.backend.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.service.__aexit__(kind, error, trace)
        finally:
            await self.backend.stop()

    async def post(
        self, body: bytes, *headers: str, signal: Signal = Signal.TRACES, content_type: str = PROTOBUF
    ) -> Answer:
        """Send a request over a connection of its own."""
        return await self.ask(post(body, *headers, path=signal.path, content_type=content_type))

    async def ask(self, *pieces: bytes) -> Answer:
        """Send whatever it is, in pieces, over a connection of its own."""
        async with RawClient(self.service.port) as client:
            return await client.ask(*pieces)

    async def call(
        self,
        body: bytes,
        signal: Signal = Signal.TRACES,
        *,
        method: str | None = None,
        compression: grpc.Compression | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> bytes:
        """Call ``Export`` of `signal`, or `method`, over a connection of its own.

        Raises:
            AioRpcError: it was refused.
        """
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.service.grpc_target, options=options) as channel:
            export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method or signal.method)
            return await export(body, timeout=PATIENCE, compression=compression, metadata=metadata)

    async def arrives(self, sending: Awaitable[T]) -> tuple[T, bytes]:
        """What `sending` came to, and the one request that the destination took after it."""
        before = len(self.backend.taken)
        answer = await sending
        await self.backend.received(lambda backend: len(backend.taken) > before, timeout=PATIENCE)
        (received,) = self.backend.taken[before:]
        return answer, received.body

    async def accepted(self) -> int:
        """How many items of all signals were accepted so far."""
        scrape = await self.service.law()
        return sum(scrape.books(signal).accepted for signal in Signal)


def trailers_of(error: grpc.aio.AioRpcError) -> dict[str, bytes]:
    """The binary trailers of a refusal."""
    return {key: value for key, value in error.trailing_metadata() if isinstance(value, bytes)}


def details_of(error: grpc.aio.AioRpcError) -> Status:
    """The ``google.rpc.Status`` of a refusal."""
    return Status.FromString(trailers_of(error)["grpc-status-details-bin"])
