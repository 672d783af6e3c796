"""The OTLP/gRPC receiver: grpc.aio with handlers that get and give bytes, health checking and reflection.

gRPC holds a whole message before a handler runs, so memory is bounded by connections, streams and the size of a
message, and where a cgroup limits it, by what the headroom promises (`grpc_gate.py`). What is over the size is refused
by gRPC itself: RESOURCE_EXHAUSTED without RetryInfo, as OTLP wants it.
There is no bound on concurrent calls (`maximum_concurrent_rpcs`), because its refusal has no RetryInfo either.

A server that says GOAWAY stops listening too. So while the service drains a stand-in listens on the same port, which
refuses what comes as retryable: some SDKs never retry a refused connection.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]  # it has no types

from app.core.consumer import Consumer
from app.core.errors import OtlpError, Retryable
from app.core.instance import HEADER, Instance
from app.core.request import Signal
from app.memory import Headroom
from app.receivers.answers import Answer, grpc_trailers, response_protobuf
from app.receivers.auth import Doorkeeper, Holder
from app.receivers.grpc_gate import Gate
from app.receivers.grpc_health import GrpcHealth
from app.receivers.handler import Handler
from app.receivers.http_server import bind
from app.receivers.meter import Meter
from app.receivers.probes import Probes
from app.settings import ServerSettings
from app.telemetry.metrics import Metrics
from app.telemetry.spans import Tracer

__all__ = ["GrpcReceiver", "listen", "server_options"]

_KEY: Final = "server.grpc_port"
_FLUSH_SECONDS = 0.25
_PING_SECONDS = 5.0  # clients ping every ten seconds at most; half of that forgives a late one
_METADATA_BYTES = 1 << 16
_LARGEST = (1 << 31) - 1

Context = grpc.aio.ServicerContext[bytes, bytes]
if TYPE_CHECKING:
    from app.receivers.tls import ServerTls

    Method = grpc.RpcMethodHandler[bytes, bytes]  # generic to the type checker alone


class GrpcReceiver:
    """Receives OTLP/gRPC while it is entered; `consumer` gets what it receives."""

    def __init__(
        self,
        settings: ServerSettings,
        consumer: Consumer,
        metrics: Metrics,
        health: Probes,
        *,
        instance: Instance | None = None,
        tracer: Tracer | None = None,
        doorkeeper: Doorkeeper | None = None,
        tls: "ServerTls | None" = None,
        headroom: Headroom | None = None,
    ) -> None:
        self._settings = settings
        self._gate = None if headroom is None else Gate(headroom, settings.max_request_size)
        self._probes = health
        self._tls = tls
        self._meter = Meter(metrics, "grpc")
        self._handler = Handler(consumer, self._meter, instance=instance, tracer=tracer, doorkeeper=doorkeeper)
        self._server: grpc.aio.Server | None = None
        self._stand_in: grpc.aio.Server | None = None
        self._closing = False
        self._inflight = 0
        self._idle = asyncio.Event()
        self.port = settings.grpc_port
        """The port that is bound, once it is."""

    async def __aenter__(self) -> Self:
        if self._server is None:
            self._closing = False
            self._health = GrpcHealth(self._probes, [signal.service for signal in Signal])
            # First by ourselves, because gRPC does not say what is wrong, and would share a port with another process.
            bind(self._settings.host, self._settings.grpc_port, _KEY).close()
            self._server = await self._serve(self._settings.grpc_port)
        return self

    async def __aexit__(self, *_: object) -> None:
        servers = [server for server in (self._server, self._stand_in) if server is not None]
        self._server = self._stand_in = None
        if servers:
            self._health.close()
            await asyncio.gather(*(server.stop(None) for server in servers))

    def begin_closing(self) -> None:
        """Refuse new requests as retryable."""
        self._closing = True
        if self._server is not None:
            self._health.close()

    async def finish(self, grace: float) -> None:
        """Send clients away (GOAWAY), and wait until what is in flight is answered, at most `grace` seconds."""
        if self._server is None:
            return
        self.begin_closing()
        if self._stand_in is None:
            self._stand_in = await self._serve(self.port)
        stop = asyncio.create_task(self._server.stop(grace), name="stop of OTLP/gRPC")
        try:
            async with asyncio.timeout(grace):
                while self._inflight:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass
        # Answers may still be on their way out. Calls that nobody waits for, such as reflection, do not hold us up.
        await self._server.stop(_FLUSH_SECONDS)
        await stop

    async def _serve(self, port: int) -> grpc.aio.Server:
        services = [signal.service for signal in Signal]
        server = grpc.aio.server(options=server_options(self._settings, gated=self._gate is not None))
        exports = _Exports(self._export, self._export_later, self._turn_away, self._handler, self._gate)
        server.add_generic_rpc_handlers((exports, self._health.handlers()))
        reflection.enable_server_reflection([*services, GrpcHealth.name, reflection.SERVICE_NAME], server)
        self.port = listen(server, self._settings.host, port, None if self._tls is None else self._tls.credentials())
        await server.start()
        return server

    def _export(self, signal: Signal, caller: "_Caller | None" = None) -> "Method":
        async def export(body: bytes, context: Context) -> bytes:
            answer = await self._answer(signal, body, caller)
            del body  # what `abort` raises goes round in a circle that this frame is in, until it is collected
            return await _reply(answer, context)

        return grpc.unary_unary_rpc_method_handler(export)

    def _export_later(self, gate: Gate, signal: Signal, caller: "_Caller | None") -> "Method":
        """Make a handler that reads the message when there is room for it; to read it by itself costs more."""

        async def export(_: AsyncIterator[bytes], context: Context) -> bytes:
            try:
                self._check_open()
                await gate.wait()
            except OtlpError as error:
                answer = self._handler.refuse(signal, error)
                self._meter.answered(signal, answer.code.name)
                return await _reply(answer, context)
            body = await context.read()  # an iterator would hold on to it
            answer = await self._answer(signal, body if isinstance(body, bytes) else b"", caller)
            del body  # as above
            return await _reply(answer, context)

        return grpc.stream_unary_rpc_method_handler(export)

    def _turn_away(self, signal: Signal, refusal: OtlpError) -> "Method":
        """Make a handler that does not read the message, so that who may not call is promised no memory for it."""

        async def turn_away(_: AsyncIterator[bytes], context: Context) -> bytes:
            answer = self._handler.refuse(signal, refusal)
            self._meter.answered(signal, answer.code.name)
            return await _reply(answer, context)

        return grpc.stream_unary_rpc_method_handler(turn_away)

    async def _answer(self, signal: Signal, body: bytes, caller: "_Caller | None") -> Answer:
        began = time.monotonic()
        self._inflight += 1
        code = grpc.StatusCode.CANCELLED.name
        try:
            try:
                self._check_open()
                if self._gate is not None:
                    await self._gate.arrived(len(body))
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

    def _check_open(self) -> None:
        if self._closing:
            raise Retryable("the service is shutting down", reason="closing")


@dataclass(frozen=True, slots=True)
class _Caller:
    """What a call's metadata says."""

    instances: str = ""
    traceparent: str = ""
    holder: Holder | None = None
    """Who it is, where that is asked."""
    refusal: OtlpError | None = None
    """Why it is turned away."""


