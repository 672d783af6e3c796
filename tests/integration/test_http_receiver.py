"""The OTLP/HTTP receiver over real sockets: what clients get, and how it ends."""

import asyncio
import gzip
import io
import json
import signal as signals
import socket
import zlib
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
import zstandard
from google.rpc.status_pb2 import Status

from app.core.errors import Retryable
from app.core.request import ExportRequest, Signal
from app.health import Health
from app.receivers.http import HttpReceiver
from app.settings import ServerSettings
from app.telemetry.metrics import Metrics
from tests.support.payload import JSON_SPAN, one_item, spans
from tests.support.raw_http import RawClient, post
from tests.support.sink import Sink

PROTOBUF, JSON = "application/x-protobuf", "application/json"


Make = Callable[..., HttpReceiver]


@pytest.fixture
def make(sink: Sink, metrics: Metrics, health: Health) -> Make:
    def make(**settings: object) -> HttpReceiver:
        values = {"host": "127.0.0.1", "port": 0, **settings}
        return HttpReceiver(ServerSettings.model_validate(values), sink, metrics, health)

    return make


@pytest.fixture
async def receiver(make: Make) -> AsyncIterator[HttpReceiver]:
    async with make() as receiver:
        yield receiver


@pytest.fixture
async def client(receiver: HttpReceiver) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{receiver.port}") as client:
        yield client


