"""A call through gRPC's threads comes back, unless they do not go on."""

import asyncio

from app.receivers.grpc_pulse import GrpcPulse, OwnServer
from tests.support.patience import PATIENCE


async def test_a_call_to_its_own_server_comes_back() -> None:
    async with OwnServer() as own, GrpcPulse(own.target) as pulse:
        await pulse.beat()
        await pulse.beat()


async def test_a_refusal_is_a_sign_of_life_too() -> None:
    async with OwnServer() as own:
        target = own.target
    async with GrpcPulse(target) as pulse:
        await pulse.beat()


async def test_who_says_nothing_gives_none() -> None:
    accepted = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with GrpcPulse(f"127.0.0.1:{port}") as pulse:
            beat = asyncio.create_task(pulse.beat())
            async with asyncio.timeout(PATIENCE):
                await accepted.wait()
            assert not beat.done()
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
