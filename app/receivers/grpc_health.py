"""What gRPC's tools ask for: reflection, and the standard health service, which says what the readiness probe says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import (  # type: ignore[import-untyped]  # it has a stub, but no py.typed
    DESCRIPTOR,
    HealthCheckRequest,
    HealthCheckResponse,
)
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]  # it has no types

from app.core.request import Signal
from app.receivers.probes import Probes

__all__ = ["GrpcHealth"]

_LOOK_SECONDS: Final = 1.0

Context = grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]


class GrpcHealth:
    """Answers for the server as a whole ("") and for the service of each signal: all of them are ready, or none."""

    _name: Final[str] = DESCRIPTOR.services_by_name["Health"].full_name
    _services: Final = frozenset({"", *(signal.service for signal in Signal)})

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Tell those who watch that this is over, and end their calls: a server waits for calls when it stops."""
        self._closing.set()

    def serve(self, server: grpc.aio.Server) -> None:
        """Let `server` answer for health and, in reflection, say which services there are."""
        server.add_generic_rpc_handlers((self._handlers(),))
        services = [*(signal.service for signal in Signal), self._name, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(services, server)

    def _handlers(self) -> grpc.GenericRpcHandler:
        wire = {
            "request_deserializer": HealthCheckRequest.FromString,
            "response_serializer": HealthCheckResponse.SerializeToString,
        }
        return grpc.method_handlers_generic_handler(
            self._name,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, **wire),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **wire),
            },
        )

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus:
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        ready, _ = self._probes.ready()
        return HealthCheckResponse.SERVING if ready and not self._closing.is_set() else HealthCheckResponse.NOT_SERVING

    async def _check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        status = self._status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} is served here")
        return HealthCheckResponse(status=status)

    async def _watch(self, request: HealthCheckRequest, _context: Context) -> AsyncIterator[HealthCheckResponse]:
        last = None
        while True:
            closing = self._closing.is_set()
            status = self._status(request.service)
            if status != last:
                last = status
                yield HealthCheckResponse(status=status)
            if closing:
                return
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._closing.wait()
            except TimeoutError:
                continue
