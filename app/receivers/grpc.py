"""The OTLP/gRPC receiver: grpc.aio with handlers that get and give bytes, health checking and reflection.

gRPC holds a whole message before a handler runs, so memory is bounded by connections, streams and the size of a
message, and where a cgroup limits it, by what the headroom promises (`grpc_gate.py`). What is over the size is refused
by gRPC itself: RESOURCE_EXHAUSTED without RetryInfo, as OTLP wants it.
There is no bound on concurrent calls (`maximum_concurrent_rpcs`), because its refusal has no RetryInfo either.

A server that says GOAWAY stops listening too. So while the service drains a stand-in listens on the same port, which
refuses what comes as retryable: some SDKs never retry a refused connection.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, Self

import grpc
import grpc.aio

from app.core.consumer import Consumer
from app.core.errors import InvalidData, OtlpError
from app.core.instance import Instance
from app.core.log import Log
from app.core.request import Signal
from app.memory import Headroom, Promise
from app.receivers.answers import answer_to
from app.receivers.auth import Doorkeeper
from app.receivers.grpc_calls import Caller, Calls
from app.receivers.grpc_gate import NOTHING_CAME, Gate, GateForOthers
from app.receivers.grpc_health import GrpcHealth
from app.receivers.grpc_metadata import METADATA_BYTES, MetadataBound
from app.receivers.grpc_reply import reply
from app.receivers.handler import Handler
from app.receivers.http_server import bind
from app.receivers.meter import Meter
from app.receivers.probes import Probes
from app.receivers.turns import Turnstile
from app.settings import ServerSettings
from app.telemetry.metrics import Metrics
from app.telemetry.spans import Tracer

__all__ = ["KEY", "GrpcReceiver", "listen", "server_options"]

_log = Log(__name__)
KEY: Final = "server.grpc_port"
_FLUSH_SECONDS = 0.25
_PING_SECONDS = 5.0  # clients ping every ten seconds at most; half of that forgives a late one
_PENDING = 2000  # calls that wait for their turn where memory is limited: 32 MiB of metadata
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
        turnstile: Turnstile | None = None,
    ) -> None:
        self._settings = settings
        self._headroom = headroom
        self._gate = None if headroom is None else Gate(headroom, settings.max_request_size, settings.body_timeout)
        self._turnstile = turnstile or Turnstile()
        self._probes = health
        self._tls = tls
        meter = Meter(metrics, "grpc")
        self._calls = Calls(Handler(consumer, meter, instance=instance, tracer=tracer, doorkeeper=doorkeeper), meter)
        self._server: grpc.aio.Server | None = None
        self._stand_in: grpc.aio.Server | None = None
        self.tasks: list[asyncio.Task[None]] = []
        """What runs for as long as the receiver does: nothing that could end."""
        self.port = settings.grpc_port
        """The port that is bound, once it is."""

    async def __aenter__(self) -> Self:
        if self._server is None:
            self._calls.closing = False
            self._health = GrpcHealth(self._probes)
            # First by ourselves, because gRPC does not say what is wrong, and would share a port with another process.
            bind(self._settings.host, self._settings.grpc_port, KEY).close()
            self._server = await self._serve(self._settings.grpc_port)
        return self

    async def __aexit__(self, *_: object) -> None:
        servers = [server for server in (self._server, self._stand_in) if server is not None]
        if servers:
            self.begin_closing()
            self._server = self._stand_in = None
            # What came in the last moment is answered, if only by "later".
            await asyncio.gather(*(server.stop(_FLUSH_SECONDS) for server in servers))

    def begin_closing(self) -> None:
        """Refuse new requests as retryable."""
        self._calls.closing = True
        if self._server is not None:
            self._health.close()

    async def finish(self, grace: float) -> None:
        """Send clients away (GOAWAY), and wait until what is in flight is answered, at most `grace` seconds."""
        if self._server is None:
            return
        self.begin_closing()
        if self._stand_in is None:
            try:
                self._stand_in = await self._serve(self.port)
            except OSError as error:  # there may be no descriptor left; what is here goes on all the same
                _log.warning(
                    "grpc_not_told", "who connects from now on is not told to come back: %(reason)s", reason=str(error)
                )
        stop = asyncio.create_task(self._server.stop(grace), name="stop of OTLP/gRPC")
        await self._calls.idle(grace)
        # Answers may still be on their way out. Calls that nobody waits for, such as reflection, do not hold us up.
        await self._server.stop(_FLUSH_SECONDS)
        await stop

    async def _serve(self, port: int) -> grpc.aio.Server:
        interceptors = [] if self._gate is None else [GateForOthers(self._gate)]
        options = server_options(self._settings, gated=self._gate is not None)
        server = grpc.aio.server(interceptors=interceptors, options=options)
        export = self._export if self._gate is None else partial(self._export_gated, self._gate)
        exports = _Exports(export, self._turn_away, self._calls)
        bound = MetadataBound(self._refuse, self._headroom)
        server.add_generic_rpc_handlers((bound, exports))
        self._health.serve(server)
        self.port = listen(server, self._settings.host, port, None if self._tls is None else self._tls.credentials())
        await server.start()
        return server

    def _export(self, signal: Signal, caller: Caller | None = None) -> "Method":
        async def export(body: bytes, context: Context) -> bytes:
            self._turnstile.called()
            answer = await self._calls.answer(signal, body, caller)
            del body  # what `abort` raises goes round in a circle that this frame is in, until it is collected
            return await reply(answer, context)

        return grpc.unary_unary_rpc_method_handler(export)

    def _export_gated(self, gate: Gate, signal: Signal, caller: Caller | None = None) -> "Method":
        """Make a handler that reads the message when there is room for it."""

        async def export(_: AsyncIterator[bytes], context: Context) -> bytes:
            self._turnstile.called()
            promise = Promise(gate.headroom)
            try:
                try:
                    self._calls.check_open()
                    body = await gate.read(context, promise)
                    if body is None:
                        raise InvalidData(NOTHING_CAME)
                except OtlpError as error:
                    promise.let_go(used=False)
                    return await self._refuse_call(signal, error, context)
                answer = await self._calls.answer(signal, body, caller)
                del body  # as above
            finally:
                promise.let_go()
            return await reply(answer, context)

        return grpc.stream_unary_rpc_method_handler(export)

    def _turn_away(self, signal: Signal, refusal: OtlpError) -> "Method":
        """Make a handler that does not read the message, so that who may not call is promised no memory for it."""

        async def turn_away(_: AsyncIterator[bytes], context: Context) -> bytes:
            return await self._refuse_call(signal, refusal, context)

        return grpc.stream_unary_rpc_method_handler(turn_away)

    async def _refuse_call(self, signal: Signal, refusal: OtlpError, context: Context) -> bytes:
        """Tell of a refusal, which counts if it is heard: gRPC may have refused the call by itself."""
        answer = self._calls.refuse(signal, refusal)
        try:
            return await reply(answer, context)
        except grpc.aio.AbortError:
            self._calls.refused(signal, answer)
            raise

    def _refuse(self, method: str, refusal: OtlpError) -> "Method":
        """Make what refuses a call of any method; only those of OTLP are counted."""
        signal = next((signal for signal in Signal if signal.method == method), None)
        if signal is not None:
            return self._turn_away(signal, refusal)

        async def refuse(_: AsyncIterator[bytes], context: Context) -> bytes:
            return await reply(answer_to(refusal), context)

        return grpc.stream_unary_rpc_method_handler(refuse)


class _Exports(grpc.GenericRpcHandler):
    """The methods of all signals. `export` makes a handler; most calls need none of their own.

    For who may not call, `refuse` makes it.

    A call's metadata is looked at here, where gRPC has it at hand; to ask for it later costs three times as much.
    """

    def __init__(
        self,
        export: Callable[..., "Method"],
        refuse: Callable[..., "Method"],
        calls: Calls,
    ) -> None:
        self._export = export
        self._refuse = refuse
        self._calls = calls
        self._plain = {signal.method: (signal, export(signal)) for signal in Signal}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Method | None":
        found = self._plain.get(handler_call_details.method)
        if found is None:
            return None
        signal, handler = found
        caller = self._calls.caller(handler_call_details.invocation_metadata)
        if caller is None:
            return handler
        return self._export(signal, caller) if caller.refusal is None else self._refuse(signal, caller.refusal)


def server_options(settings: ServerSettings, *, gated: bool = False) -> list[tuple[str, int]]:
    """The bounds in gRPC's words; where its reading is `gated`, windows do not grow by themselves."""

    def milliseconds(seconds: float) -> int:
        return min(max(1, round(seconds * 1000)), _LARGEST)

    # Above it gRPC ends calls that wait for their turn as CANCELLED, without RetryInfo; each holds its metadata.
    pending = _PENDING if gated else min(settings.max_connections * settings.max_concurrent_streams, _LARGEST)
    return [
        ("grpc.so_reuseport", 1),  # for the stand-in
        ("grpc.max_receive_message_length", min(settings.max_request_size, _LARGEST)),
        ("grpc.max_allowed_incoming_connections", min(settings.max_connections, _LARGEST)),
        ("grpc.max_concurrent_streams", min(settings.max_concurrent_streams, _LARGEST)),
        ("grpc.server.max_pending_requests", pending),
        ("grpc.server.max_pending_requests_hard_limit", pending),
        ("grpc.max_connection_age_ms", milliseconds(settings.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", milliseconds(settings.body_timeout)),
        ("grpc.server_handshake_timeout_ms", milliseconds(settings.header_timeout)),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
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
        raise OSError(f"{KEY}: cannot listen on {address}: {error}") from error