@pytest.mark.parametrize("signal", Signal)
async def test_a_request_of_each_signal_arrives_as_the_bytes_that_it_came_as(
    client: aiohttp.ClientSession, sink: Sink, signal: Signal
) -> None:
    body = one_item(signal)
    async with client.post(signal.path, data=body, headers={"content-type": PROTOBUF}) as reply:
        assert (reply.status, reply.content_type, await reply.read()) == (200, PROTOBUF, b"")
        assert "date" in reply.headers
        assert "server" not in reply.headers
    assert sink.requests == [ExportRequest(signal, body, 1)]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
        ("identity", bytes),
    ],
)
@pytest.mark.parametrize(("content_type", "body"), [(PROTOBUF, spans(50)), (JSON, JSON_SPAN)])
async def test_each_content_encoding_is_read(
    client: aiohttp.ClientSession,
    sink: Sink,
    encoding: str,
    compress: Callable[[bytes], bytes],
    content_type: str,
    body: bytes,
) -> None:
    headers = {"content-type": content_type, "content-encoding": encoding}
    async with client.post("/v1/traces", data=compress(body), headers=headers) as reply:
        assert (reply.status, reply.content_type) == (200, content_type)
    assert sink.items(Signal.TRACES) == (50 if content_type == PROTOBUF else 1)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_many_packets_arrives_whole(client: aiohttp.ClientSession, sink: Sink, chunked: bool) -> None:
    body = spans(1000, name="x" * 2000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    data = pieces() if chunked else io.BytesIO(body)
    async with client.post("/v1/traces", data=data, headers={"content-type": PROTOBUF}) as reply:
        assert reply.status == 200
    assert sink.requests == [ExportRequest(Signal.TRACES, body, 1000)]


async def test_a_refusal_leaves_the_connection_as_it_is(receiver: HttpReceiver, sink: Sink) -> None:
    async with RawClient(receiver.port) as client:
        large = b"x" * 1_000_000
        for request, status in [
            (post(large, content_type="text/plain"), 415),
            (b"GET /v1/traces HTTP/1.1\r\nhost: test\r\n\r\n", 405),
            (post(b"\xff"), 400),
            (post(large, path="/v1/unknown"), 404),
            (post(spans()), 200),
        ]:
            answer = await client.ask(request)
            assert (answer.status, answer.last) == (status, False)
    assert len(sink.requests) == 1


async def test_an_unknown_path_is_404_with_a_status_in_the_clients_encoding(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/profiles", data=b"", headers={"content-type": PROTOBUF}) as reply:
        assert (reply.status, reply.content_type) == (404, PROTOBUF)
        assert Status.FromString(await reply.read()).code == 5
    async with client.get("/nothing") as reply:
        assert (reply.status, reply.content_type) == (404, JSON)
        assert json.loads(await reply.read()) == {"code": 5, "message": "GET /nothing: Not Found"}
    async with client.delete("/health/ready") as reply:
        assert (reply.status, (await reply.json())["code"], "GET" in reply.headers["allow"]) == (405, 12, True)


async def test_health_and_the_pages_are_on_this_port_too(client: aiohttp.ClientSession, health: Health) -> None:
    for probe in ("live", "ready", "startup"):
        async with client.get(f"/health/{probe}") as reply:
            assert (reply.status, (await reply.json())["status"]) == (200, "ready")
        async with client.head(f"/health/{probe}") as reply:
            assert reply.status == 200
    health.draining()
    async with client.get("/health/ready") as reply:
        assert (reply.status, (await reply.json())["status"]) == (503, "draining")
    async with client.get("/health/live") as reply:
        assert reply.status == 200
    async with client.get("/docs") as reply:
        assert reply.status == 200
    async with client.get("/openapi.json") as reply:
        assert "/health/ready" in (await reply.json())["paths"]


async def test_a_large_body_that_is_refused_unread_still_gets_its_answer(receiver: HttpReceiver) -> None:
    for headers in (("content-length: 20000000",), ("transfer-encoding: chunked",)):
        async with RawClient(receiver.port) as client:
            body = b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n" if headers[0].startswith("transfer") else b"x" * 1_000_000
            await client.send(post(b"", *headers), *[body] * 20)
            answer = await client.answer()
            assert (answer.status, answer.last) == (413, True)
            assert Status.FromString(answer.body).code == 8
            assert await client.rest() == b""


async def test_a_client_that_waits_for_leave_gets_it_or_an_answer(receiver: HttpReceiver, sink: Sink) -> None:
    body = spans()
    async with RawClient(receiver.port) as client:
        leave = await client.ask(post(b"", "expect: 100-continue", f"content-length: {len(body)}"))
        assert (leave.status, leave.headers) == (100, {})
        assert (await client.ask(body)).status == 200
        refused = await client.ask(post(b"", "expect: 100-continue", "content-length: 99999999"))
        assert refused.status == 413
    assert len(sink.requests) == 1


@pytest.mark.parametrize("framing", ["content-length: {}", "transfer-encoding: chunked"])
async def test_a_client_that_offers_http_2_means_its_body_all_the_same(
    receiver: HttpReceiver, sink: Sink, framing: str
) -> None:
    body = spans()
    data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if "chunked" in framing else body
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA")
    async with RawClient(receiver.port) as client:
        request = post(data, framing.format(len(body)), *offer)
        for pieces in ([request], [request[:100], request[100:-10], request[-10:]]):
            answer = await client.ask(*pieces)
            assert (answer.status, answer.last) == (200, False)
        assert (
            await client.ask(b"GET /health/live HTTP/1.1\r\nhost: test\r\n" + "\r\n".join([*offer, "", ""]).encode())
        ).status == 200
    assert sink.requests == [ExportRequest(Signal.TRACES, body, 1)] * 2


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_forgotten(receiver: HttpReceiver, sink: Sink) -> None:
    async with RawClient(receiver.port) as client:
        await client.send(post(b"", "content-length: 1000"), b"x" * 10)
    async with RawClient(receiver.port) as client:
        assert (await client.ask(post(spans()))).status == 200
    await receiver.finish(10)
    assert len(sink.requests) == 1


async def test_answers_are_counted_for_operators_and_for_the_autoscaler(
    client: aiohttp.ClientSession, sink: Sink, metrics: Metrics
) -> None:
    for error in (None, Retryable("full", reason="queue_full")):
        sink.error = error
        async with client.post("/v1/logs", data=one_item(Signal.LOGS), headers={"content-type": PROTOBUF}):
            pass
    value = metrics.registry.get_sample_value
    for code in ("200", "503"):
        labels = {"signal": "logs", "transport": "http", "code": code}
        assert value("otlp_receiver_requests_total", labels) == 1
        assert value("http_requests_total", {"method": "POST", "route": "/v1/logs", "code": code}) == 1
    labels = {"signal": "logs", "transport": "http"}
    assert value("otlp_receiver_refused_items_total", labels | {"reason": "queue_full"}) == 1
    assert value("otlp_receiver_request_duration_seconds_count", labels) == 2


async def test_clients_that_are_to_move_on_are_not_refused(receiver: HttpReceiver, sink: Sink) -> None:
    sink.hold()
    async with RawClient(receiver.port) as under_way, RawClient(receiver.port) as idle:
        await idle.ask(b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n")
        await under_way.send(post(spans()))
        await sink.wait_for_callers(1)
        receiver.move_on()
        sink.release()
        answers = [await under_way.answer(), await idle.ask(post(spans()))]
        assert [(answer.status, answer.last) for answer in answers] == [(200, True)] * 2
        assert await under_way.rest() == await idle.rest() == b""
        async with RawClient(receiver.port) as new:
            answer = await new.ask(post(spans()))
            assert (answer.status, answer.last) == (200, False)


class TestClosing:
    async def test_what_is_in_flight_is_finished_and_what_comes_is_refused(
        self, receiver: HttpReceiver, sink: Sink
    ) -> None:
        sink.hold()
        async with RawClient(receiver.port) as under_way, RawClient(receiver.port) as kept:
            assert (await kept.ask(b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n")).last is False
            await under_way.send(post(spans()))
            await sink.wait_for_callers(1)

            receiver.begin_closing()
            late = await kept.ask(post(spans()))
            assert (late.status, late.last, late.headers["retry-after"] in {"1", "2"}) == (503, True, True)
            assert await kept.rest() == b""

            async with RawClient(receiver.port) as new:
                refused = await new.ask(post(spans()))
                assert (refused.status, refused.last) == (503, True)
            async with RawClient(receiver.port) as probe:
                alive = await probe.ask(b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n")
                assert (alive.status, alive.last) == (200, True)

            finish = asyncio.create_task(receiver.finish(10))
            sink.release()
            answer = await under_way.answer()
            assert (answer.status, answer.last) == (200, True)
            assert await under_way.rest() == b""
            await finish
        assert len(sink.requests) == 1

    async def test_a_large_request_that_is_refused_unread_still_gets_its_answer(self, receiver: HttpReceiver) -> None:
        receiver.begin_closing()
        async with RawClient(receiver.port) as client:
            await client.send(post(b"", "content-length: 5000000"), b"x" * 5_000_000)
            assert (await client.answer()).status == 503
            assert await client.rest() == b""

    async def test_an_idle_connection_is_closed_before_long(self, receiver: HttpReceiver) -> None:
        async with RawClient(receiver.port) as client, RawClient(receiver.port) as silent:
            await client.ask(b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n")
            receiver.begin_closing()
            assert await client.rest() == b""
            assert await silent.rest() == b""

    async def test_waiting_has_an_end(self, receiver: HttpReceiver, sink: Sink) -> None:
        sink.hold()
        async with RawClient(receiver.port) as client:
            await client.send(post(spans()))
            await sink.wait_for_callers(1)
            receiver.begin_closing()
            await receiver.finish(0.05)
            assert sink.waiting == 1
            sink.release()

    async def test_what_is_still_in_flight_at_the_end_may_come_again(self, make: Make, sink: Sink) -> None:
        sink.hold()
        async with make() as receiver, RawClient(receiver.port) as client:
            await client.send(post(spans()))
            await sink.wait_for_callers(1)
            await receiver.__aexit__()
            answer = await client.answer()
            assert (answer.status, "retry-after" in answer.headers) == (503, True)
            assert await client.rest() == b""
        assert sink.requests == []


class TestLifetime:
    async def test_starting_and_stopping_twice_is_safe(self, make: Make, sink: Sink) -> None:
        receiver = make()
        await receiver.finish(1)
        for _ in range(2):
            async with receiver, receiver:
                port = receiver.port
                async with RawClient(port) as client:
                    assert (await client.ask(post(spans()))).status == 200
                receiver.begin_closing()
            await receiver.__aexit__()
            with pytest.raises(ConnectionRefusedError):
                await RawClient(port).__aenter__()
        assert len(sink.requests) == 2

    async def test_what_keeps_it_alive_runs_for_as_long_as_it_does(self, make: Make) -> None:
        receiver = make()
        async with receiver:
            tasks = receiver.tasks
            assert [task.done() for task in tasks] == [False]
        assert [task.done() for task in tasks] == [True]
        assert receiver.tasks == []

    async def test_a_port_that_is_in_use_is_a_clear_error(self, make: Make) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(OSError, match=rf"^server\.port: {port} is in use; stop what listens there"):
                await make(port=port).__aenter__()

    async def test_an_address_that_is_not_ours_is_a_clear_error(self, make: Make) -> None:
        with pytest.raises(
            OSError, match=r"^server\.port: cannot listen on 192\.0\.2\.1, port 0: .*check server\.host"
        ):
            await make(host="192.0.2.1").__aenter__()

    async def test_two_servers_share_a_loop_and_leave_the_signals_alone(self, make: Make) -> None:
        before = [signals.getsignal(number) for number in (signals.SIGTERM, signals.SIGINT)]
        async with make() as one, make() as other:
            for receiver in (one, other):
                async with RawClient(receiver.port) as client:
                    assert (await client.ask(post(spans()))).status == 200
            assert [signals.getsignal(number) for number in (signals.SIGTERM, signals.SIGINT)] == before

    async def test_both_families_are_served_on_one_port(self, make: Make) -> None:
        async with make(host="::") as receiver:
            for host in ("127.0.0.1", "::1"):
                reader, writer = await asyncio.open_connection(host, receiver.port)
                writer.write(b"GET /health/live HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
                writer.close()
                await writer.wait_closed()