_NOTHING: Final = _Caller()


class _Exports(grpc.GenericRpcHandler):
    """The methods of all signals. `export` makes a handler; most calls need none of their own.

    Where there is a `gate` that does not open, `export_later` makes it; for who may not call, `refuse` does.

    A call's metadata is looked at here, where gRPC has it at hand; to ask for it later costs three times as much.
    """

    def __init__(
        self,
        export: Callable[..., "Method"],
        export_later: Callable[..., "Method"],
        refuse: Callable[..., "Method"],
        handler: Handler,
        gate: Gate | None,
    ) -> None:
        self._export = export
        self._export_later = export_later
        self._refuse = refuse
        self._handler = handler
        self._gate = gate
        self._plain = {signal.method: (signal, export(signal)) for signal in Signal}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Method | None":
        found = self._plain.get(handler_call_details.method)
        if found is None:
            return None
        signal, handler = found
        instances = traceparent = authorization = api_key = ""
        for name, value in handler_call_details.invocation_metadata:
            if name == HEADER:
                instances += f"{value!s},"
            elif name == "traceparent":
                traceparent = str(value)
            elif name == "authorization":
                authorization = str(value)
            elif name == "x-api-key":
                api_key = str(value)
        caller = None
        if instances or traceparent or self._handler.asks_for_a_key:
            caller = self._caller(instances, traceparent, authorization, api_key)
        if caller is not None and caller.refusal is not None:
            return self._refuse(signal, caller.refusal)
        if self._gate is not None and not self._gate.opens():
            return self._export_later(self._gate, signal, caller)
        return handler if caller is None else self._export(signal, caller)

    def _caller(self, instances: str, traceparent: str, authorization: str, api_key: str) -> _Caller:
        try:
            return _Caller(instances, traceparent, self._handler.admit(authorization, api_key))
        except OtlpError as error:
            return _Caller(refusal=error)


async def _reply(answer: Answer, context: Context) -> bytes:
    if answer.code is not grpc.StatusCode.OK:
        trailers = grpc_trailers(answer, random.random())  # noqa: S311 - jitter
        await context.abort(answer.code, answer.message, trailers)
    return response_protobuf(answer)


def server_options(settings: ServerSettings, *, gated: bool = False) -> list[tuple[str, int]]:
    """The bounds in gRPC's words; where its reading is `gated`, windows do not grow by themselves."""

    def milliseconds(seconds: float) -> int:
        return min(max(1, round(seconds * 1000)), _LARGEST)

    most_calls = min(settings.max_connections * settings.max_concurrent_streams, _LARGEST)
    return [
        ("grpc.so_reuseport", 1),  # for the stand-in
        ("grpc.max_receive_message_length", min(settings.max_request_size, _LARGEST)),
        ("grpc.max_allowed_incoming_connections", min(settings.max_connections, _LARGEST)),
        ("grpc.max_concurrent_streams", min(settings.max_concurrent_streams, _LARGEST)),
        # Above 1000 calls that wait for their turn gRPC would end some as CANCELLED, without RetryInfo.
        ("grpc.server.max_pending_requests", most_calls),
        ("grpc.server.max_pending_requests_hard_limit", most_calls),
        ("grpc.max_connection_age_ms", milliseconds(settings.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", milliseconds(settings.body_timeout)),
        ("grpc.server_handshake_timeout_ms", milliseconds(settings.header_timeout)),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
        ("grpc.http2.min_ping_interval_without_data_ms", milliseconds(_PING_SECONDS)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.bdp_probe", 0 if gated else 1),
    ]


class _Listener(Protocol):
    def add_insecure_port(self, address: str) -> int: ...

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int: ...


def listen(server: _Listener, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
    """Let `server` listen. Returns its port.

    Raises:
        OSError: it cannot; names the setting that holds the port.
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"{_KEY}: cannot listen on {address}: {error}") from error
