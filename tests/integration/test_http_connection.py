"""What a client may do to an HTTP connection, byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from starlette.types import Receive, Scope, Send

from app.receivers.handler import Handler
from app.receivers.http_app import Limits, OtlpApp
from app.receivers.http_bounds import Bounds
from app.receivers.http_connection import Connection
from app.receivers.http_server import HttpServer
from app.receivers.meter import Meter
from app.telemetry.metrics import Metrics
from tests.support.patience import PATIENCE
from tests.support.payload import spans
from tests.support.process import until
from tests.support.raw_http import RawClient, post
from tests.support.sink import Sink

GET = b"GET /else HTTP/1.1\r\nhost: test\r\n\r\n"
SHORT = 0.5

Serve = Callable[..., AbstractAsyncContextManager[HttpServer]]


async def elsewhere(scope: Scope, _receive: Receive, send: Send) -> None:
    if scope["path"] == "/hang":
        await asyncio.Event().wait()
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(20_000_000)})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"else"})


@pytest.fixture
def serve(sink: Sink) -> Serve:
    meter = Meter(Metrics("0"), "http")
    app = OtlpApp(Limits(1 << 20, 1 << 20, 1 << 24), Handler(sink, meter), meter, elsewhere)

    @asynccontextmanager
    async def serve(**bounds: Any) -> AsyncIterator[HttpServer]:
        values = {"max_connections": 10, "header_timeout": 5, "body_timeout": 5, "max_connection_age": 60} | bounds
        server = HttpServer(app, host="127.0.0.1", port=0, key="server.port", bounds=Bounds(**values))
        async with server:
            yield server

    return serve


class TestHead:
    async def test_a_head_above_its_bound_is_431(self, serve: Serve) -> None:
        many = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 100) for number in range(1000))
        endless = b"GET / HTTP/1.1\r\nx: " + b"y" * 1_000_000
        async with serve() as server:
            for request in (b"GET / HTTP/1.1\r\nhost: test\r\n" + many + b"\r\n", endless):
                async with RawClient(server.port) as client:
                    answer = await client.ask(request)
                    assert (answer.status, answer.last) == (431, True)
                    assert await client.rest() == b""

    async def test_a_head_above_its_bound_is_431_in_pieces_that_are_not(self, serve: Serve) -> None:
        half = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 900) for number in range(40))
        async with serve() as server, RawClient(server.port) as client:
            assert (await client.ask(GET + b"GET / HTTP/1.1\r\nhost: test\r\n" + half)).status == 200
            assert (await client.ask(half + b"\r\n")).status == 431

    async def test_a_head_below_its_bound_is_read_in_any_number_of_pieces(self, serve: Serve) -> None:
        async with serve() as server, RawClient(server.port) as client:
            await client.send(
                b"GET / HTTP/1.1\r\nhost: test\r\n", *[b"x-%d: %s\r\n" % (n, b"y" * 900) for n in range(70)]
            )
            assert (await client.ask(b"\r\n")).status == 200

    async def test_a_url_above_its_bound_is_414(self, serve: Serve) -> None:
        async with serve() as server, RawClient(server.port) as client:
            answer = await client.ask(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n")
            assert (answer.status, answer.last) == (414, True)

    async def test_a_head_that_takes_too_long_is_408(self, serve: Serve) -> None:
        async with serve(header_timeout=SHORT) as server, RawClient(server.port) as client:
            await client.ask(GET)
            answer = await client.ask(GET[:-4])
            assert (answer.status, answer.last) == (408, True)
            assert b"server.header_timeout" in answer.body
            assert await client.rest() == b""

    async def test_the_time_of_a_head_runs_from_the_start_of_its_connection(self, serve: Serve) -> None:
        async with serve(header_timeout=SHORT * 3) as server, RawClient(server.port) as client:
            began = asyncio.get_running_loop().time()

            async def trickle() -> None:
                while True:
                    await client.send(b"\r\n")
                    await asyncio.sleep(SHORT / 4)

            task = asyncio.create_task(trickle())
            assert await client.rest() == b""
            assert asyncio.get_running_loop().time() - began > SHORT * 2
            task.cancel()

    async def test_a_connection_on_which_nothing_is_said_is_closed_without_a_word(self, serve: Serve) -> None:
        async with serve(header_timeout=SHORT) as server, RawClient(server.port) as client:
            assert await client.rest() == b""

    async def test_a_connection_may_be_idle_for_longer_than_a_head_may_take(self, serve: Serve) -> None:
        async with serve(header_timeout=SHORT) as server, RawClient(server.port) as client:
            await client.ask(GET)
            await asyncio.sleep(SHORT * 2)
            assert (await client.ask(GET)).status == 200

    async def test_a_connection_that_is_idle_for_too_long_is_closed(self, serve: Serve) -> None:
        async with serve(header_timeout=SHORT, idle_timeout=SHORT) as server, RawClient(server.port) as client:
            assert not (await client.ask(GET)).last
            assert await client.rest() == b""

    def test_idle_connections_outlive_those_of_go_clients(self) -> None:
        assert Bounds(1, 1, 1, 1).idle_timeout >= 95


class TestFraming:
    @pytest.mark.parametrize(
        "headers",
        [
            ("content-length: 5", "transfer-encoding: chunked"),
            ("transfer-encoding: chunked", "content-length: 5"),
            ("content-length: 5", "content-length: 6"),
            ("content-length: 5, 6",),
            ("content-length: +5",),
            ("content-length : 5",),
            ("transfer-encoding: chunked, gzip",),
            ("transfer-encoding: chunked", "transfer-encoding: chunked"),
            ("transfer-encoding: gzip",),
            ("transfer-encoding: xchunked",),
            ("transfer-encoding: chunked, chunked",),
            ("transfer-encoding: chunked", "transfer-encoding: gzip"),
            ('transfer-encoding: "chunked"',),
            ("x: y\n content-length: 5",),
        ],
    )
    async def test_a_request_of_which_two_servers_could_see_different_ends_is_400(
        self, serve: Serve, sink: Sink, headers: tuple[str, ...]
    ) -> None:
        async with serve() as server, RawClient(server.port) as client:
            answer = await client.ask(post(b"0\r\n\r\n" + GET, *headers))
            assert (answer.status, answer.last) == (400, True)
            assert await client.rest() == b""
        assert sink.requests == []

    @pytest.mark.parametrize(
        "headers",
        [
            ("transfer-encoding: gzip, chunked",),
            ("transfer-encoding: gzip", "transfer-encoding: chunked"),
            ("transfer-encoding: identity ,\tChunked",),
        ],
    )
    async def test_a_body_in_another_transfer_coding_is_501_and_not_read(
        self, serve: Serve, sink: Sink, headers: tuple[str, ...]
    ) -> None:
        async with serve() as server, RawClient(server.port) as client:
            answer = await client.ask(post(b"0\r\n\r\n" + GET, *headers))
            assert (answer.status, answer.last) == (501, True)
            assert await client.rest() == b""
        assert sink.requests == []

    @pytest.mark.parametrize(
        "offer",
        [b"", b"connection: keep-alive\r\n", b"connection: Upgrade\r\nupgrade: h2c\r\n"],
        ids=["plain", "to stay", "upgrade"],
    )
    async def test_http_1_0_has_no_chunks_and_no_host(self, serve: Serve, sink: Sink, offer: bytes) -> None:
        old = post(spans()).replace(b"HTTP/1.1\r\nhost: test\r\n", b"HTTP/1.0\r\n" + offer)
        chunked = b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + GET
        for request, status in ((old, 200), (old.replace(b"content-length: ", chunked), 400)):
            async with serve() as server, RawClient(server.port) as client:
                answer = await client.ask(request)
                assert (answer.status, answer.last) == (status, True)
                assert await client.rest() == b""
        assert len(sink.requests) == 1

    async def test_an_upgrade_that_is_offered_with_a_connections_last_request_is_ignored(
        self, serve: Serve, sink: Sink
    ) -> None:
        async with serve() as server, RawClient(server.port) as client:
            answer = await client.ask(post(spans(), "connection: close, upgrade", "upgrade: h2c"))
            assert (answer.status, answer.last) == (200, True)
            assert await client.rest() == b""
        assert len(sink.requests) == 1

    async def test_a_request_without_a_host_or_with_more_than_one_is_400(self, serve: Serve, sink: Sink) -> None:
        nameless = post(spans()).replace(b"host: test\r\n", b"")
        for request in (nameless, post(spans(), "host: test"), post(spans(), "Host: other")):
            async with serve() as server, RawClient(server.port) as client:
                answer = await client.ask(request)
                assert (answer.status, answer.last) == (400, True)
                assert await client.rest() == b""
        assert sink.requests == []

    @pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "Content-Type", "Content-Encoding"])
    async def test_a_header_that_is_there_with_two_values_of_which_one_must_be_meant_is_400(
        self, serve: Serve, sink: Sink, name: str
    ) -> None:
        value = {"Content-Type": "application/x-protobuf", "Content-Encoding": "identity"}.get(name, "secret")
        async with serve() as server, RawClient(server.port) as client:
            same = post(spans(), f"{name}: {value}", f"{name.lower()}:  {value}", "x: 1", "x: 2")
            assert (await client.ask(same)).status == 200
            answer = await client.ask(post(spans(), f"{name}: {value}", f"{name.lower()}: another"))
            assert (answer.status, answer.last) == (400, True)
            assert f"the request's {name.lower()} is there".encode() in answer.body
            assert b"secret" not in answer.body
            assert await client.rest() == b""
        assert len(sink.requests) == 1

    @pytest.mark.parametrize(
        "request_",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/3.0\r\n\r\n",
            b"hello\r\n\r\n",
        ],
    )
    async def test_what_is_no_http_1_is_400(self, serve: Serve, request_: bytes) -> None:
        async with serve() as server, RawClient(server.port) as client:
            answer = await client.ask(request_)
            assert (answer.status, answer.last) == (400, True)
            assert b"not an HTTP/1.1 request" in answer.body
            assert await client.rest() == b""

    @pytest.mark.parametrize("url", [b"http://host", b"/\xff", b"host:80"])
    async def test_a_url_that_is_none_is_400(self, serve: Serve, url: bytes) -> None:
        async with serve() as server, RawClient(server.port) as client:
            assert (await client.ask(b"GET %s HTTP/1.1\r\nhost: test\r\n\r\n" % url)).status == 400

    async def test_this_is_no_proxy(self, serve: Serve) -> None:
        async with serve() as server, RawClient(server.port) as client:
            assert (await client.ask(b"CONNECT host:80 HTTP/1.1\r\n\r\n")).status == 501

    @pytest.mark.parametrize("chunks", [b"zz\r\n", b"5\r\nabcdefgh"])
    async def test_a_broken_chunk_is_400_with_a_status(self, serve: Serve, sink: Sink, chunks: bytes) -> None:
        async with serve() as server, RawClient(server.port) as client:
            answer = await client.ask(post(b"", "transfer-encoding: chunked"), chunks)
            assert (answer.status, answer.last) == (400, True)
            assert "framed wrongly" in Status.FromString(answer.body).message
            assert await client.rest() == b""
        assert sink.requests == []

    @pytest.mark.parametrize(
        "flood", [b"1;" + b"x" * 1_000_000, b"0\r\nx: " + b"y" * 1_000_000, b"1;xxxxxxxxxxxxxx\r\na\r\n" * 50_000]
    )
    async def test_a_flood_around_a_body_is_400(self, serve: Serve, flood: bytes) -> None:
        async with serve() as server, RawClient(server.port) as client:
            answer = await client.ask(post(b"", "transfer-encoding: chunked"), flood)
            assert (answer.status, answer.last) == (400, True)
            assert "mostly framing" in Status.FromString(answer.body).message

    async def test_chunks_of_one_byte_are_a_body(self, serve: Serve, sink: Sink) -> None:
        body = spans(name="x" * 100_000)
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        async with serve() as server, RawClient(server.port) as client:
            assert (await client.ask(post(b"", "transfer-encoding: chunked"), chunks + b"0\r\n\r\n")).status == 200
        assert sink.requests[0].body == body

    async def test_trailers_are_nothing_to_the_application(self, serve: Serve, sink: Sink) -> None:
        body = spans()
        chunks = b"%x\r\n%s\r\n0\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\n\r\n" % (len(body), body)
        async with serve() as server, RawClient(server.port) as client:
            assert (await client.ask(post(chunks, "transfer-encoding: chunked"))).status == 200
            assert (await client.ask(post(body))).status == 200
        assert [request.body for request in sink.requests] == [body] * 2


class TestBody:
    async def test_a_body_that_takes_too_long_is_408_with_a_status(self, serve: Serve, sink: Sink) -> None:
        async with serve(body_timeout=SHORT) as server, RawClient(server.port) as client:
            answer = await client.ask(post(b"", "content-length: 100"), b"x" * 10)
            assert (answer.status, answer.last) == (408, True)
            assert "server.body_timeout" in Status.FromString(answer.body).message
            assert await client.rest() == b""
        assert sink.requests == []

    async def test_a_body_that_nobody_waits_for_has_its_time_too(self, serve: Serve) -> None:
        async with serve(body_timeout=SHORT) as server, RawClient(server.port) as client:
            answer = await client.ask(post(b"", "content-length: 100", content_type="text/plain"), b"x" * 10)
            assert (answer.status, answer.last) == (415, False)
            assert await client.rest() == b""

    async def test_a_body_that_is_broken_after_its_answer_ends_the_connection(self, serve: Serve) -> None:
        async with serve() as server, RawClient(server.port) as client:
            request = post(b"", "transfer-encoding: chunked", content_type="text/plain")
            assert (await client.ask(request)).status == 415
            await client.send(b"zz\r\n")
            assert await client.rest() == b""

    async def test_a_client_that_never_closes_is_cut_off(self, serve: Serve) -> None:
        async with serve(body_timeout=SHORT, header_timeout=SHORT) as server, RawClient(server.port) as client:
            await client.ask(post(b"", "content-length: 100"))
            assert await client.rest() == b""

            async def talk() -> None:
                while True:
                    await client.send(b"x")
                    await asyncio.sleep(SHORT / 4)

            with pytest.raises(ConnectionError):
                await asyncio.wait_for(talk(), 10)


class TestAnswer:
    async def test_a_client_that_does_not_read_is_cut_off_and_holds_up_nobody(self, serve: Serve) -> None:
        async with serve(body_timeout=SHORT) as server, RawClient(server.port) as client:
            client.pause()
            await client.send(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n" * 2)

            async def answered() -> bool:
                return server.server_state.total_requests >= 1

            await until(answered, "the answer to be given")
            async with RawClient(server.port) as other:
                assert (await other.ask(GET)).status == 200

            async def cut_off() -> bool:
                return not server.server_state.connections

            await until(cut_off, "the end of its connection")

    async def test_a_client_that_reads_in_time_gets_all_of_a_large_answer(self, serve: Serve) -> None:
        async with serve() as server, RawClient(server.port) as client:
            client.pause()
            await client.send(b"GET /large HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            client.resume()
            assert len(await client.rest()) > 20_000_000

    async def test_what_was_taken_is_answered_when_the_answer_before_it_was_read(
        self, serve: Serve, sink: Sink
    ) -> None:
        async with serve() as server, RawClient(server.port) as client:
            client.pause()
            await client.send(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n" + post(spans(), "connection: close"))
            await sink.wait_for(1)
            client.resume()
            assert b"HTTP/1.1 200 OK\r\n" in (await client.rest())[20_000_000:]

    async def test_what_is_taken_of_a_client_that_has_left_is_kept(self, serve: Serve, sink: Sink) -> None:
        sink.hold()
        async with serve() as server:
            async with RawClient(server.port) as client:
                await client.send(post(spans()))
                await sink.wait_for_callers(1)

            async def left() -> bool:
                return not server.server_state.connections

            await until(left, "the end of its connection")
            sink.release()
            await sink.wait_for(1)
        assert [request.items for request in sink.requests] == [1]


class TestPipelining:
    async def test_requests_that_come_at_once_are_answered_in_order(self, serve: Serve, sink: Sink) -> None:
        sink.hold()
        async with serve() as server, RawClient(server.port) as client:
            await client.send(post(spans()) + GET + post(spans(2)) + post(b"\xff"))
            await sink.wait_for_callers(1)
            sink.release()
            assert [(await client.answer()).status for _ in range(4)] == [200, 200, 200, 400]
            assert (await client.ask(GET)).status == 200
        assert [request.items for request in sink.requests] == [1, 2]

    async def test_a_body_that_waits_for_another_answer_does_not_lose_its_time(self, serve: Serve, sink: Sink) -> None:
        sink.hold()
        body = spans(name="x" * 200_000)
        async with serve(body_timeout=SHORT) as server, RawClient(server.port) as client:
            await client.send(post(spans()) + post(body)[:200])
            await sink.wait_for_callers(1)
            await asyncio.sleep(SHORT * 2)
            sink.release()
            assert (await client.answer()).status == 200
            assert (await client.ask(post(body)[200:])).status == 200
            await client.send(post(spans()) + post(body)[:200])
            assert [(await client.answer()).status for _ in range(2)] == [200, 408]

    async def test_after_too_many_at_once_the_answer_to_the_last_one_taken_ends_the_connection(
        self, serve: Serve, sink: Sink
    ) -> None:
        sink.hold()
        async with serve() as server, RawClient(server.port) as client:
            await client.send(post(spans()) * 20)
            await sink.wait_for_callers(1)
            sink.release()
            answers = [await client.answer() for _ in range(9)]
            assert [answer.last for answer in answers] == [False] * 8 + [True]
            assert await client.rest() == b""
        assert len(sink.requests) == 9

    async def test_nonsense_after_a_request_does_not_cost_its_answer(self, serve: Serve, sink: Sink) -> None:
        sink.hold()
        async with serve() as server, RawClient(server.port) as client:
            await client.send(post(spans()) + b"nonsense\r\n\r\n", b"more")
            await sink.wait_for_callers(1)
            sink.release()
            answer = await client.answer()
            assert (answer.status, answer.last) == (200, True)
            assert await client.rest() == b""


class TestConnections:
    async def test_one_connection_too_many_is_told_to_come_later(self, serve: Serve, sink: Sink) -> None:
        async with serve(max_connections=2) as server:
            async with RawClient(server.port) as one, RawClient(server.port) as two, RawClient(server.port) as three:
                assert (await one.ask(post(spans()))).status == 200
                assert (await two.ask(post(spans()))).status == 200
                busy = await three.ask(post(spans()))
                assert (busy.status, busy.last, busy.headers["retry-after"] in {"1", "2"}) == (503, True, True)
                assert "server.max_connections: all 2 are taken" in Status.FromString(busy.body).message
                assert await three.rest() == b""
            async with RawClient(server.port) as four:
                assert (await four.ask(GET)).status == 200
        assert len(sink.requests) == 2

    async def test_health_is_answered_however_many_there_are(self, serve: Serve) -> None:
        async with serve(max_connections=1) as server, RawClient(server.port), RawClient(server.port) as probe:
            answer = await probe.ask(GET)
            assert (answer.status, answer.last) == (200, True)

    async def test_far_too_many_are_closed_unheard(self, serve: Serve) -> None:
        async with serve(max_connections=1) as server, AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(RawClient(server.port)) for _ in range(1 + 16 + 3)]
            for client in clients[17:]:
                assert await client.rest() == b""
            assert (await clients[16].ask(post(spans()))).status == 503
            assert (await clients[0].ask(post(spans()))).status == 200

    async def test_a_connection_that_has_grown_old_ends_with_its_next_answer(self, serve: Serve, sink: Sink) -> None:
        async with serve(max_connection_age=SHORT, header_timeout=SHORT) as server, RawClient(server.port) as client:
            assert not (await client.ask(post(spans()))).last
            await asyncio.sleep(SHORT * 2)
            answer = await client.ask(post(spans()))
            assert (answer.status, answer.last) == (200, True)
            assert await client.rest() == b""
        assert len(sink.requests) == 2

    async def test_connections_grow_old_one_by_one_within_a_tenth_of_the_age_that_is_set(self, serve: Serve) -> None:
        age, loop = 1000.0, asyncio.get_running_loop()
        bounds = {"max_connections": 40, "max_connection_age": age, "idle_timeout": 10 * age}
        async with serve(**bounds) as server, AsyncExitStack() as stack:
            first = loop.time()
            clients = [await stack.enter_async_context(RawClient(server.port)) for _ in range(40)]
            for client in clients:
                assert not (await client.ask(GET)).last
            last = loop.time()
            ended = []
            for now in (first + age * 0.9, first + age * 0.95, first + age, first + age * 1.05, last + age * 1.1):
                for connection in list(server.server_state.connections):
                    assert isinstance(connection, Connection)
                    connection.sweep(now)
                old = [client for client in clients if (await client.ask(GET)).last]
                clients = [client for client in clients if client not in old]
                ended.append(len(old))
        assert ended[0] == 0
        assert clients == []
        assert max(ended) < sum(ended) == 40


class TestEnd:
    async def test_a_client_that_does_not_read_does_not_hold_it_up(self, serve: Serve) -> None:
        async with serve() as server, RawClient(server.port) as client:
            client.pause()
            await client.send(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n")

            async def answered() -> bool:
                return server.server_state.total_requests == 1

            await until(answered, "the answer to be given")
            async with asyncio.timeout(PATIENCE):
                await server.__aexit__()

    async def test_what_the_end_cuts_off_beside_otlp_is_reset_and_no_fault(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serve() as server, RawClient(server.port) as client:
            await client.send(b"GET /hang HTTP/1.1\r\nhost: test\r\n\r\n")

            async def under_way() -> bool:
                return bool(server.server_state.tasks)

            await until(under_way, "the request to be under way")
            await server.__aexit__()
            assert await client.rest() == b""
        assert caplog.text == ""

    async def test_a_fault_of_ours_is_reset_too_so_that_it_may_be_tried_again(
        self, serve: Serve, sink: Sink, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serve(head_bytes="many") as server, RawClient(server.port) as client:
            await client.send(post(spans()))
            assert await client.rest() == b""
        assert sink.requests == []
        assert "TypeError" in caplog.text
