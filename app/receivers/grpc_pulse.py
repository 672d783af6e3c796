"""Calls from here to here, which come back for as long as gRPC's threads go on."""

import secrets
from contextlib import suppress
from typing import Final, Self

import grpc
import grpc.aio

__all__ = ["GrpcPulse", "OwnServer"]

_METHOD: Final = "/pulse.Pulse/Beat"
"""Any will do for `OwnServer`."""


class GrpcPulse:
    """A channel to `target`, from entering to leaving."""

    def __init__(self, target: str, method: str = _METHOD) -> None:
        self._target = target
        self._method = method

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._target)
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(self._method)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def beat(self) -> None:
        """Return when the call has ended, however it has: all but silence is a sign of life."""
        with suppress(grpc.aio.AioRpcError):
            await self._call(b"")


class OwnServer:
    """What answers a pulse where calls to the receiver's own server may have to wait for their turn.

    It listens on a socket that is in no directory.
    """

    def __init__(self) -> None:
        self.target = f"unix-abstract:otlp-service-{secrets.token_hex(8)}"

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((_Beats(),))
        self._server.add_insecure_port(self.target)
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)


class _Beats(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(_beat)


async def _beat(_: bytes, _context: object) -> bytes:
    return b""
