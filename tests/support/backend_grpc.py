"""The gRPC side of a scripted destination."""

from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import NoReturn, Self

import grpc
from grpc import aio

from app.core.request import Signal
from tests.support.certificates import Certificates
from tests.support.exchange import Answer, Grpc, Partial, Raw, Received, Success, Unheard

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
    ) -> None:
        self.port = port
        """Which port, once it serves; the same one again when it serves again."""
        self._ask = ask
        self._certificates = certificates
        self._mutual = mutual

    async def __aenter__(self) -> Self:
        self._server = aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([self])
        address = f"127.0.0.1:{self.port}"
        if self._certificates is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self._credentials(self._certificates))
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(grace=None)

    def _credentials(self, certificates: Certificates) -> grpc.ServerCredentials:
        pair = certificates.server_key_file.read_bytes(), certificates.server_cert_file.read_bytes()
        authorities = certificates.ca_file.read_bytes() if self._mutual else None
        return grpc.ssl_server_credentials([pair], authorities, require_client_auth=self._mutual)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        signal = _SIGNALS.get(handler_call_details.method)
        return None if signal is None else grpc.unary_unary_rpc_method_handler(partial(self._export, signal))

    async def _export(self, signal: Signal, body: bytes, context: _Context) -> bytes:
        headers = {name: str(value) for name, value in context.invocation_metadata() or ()}
        match await self._ask(Received(signal, "grpc", body, body, headers, context.peer())):
            case Success():
                return b""
            case Partial() as partly:
                return partly.to_protobuf(signal)
            case Raw(data):
                return data
            case Unheard():
                return await _refuse(context, Grpc(grpc.StatusCode.UNAVAILABLE, "the answer was lost"))
            case Grpc() as refusal:
                return await _refuse(context, refusal)
            case answer:
                raise TypeError(f"{answer} is no answer over gRPC")


async def _refuse(context: _Context, refusal: Grpc) -> NoReturn:
    await context.abort(refusal.code, refusal.details, refusal.trailers())
