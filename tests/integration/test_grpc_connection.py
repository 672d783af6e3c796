"""What a client may do to a gRPC connection, frame by frame."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import ClassVar

import grpc
import grpc.aio
import pytest

from app.core.clock import SystemClock
from app.core.request import Signal
from app.health import Health
from app.receivers.auth import Doorkeeper
from app.receivers.grpc import GrpcReceiver
from app.settings import AuthSettings, ServerSettings
from app.telemetry.metrics import Metrics
from tests.support.bombs import GZIP, ZLIB, deflated_zeros
from tests.support.patience import PATIENCE
from tests.support.payload import spans
from tests.support.peak import peak_growth
from tests.support.raw_http2 import ACK, END_STREAM, GOAWAY, HEADERS, PING, Frame, RawHttp2Client, message
from tests.support.sink import Sink

MIB = 1 << 20
AGE = 3.0
"""Seconds: soon over, and long enough for a call on another connection."""
PATH = Signal.TRACES.method
EIGHT = bytes(8)

Serve = Callable[..., AbstractAsyncContextManager[GrpcReceiver]]


@pytest.fixture
def serve(sink: Sink) -> Serve:
    @asynccontextmanager
    async def serve(**settings: object) -> AsyncIterator[GrpcReceiver]:
        health = Health("0", SystemClock())
        health.ready_now()
        values = {"host": "127.0.0.1", "grpc_port": 0, **settings}
        async with GrpcReceiver(ServerSettings.model_validate(values), sink, Metrics("0"), health) as receiver:
            yield receiver

    return serve


async def export(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.unary_unary(PATH)(spans(), timeout=PATIENCE)


def why(goaway: Frame) -> bytes:
    return goaway.payload[8:]


class TestPings:
    async def test_far_too_many_are_told_to_go_away(self, serve: Serve) -> None:
        async with serve() as receiver, RawHttp2Client(receiver.port) as client:
            client.send(*[Frame(PING, 0, 0, EIGHT)] * 10)
            assert [why(frame) for frame in await client.until(GOAWAY)] == [b"too_many_pings"]
            await client.closed()

    async def test_those_of_clients_that_ask_every_ten_seconds_are_answered_with_or_without_a_call(
        self, serve: Serve
    ) -> None:
        """Three strikes end a connection: four pings in a row, with nothing else on it, would show them all."""
        async with (
            serve() as receiver,
            RawHttp2Client(receiver.port) as idle,
            RawHttp2Client(receiver.port) as waiting,
        ):
            waiting.call(1, PATH)
            for number in range(1, 5):
                for client in (idle, waiting):
                    client.send(Frame(PING, 0, 0, EIGHT))
                    assert all(frame.flags & ACK for frame in await client.until(PING, number))
                if number < 4:
                    await asyncio.sleep(6)  # less than ten, so that a test is not longer than it must be
            await waiting.data(1, message(spans()), end=True)
            await waiting.until(HEADERS, 2)  # the answer's head and its trailers
            assert [frame for frame in (*idle.frames, *waiting.frames) if frame.kind == GOAWAY] == []


class TestSlowness:
    async def test_a_client_that_never_ends_its_message_is_cut_off_and_holds_up_nobody(
        self, serve: Serve, sink: Sink
    ) -> None:
        async with (
            serve(max_connection_age=AGE, body_timeout=AGE) as receiver,
            RawHttp2Client(receiver.port) as client,
        ):
            client.call(1, PATH)
            await client.data(1, message(spans())[:-1], end=False)
            await export(receiver.port)
            await client.closed()
            assert why((await client.until(GOAWAY))[0]) == b"max_age"
        assert len(sink.requests) == 1

    async def test_a_client_that_lets_no_answer_come_is_cut_off_and_holds_up_nobody(
        self, serve: Serve, sink: Sink
    ) -> None:
        async with (
            serve(max_connection_age=AGE, body_timeout=AGE) as receiver,
            RawHttp2Client(receiver.port, window=0) as client,
        ):
            client.call(1, PATH)
            await client.data(1, message(spans()), end=True)
            await export(receiver.port)
            await client.closed()
            assert why((await client.until(GOAWAY))[0]) == b"max_age"
        assert len(sink.requests) == 2


async def test_connections_that_begin_at_once_do_not_grow_old_at_once(serve: Serve) -> None:
    """By itself gRPC adds or takes a tenth: without that they would end in the order in which they began."""
    ended: list[RawHttp2Client] = []

    async def grow_old(client: RawHttp2Client) -> None:
        (*_, goaway) = await client.until(GOAWAY)
        assert why(goaway) == b"max_age"
        ended.append(client)

    async with serve(max_connection_age=AGE) as receiver, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawHttp2Client(receiver.port)) for _ in range(20)]
        await asyncio.gather(*map(grow_old, clients))
    assert ended != clients


async def test_who_shows_no_key_is_turned_away_before_a_byte_of_its_message_comes(sink: Sink) -> None:
    metrics, health = Metrics("0"), Health("0", SystemClock())
    doorkeeper = Doorkeeper(AuthSettings.model_validate({"api_keys": ["web:sesame"]}), metrics)
    settings = ServerSettings(host="127.0.0.1", grpc_port=0)
    async with (
        GrpcReceiver(settings, sink, metrics, health, doorkeeper=doorkeeper) as receiver,
        RawHttp2Client(receiver.port) as client,
    ):
        client.call(1, PATH, x_api_key="wrong")
        (trailers,) = await client.until(HEADERS)
        assert b"grpc-status\x0216" in trailers.payload  # UNAUTHENTICATED
    assert sink.requests == []


class TestMetadata:
    MUCH: ClassVar = [(f"x{number}", "y" * 1000) for number in range(30)]

    async def test_of_many_values_is_refused_for_good_and_not_held_while_its_call_goes_on(
        self, serve: Serve, sink: Sink
    ) -> None:
        async with serve() as receiver, RawHttp2Client(receiver.port) as client:
            for number in range(100):  # more than may be open at once, and none of them is ended by the client
                client.call(2 * number + 1, PATH, self.MUCH)
                trailers = (await client.until(HEADERS, number + 1))[-1]
                assert trailers.flags & END_STREAM
                assert b"retryinfo" not in trailers.payload
            first = client.frames[
                0
            ].payload  # later ones refer to HPACK's table, and are so short that gRPC refuses them
            assert b"grpc-status\x013" in first  # INVALID_ARGUMENT
            assert b"above the bound of 16384" in first
            await export(receiver.port)
        assert len(sink.requests) == 1

    @pytest.mark.parametrize("path", ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/no/such"])
    async def test_of_many_values_is_refused_whatever_is_called(self, serve: Serve, path: str) -> None:
        async with serve() as receiver, RawHttp2Client(receiver.port) as client:
            client.call(1, path, self.MUCH)
            (trailers,) = await client.until(HEADERS)
            assert b"grpc-status\x013" in trailers.payload


class TestBombs:
    @pytest.mark.parametrize(("coding", "wbits"), [("gzip", GZIP), ("deflate", ZLIB)])
    async def test_a_message_that_inflates_to_gigabytes_is_refused_and_costs_its_bound(
        self, serve: Serve, sink: Sink, coding: str, wbits: int
    ) -> None:
        bomb = deflated_zeros(2 * MIB, wbits)
        async with serve() as receiver, RawHttp2Client(receiver.port) as client:
            with peak_growth() as peak:
                client.call(1, PATH, grpc_encoding=coding)
                await client.data(1, message(bomb, compressed=True), end=True)
                trailers = await client.until(HEADERS)
            assert trailers[0].flags & END_STREAM
            assert b"grpc-status\x018" in trailers[0].payload  # RESOURCE_EXHAUSTED
            assert b"retryinfo" not in trailers[0].payload
            assert peak.growth < 128 * MIB
            await export(receiver.port)
        assert len(sink.requests) == 1
