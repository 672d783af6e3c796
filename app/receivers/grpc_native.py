"""The OTLP/gRPC receiver on pygrpc-native: HTTP/2 outside the interpreter's lock, calls handed over in batches.

A call costs a quarter (one span) to a half (512 spans) of what it does under grpcio. For that its clients have to be
trusted: the library bounds neither what a message inflates to, nor connections, nor their age, and it has no TLS
(docs/security.md has the list).
Calls that come together are answered in one turn of the event loop, and so the queue keeps them in one commit.

Health checking and reflection are grpcio's, on a socket behind the same port.
"""

import asyncio
import random
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import grpc
import grpc.aio
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from app.core.consumer import Consumer
from app.core.errors import OtlpError, Retryable, TooLarge
from app.core.instance import Instance
from app.core.request import Signal
from app.memory import COPIES, Headroom, Promise
from app.receivers.answers import Answer, answer_to, grpc_trailers, response_protobuf
from app.receivers.auth import Doorkeeper
from app.receivers.grpc import KEY
from app.receivers.grpc_calls import Calls
from app.receivers.grpc_health import GrpcHealth
from app.receivers.grpc_metadata import METADATA_BYTES, size_of, too_much
from app.receivers.handler import Handler
from app.receivers.http_server import bind
from app.receivers.meter import Meter
from app.receivers.probes import Probes
from app.receivers.turns import Turnstile
from app.settings import ServerSettings
from app.telemetry.metrics import Metrics
from app.telemetry.spans import Tracer

if TYPE_CHECKING:
    from app.receivers.tls import ServerTls

__all__ = ["NativeGrpcReceiver"]

_BATCH: Final = 64
"""Calls that are handed over at once, at most."""

_IO_THREADS: Final = 1
_LONGEST_METADATA: Final = (
    4 * METADATA_BYTES
)  # its refusal is an HTTP status, and ours says what to do: ours comes first
_FLUSH_SECONDS: Final = 0.25

Metadata = tuple[tuple[str, str | bytes], ...]
Event = tuple[int, int, int, bytes | None, object, tuple[Metadata, str, float | None] | None]


