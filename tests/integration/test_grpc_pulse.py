"""A call through gRPC's threads comes back; that it does not when they have ended is in tests/process/test_chaos.py."""

import grpc
import grpc.aio
import pytest

from app.receivers.grpc_pulse import GrpcPulse


async def test_a_call_comes_back_and_another() -> None:
    async with GrpcPulse() as pulse:
        await pulse.beat()
        await pulse.beat()


async def test_a_call_that_fails_is_a_sign_of_life_too() -> None:
    async with GrpcPulse() as pulse:
        await pulse.beat()
        await pulse._server.stop(None)
        await pulse.beat()


async def test_nobody_else_can_call() -> None:
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with GrpcPulse() as pulse, grpc.aio.insecure_channel(pulse.target, own) as channel:
        await pulse.beat()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/pulse.Pulse/Beat")(b"")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await pulse.beat()
