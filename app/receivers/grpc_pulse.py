"""A call from here to here, which comes back for as long as gRPC's threads go on."""

import secrets
from contextlib import suppress
from typing import Final, Self

import grpc
import grpc.aio

__all__ = ["GrpcPulse"]

_METHOD: Final = "/pulse.Pulse/Beat"
"""Any will do."""
_OPTIONS: Final = (
    ("grpc.max_allowed_incoming_connections", 1),  # ours: others could come from within the pod
    ("grpc.max_concurrent_streams", 1),
    ("grpc.max_receive_message_length", 0),
)


class GrpcPulse:
    """A channel and its server, from entering to leaving.

    Not the receiver's, where calls wait for their turn when there are many. It listens on a socket that is in no
    directory, and has only this to say.
    """

    def __init__(self) -> None:
        self.target = f"unix-abstract:otlp-service-{secrets.token_hex(8)}"

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_Beats(),))
        self._server.add_insecure_port(self.target)
        await self._server.start()
        self._channel = grpc.aio.insecure_channel(self.target)
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(_METHOD)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
        await self._server.stop(None)

    async def beat(self) -> None:
        """Return when the call has ended, however it has: all but silence is a sign of life."""
        with suppress(grpc.aio.AioRpcError):
            await self._call(b"")


class _Beats(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(_beat)


async def _beat(_: bytes, _context: object) -> bytes:
    return b""