class NativeGrpcReceiver:
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
        turnstile: Turnstile | None = None,  # noqa: ARG002 - it takes all calls that have come in a turn
    ) -> None:
        if tls is not None:
            raise ValueError("server.grpc_engine: 'native' has no TLS; write grpcio")
        self._settings = settings
        self._headroom = headroom
        self._probes = health
        meter = Meter(metrics, "grpc")
        self._calls = Calls(Handler(consumer, meter, instance=instance, tracer=tracer, doorkeeper=doorkeeper), meter)
        self._health = GrpcHealth(health)
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self.tasks: list[asyncio.Task[None]] = []
        """What runs for as long as the receiver does."""
        self._lifetime: AsyncExitStack | None = None
        self.port = settings.grpc_port
        """The port that is bound, once it is."""

    async def __aenter__(self) -> Self:
        if self._lifetime is None:
            self._calls.closing = False
            self._health = GrpcHealth(self._probes)  # one that is closed stays so
            async with AsyncExitStack() as stack:
                await self._serve(stack)
                self._lifetime = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._lifetime is not None:
            lifetime, self._lifetime = self._lifetime, None
            await lifetime.aclose()

    def begin_closing(self) -> None:
        """Refuse new requests as retryable."""
        self._calls.closing = True
        self._health.close()

    async def finish(self, grace: float) -> None:
        """Wait until what is in flight is answered, at most `grace` seconds; what comes later is refused.

        Clients stay: the library has no GOAWAY but that of its end, which loses answers that are on their way.
        """
        self.begin_closing()
        await self._calls.idle(grace)
        for call in self._under_way.values():
            call.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _serve(self, stack: AsyncExitStack) -> None:
        host, port = self._settings.host, self._settings.grpc_port
        bind(host, port, KEY).close()  # first by ourselves, because the library does not say what is wrong
        front = NativeGrpcFront(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            [(signal.method, False) for signal in Signal],
            io_threads=_IO_THREADS,
            call_details=True,
            max_concurrent_streams=self._settings.max_concurrent_streams,
            max_metadata_size=_LONGEST_METADATA,
        )
        stack.push_async_callback(asyncio.to_thread, front.close)
        front.set_fallback(await self._serve_health(stack))
        loop = asyncio.get_running_loop()
        stack.push_async_callback(self._end, front)
        front.start()
        receiving = asyncio.to_thread(self._receive, front, loop)
        self.tasks = [asyncio.create_task(receiving, name="calls of OTLP/gRPC")]
        self.port = front.bound_port

    async def _serve_health(self, stack: AsyncExitStack) -> str:
        """Serve what is not OTLP on a socket, and return its path."""
        path = f"{stack.enter_context(tempfile.TemporaryDirectory(prefix='otlp-service-grpc-'))}/health"
        server = grpc.aio.server()
        self._health.serve(server)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        stack.push_async_callback(server.stop, None)
        return path

    async def _end(self, front: NativeGrpcFront) -> None:
        await self.finish(_FLUSH_SECONDS)
        await asyncio.sleep(_FLUSH_SECONDS)  # answers may still be on their way out
        await asyncio.to_thread(front.close)
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _receive(self, front: NativeGrpcFront, loop: asyncio.AbstractEventLoop) -> None:
        """Hand calls over to the event loop; runs in a thread, until the front is closed."""
        while (events := front.recv_batch_details(_BATCH)) is not None:
            loop.call_soon_threadsafe(self._begin, front, events)

    def _begin(self, front: NativeGrpcFront, events: Iterable[Event]) -> None:
        for kind, number, method, body, _, details in events:
            if kind == EVENT_CALL and body is not None and details is not None:
                call = asyncio.create_task(self._run(front, number, _SIGNALS[method], body, details[0]))
                self._under_way[number] = call
                call.add_done_callback(partial(self._ended, number))
            elif number in self._under_way:
                self._under_way[number].cancel()  # whoever called has gone

    def _ended(self, number: int, _: asyncio.Task[None]) -> None:
        del self._under_way[number]

    async def _run(self, front: NativeGrpcFront, number: int, signal: Signal, body: bytes, metadata: Metadata) -> None:
        try:
            answer = await self._answer(signal, body, metadata)
        except asyncio.CancelledError:
            answer = _CUT_OFF  # or nobody is there to hear it
        if answer.code is grpc.StatusCode.OK:
            front.respond(number, response_protobuf(answer))
        else:
            front.fail(number, answer.code.value[0], answer.message, grpc_trailers(answer, random.random()))  # noqa: S311 - jitter

    async def _answer(self, signal: Signal, body: bytes, metadata: Metadata) -> Answer:
        refusal: OtlpError | None = too_much(size_of(metadata))
        caller = None
        if refusal is None:
            caller = self._calls.caller(metadata)
            refusal = None if caller is None else caller.refusal
        largest = self._settings.max_request_size
        if refusal is None and len(body) > largest:
            refusal = TooLarge(f"the message has {len(body)} bytes, above {largest} (server.max_request_size)")
        if refusal is not None:
            return self._refuse(signal, refusal)
        if self._headroom is None:
            return await self._calls.answer(signal, body, caller)
        promise = Promise(self._headroom)
        try:
            await promise.in_turn(COPIES * len(body))
            return await self._calls.answer(signal, body, caller)
        except Retryable as error:
            return self._refuse(signal, error)
        finally:
            promise.let_go()

    def _refuse(self, signal: Signal, error: OtlpError) -> Answer:
        answer = self._calls.refuse(signal, error)
        self._calls.refused(signal, answer)
        return answer


_SIGNALS: Final = tuple(Signal)  # in the order of the methods
_CUT_OFF: Final = answer_to(Retryable("the service has ended", reason="closing"))
