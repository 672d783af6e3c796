"""A call through gRPC's threads comes back; that it does not when they have ended is in tests/process/test_chaos.py."""

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
