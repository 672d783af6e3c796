"""A gRPC server whose answers have no end, in a process of its own, so that what it holds is not taken for ours.

python tests/support/endless.py     # prints its port
"""

import asyncio

import grpc
import grpc.aio

__all__: list[str] = []

_PIECE = bytes(1 << 20)


class _Endless(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_stream_rpc_method_handler(_talk)


async def _talk(_: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
    while True:
        await context.write(_PIECE)


async def _main() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([_Endless()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)  # noqa: T201 - whoever started this waits for the line
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_main())
