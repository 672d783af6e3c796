"""Where memory is short, a client that is slow with what it sends holds up nobody, and is told to come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest

from app.core.request import Signal
from app.health import Health
from app.memory import Headroom
from app.receivers.grpc import GrpcReceiver
from app.receivers.http import HttpReceiver
from app.settings import ServerSettings
from app.telemetry.metrics import Metrics
from tests.support.cgroup_files import CgroupFiles
from tests.support.patience import PATIENCE
from tests.support.payload import spans
from tests.support.process import until
from tests.support.raw_http import RawClient, post
from tests.support.raw_http2 import HEADERS, RawHttp2Client, message
from tests.support.sink import Sink

MIB = 1 << 20
LARGEST = 16 * MIB
ROOM = 2 * LARGEST
"""What a call is promised until its message has come."""
PATH = Signal.TRACES.method
STREAMS = 30
UNAVAILABLE = b"grpc-status\x0214"
PIECE = spans(name="x" * 1000)


@dataclass
class Doors:
    """Both, in a cgroup of 256 MiB, of which 224 are below the ceiling: room for 7 messages of the largest size."""

    headroom: Headroom
    grpc_port: int
    http_port: int


@pytest.fixture
async def doors(tmp_path: Path, sink: Sink, metrics: Metrics, health: Health) -> AsyncIterator[Doors]:
    headroom = Headroom(CgroupFiles(tmp_path, 256 * MIB).find(), trim=lambda: None)
    settings = ServerSettings(host="127.0.0.1", grpc_port=0, port=0, max_request_size=LARGEST, body_timeout=PATIENCE)
    async with (
        GrpcReceiver(settings, sink, metrics, health, headroom=headroom) as over_grpc,
        HttpReceiver(settings, sink, metrics, health, headroom=headroom) as over_http,
    ):
        yield Doors(headroom, over_grpc.port, over_http.port)


async def send_both_ways(doors: Doors, times: int) -> None:
    """Send requests that must all be taken at once."""
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}") as channel,
        RawClient(doors.http_port) as client,
    ):
        for _ in range(times):
            await channel.unary_unary(PATH)(spans(), timeout=PATIENCE)
            assert (await client.ask(post(spans()))).status == 200


@asynccontextmanager
async def slow_connections(doors: Doors, number: int) -> AsyncIterator[list[asyncio.Task[str]]]:
    """So many connections, each with as many calls as it may have, of whose messages nothing comes.

    Gives how each call ends.
    """

    async def end(channel: grpc.aio.Channel) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.stream_unary(PATH)(timeout=PATIENCE)
        error = raised.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "google.rpc.retryinfo-bin" in dict(error.trailing_metadata() or ())
        return str(error.details())

    async with AsyncExitStack() as stack:
        ends = []
        for _ in range(number):
            options = [("grpc.use_local_subchannel_pool", 1)]
            target = f"127.0.0.1:{doors.grpc_port}"
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(target, options))
            ends += [asyncio.create_task(end(channel)) for _ in range(STREAMS)]
        yield ends
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def held(doors: Doors, size: int) -> None:
    async def is_held() -> bool:
        return doors.headroom.promised >= size

    await until(is_held, f"{size} bytes are promised to the slow ones")


async def test_one_connection_with_calls_that_send_nothing_has_half_of_the_room_at_most(doors: Doors) -> None:
    async with slow_connections(doors, 1) as ends:
        await held(doors, 3 * ROOM)
        await send_both_ways(doors, 20)
        assert doors.headroom.promised // ROOM == 3
        assert not doors.headroom.line
        refused, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
        assert all("memory is short" in task.result() for task in refused)


async def test_calls_that_send_nothing_on_many_connections_give_way(doors: Doors, sink: Sink) -> None:
    async with slow_connections(doors, 4) as ends:
        await held(doors, 6 * ROOM)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
        await send_both_ways(doors, 20)
        assert len(sink.requests) == 40
        assert any("came too slowly" in task.result() for task in ends if task.done())


async def test_bodies_that_do_not_come_give_way(doors: Doors, sink: Sink) -> None:
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(RawClient(doors.http_port)) for _ in range(4)]
        for client in slow:
            await client.send(post(PIECE, f"content-length: {LARGEST}"))
        await held(doors, 4 * 48 * MIB)
        large = spans(name="x" * (12 * MIB))
        async with RawClient(doors.http_port) as client:
            assert (await client.ask(post(large))).status == 200
        answer = await slow[0].answer()
        assert answer.status == 503
        assert "retry-after" in answer.headers
        assert b"came too slowly" in answer.body
        assert len(sink.requests) == 1


async def test_a_body_of_which_nothing_has_come_holds_nothing(doors: Doors) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(20):
            client = await stack.enter_async_context(RawClient(doors.http_port))
            await client.send(post(b"", f"content-length: {LARGEST}"))
        await send_both_ways(doors, 5)
        assert doors.headroom.promised == 0


async def test_a_message_that_does_not_come_in_time_ends(
    tmp_path: Path, sink: Sink, metrics: Metrics, health: Health
) -> None:
    headroom = Headroom(CgroupFiles(tmp_path, 256 * MIB).find(), trim=lambda: None)
    settings = ServerSettings(host="127.0.0.1", grpc_port=0, body_timeout=0.2)
    async with (
        GrpcReceiver(settings, sink, metrics, health, headroom=headroom) as receiver,
        RawHttp2Client(receiver.port) as slow,
    ):
        slow.call(1, PATH)
        await slow.data(1, message(spans())[:-1], end=False)
        (answer,) = await slow.until(HEADERS)
        assert UNAVAILABLE in answer.payload

        async def let_go() -> bool:
            return headroom.promised == 0

        await until(let_go, "nothing is promised any more")
    assert sink.requests == []
