"""The gRPC side of a scripted destination."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import NoReturn, Self

import grpc
from grpc import aio

from app.core.request import Signal
from tests.support.call_breaker import STREAM, CallBreaker
from tests.support.certificates import Certificates
from tests.support.exchange import (
    Answer,
    Close,
    Grpc,
    Partial,
    Raw,
    Received,
    Reset,
    ResetStream,
    Success,
    Unheard,
)

__all__ = ["GrpcSide"]

_SIGNALS = {signal.method: signal for signal in Signal}
_Context = aio.ServicerContext[bytes, bytes]


class GrpcSide(grpc.GenericRpcHandler):
    """Serves from entering to leaving; a call that is under way then is cancelled."""

    def __init__(
        self,
        ask: Callable[[Received], Awaitable[Answer]],
        port: int,
        certificates: Certificates | None,
        *,
        mutual: bool,
        breaks_calls: bool = False,
    ) -> None:
        if breaks_calls and certificates is not None:
            raise ValueError("breaks_calls: the relay cannot read frames under TLS; leave out the certificates")
        self._breaker = CallBreaker(port) if breaks_calls else None
        self.port = port
        """Which port, once it serves; the same one again when it serves again."""
        self._ask = ask
        self._certificates = certificates
        self._mutual = mutual

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start()
            stack.push_async_callback(self._server.stop, grace=None)
            if self._breaker is not None:
                self._breaker.lead_to(self.port)
                await stack.enter_async_context(self._breaker)
                self.port = self._breaker.port
            self._serving = stack.pop_all()
        return self

    async def _start(self) -> None:
        self._server = aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([self])
        address = f"127.0.0.1:{self.port if self._breaker is None else 0}"
        if self._certificates is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self._credentials(self._certificates))
        await self._server.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._serving.aclose()

    def _credentials(self, certificates: Certificates) -> grpc.ServerCredentials:
        pair = certificates.server_key_file.read_bytes(), certificates.server_cert_file.read_bytes()
        authorities = certificates.ca_file.read_bytes() if self._mutual else None
        return grpc.ssl_server_credentials([pair], authorities, require_client_auth=self._mutual)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        signal = _SIGNALS.get(handler_call_details.method)
        return None if signal is None else grpc.unary_unary_rpc_method_handler(partial(self._export, signal))

    async def _export(self, signal: Signal, body: bytes, context: _Context) -> bytes:
        headers = {name: str(value) for name, value in context.invocation_metadata() or ()}
        stream, peer = int(headers.pop(STREAM, 0)), context.peer()
        client = peer if self._breaker is None else self._breaker.client(peer)
        match await self._ask(Received(signal, "grpc", body, body, headers, client)):
            case Success():
                return b""
            case Partial() as partly:
                return partly.to_protobuf(signal)
            case Raw(data):
                return data
            case Reset() | Close() | ResetStream() | Unheard() as answer if self._breaker is not None:
                return await _break(self._breaker, answer, peer, stream)
            case Unheard():
                return await _refuse(context, Grpc(grpc.StatusCode.UNAVAILABLE, "the answer was lost"))
            case Grpc() as refusal:
                return await _refuse(context, refusal)
            case answer:
                raise TypeError(f"{answer} is no answer over gRPC")


async def _break(
    breaker: CallBreaker, answer: Reset | Close | ResetStream | Unheard, peer: str, stream: int
) -> NoReturn:
    match answer:
        case Reset():
            breaker.reset(peer)
        case Close():
            breaker.close(peer)
        case ResetStream(code):
            breaker.reset_stream(peer, stream, code)
        case Unheard():
            breaker.reset_stream(peer, stream, ResetStream().code)
    await asyncio.get_running_loop().create_future()  # until gRPC cancels the handler, for the call has ended
    raise AssertionError("a call that was broken did not end")


async def _refuse(context: _Context, refusal: Grpc) -> NoReturn:
    await context.abort(refusal.code, refusal.details, refusal.trailers())
