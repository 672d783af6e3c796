"""OTLP over HTTP, from headers and a body to an answer, without a server."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from google.rpc.status_pb2 import Status
from starlette.types import Receive, Scope, Send

from app.core.errors import InvalidData, PartlyRejected, Retryable
from app.core.instance import HEADER, Instance
from app.core.request import ExportRequest, Signal
from app.memory import JSON_COPIES, Headroom
from app.receivers.handler import Handler
from app.receivers.http_app import Limits, OtlpApp
from app.receivers.http_bounds import BUSY
from app.receivers.meter import Meter
from app.telemetry.metrics import Metrics
from tests.support.asgi import Reply, ask
from tests.support.cgroup_files import CgroupFiles
from tests.support.clock import FakeClock
from tests.support.payload import JSON_SPAN, one_item, spans
from tests.support.sink import Sink

PROTOBUF, JSON = "application/x-protobuf", "application/json"
LIMITS = Limits(protobuf=1000, json=500, inflight=1500)


async def elsewhere(scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": str(scope["path"]).encode()})


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def instance() -> Instance:
    return Instance()


@pytest.fixture
def app(sink: Sink, metrics: Metrics, clock: FakeClock, instance: Instance) -> OtlpApp:
    meter = Meter(metrics, "http")
    return OtlpApp(LIMITS, Handler(sink, meter, instance=instance), meter, elsewhere, clock.monotonic)


def typed(*more: tuple[str, str], content_type: str = PROTOBUF) -> Sequence[tuple[str, str]]:
    return [("content-type", content_type), *more]


def check_status(reply: Reply, code: int) -> str:
    """Check that the body is a ``google.rpc.Status`` in the encoding that the headers name; returns its message."""
    assert reply.headers["content-length"] == str(len(reply.body))
    if reply.headers["content-type"] == JSON:
        status = json.loads(reply.body)
        assert status["code"] == code
        return str(status["message"])
    assert reply.headers["content-type"] == PROTOBUF
    parsed = Status.FromString(reply.body)
    assert parsed.code == code
    return str(parsed.message)


def requests(metrics: Metrics, code: str, signal: Signal = Signal.TRACES) -> float | None:
    labels = {"signal": signal.value, "transport": "http", "code": code}
    return metrics.registry.get_sample_value("otlp_receiver_requests_total", labels)


@pytest.mark.parametrize("signal", Signal)
async def test_each_signal_has_its_path(app: OtlpApp, sink: Sink, metrics: Metrics, signal: Signal) -> None:
    body = one_item(signal)
    reply = await ask(app, signal.path, body)
    assert (reply.status, reply.body) == (200, b"")
    assert sink.requests == [ExportRequest(signal, body, 1)]
    assert requests(metrics, "200", signal) == 1


async def test_what_passed_this_instance_before_is_refused(app: OtlpApp, instance: Instance, sink: Sink) -> None:
    headers = typed((HEADER, Instance().name), (HEADER, instance.name))
    reply = await ask(app, "/v1/traces", spans(), headers=headers)
    assert reply.status == 403
    assert "round in circles" in check_status(reply, grpc.StatusCode.PERMISSION_DENIED.value[0])
    assert sink.requests == []


async def test_two_requests_begin_in_a_turn_of_the_loop_and_the_others_in_the_next(app: OtlpApp, sink: Sink) -> None:
    """In a turn gRPC takes one call: it would starve beside as many requests as there are connections."""
    asking = [asyncio.create_task(ask(app, "/v1/traces", spans())) for _ in range(20)]
    taken = [0]
    while taken[-1] < 20:
        await asyncio.sleep(0)
        taken.append(len(sink.requests))
    assert max(later - earlier for earlier, later in pairwise(taken)) == 2
    assert {reply.status for reply in await asyncio.gather(*asking)} == {200}


async def test_every_other_path_is_handed_on(app: OtlpApp) -> None:
    reply = await ask(app, "/v1/profiles")
    assert (reply.status, reply.body) == (299, b"/v1/profiles")


@pytest.mark.parametrize(
    ("content_type", "body", "empty"),
    [
        (PROTOBUF, spans(), b""),
        ("Application/X-Protobuf; a=b", spans(), b""),
        (JSON, JSON_SPAN, b"{}"),
        ("application/json;charset=UTF-8", JSON_SPAN, b"{}"),
    ],
)
async def test_a_success_is_an_empty_response_in_the_encoding_of_the_request(
    app: OtlpApp, sink: Sink, content_type: str, body: bytes, empty: bytes
) -> None:
    reply = await ask(app, "/v1/traces", body, headers=typed(content_type=content_type))
    assert (reply.status, reply.body) == (200, empty)
    assert reply.headers["content-type"] == content_type.partition(";")[0].lower()
    assert sink.items(Signal.TRACES) == 1


async def test_the_bytes_that_came_are_the_bytes_that_go_on(app: OtlpApp, sink: Sink) -> None:
    body = spans(3)
    await ask(app, "/v1/traces", body[:5], body[5:6], b"", body[6:])
    assert sink.requests == [ExportRequest(Signal.TRACES, body, 3)]


async def test_a_compressed_body_is_inflated_and_measured_as_it_came(
    app: OtlpApp, sink: Sink, metrics: Metrics
) -> None:
    body = spans(20)
    packed = gzip.compress(body)
    reply = await ask(app, "/v1/traces", packed, headers=typed(("content-encoding", " GZIP")))
    assert reply.status == 200
    assert sink.requests == [ExportRequest(Signal.TRACES, body, 20)]
    labels = {"signal": "traces", "transport": "http"}
    assert metrics.registry.get_sample_value("otlp_receiver_request_size_bytes_sum", labels) == len(packed)


async def test_the_time_runs_from_the_whole_request_to_its_answer(
    app: OtlpApp, sink: Sink, metrics: Metrics, clock: FakeClock
) -> None:
    sink.hold()
    task = asyncio.create_task(ask(app, "/v1/traces", spans()))
    await sink.wait_for_callers(1)
    await clock.advance(0.75)
    sink.release()
    await task
    labels = {"signal": "traces", "transport": "http"}
    assert metrics.registry.get_sample_value("otlp_receiver_request_duration_seconds_sum", labels) == 0.75


async def test_a_partial_success_is_told(app: OtlpApp, sink: Sink) -> None:
    sink.error = PartlyRejected("one has no name", items=1)
    reply = await ask(app, "/v1/traces", JSON_SPAN, headers=typed(content_type=JSON))
    assert reply.status == 200
    assert json.loads(reply.body) == {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "one has no name"}}


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "BREW"])
async def test_only_post_is_allowed(app: OtlpApp, metrics: Metrics, method: str) -> None:
    reply = await ask(app, "/v1/traces", method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert "use POST" in check_status(reply, 12)
    assert reply.reads == 0
    assert requests(metrics, "405") == 1


@pytest.mark.parametrize(
    ("headers", "encoding"),
    [
        ([("content-type", "text/plain")], PROTOBUF),
        ([("content-type", "text/plain"), ("accept", "application/json")], JSON),
        ([], PROTOBUF),
    ],
)
async def test_an_unknown_content_type_is_refused_unread(
    app: OtlpApp, headers: Sequence[tuple[str, str]], encoding: str
) -> None:
    reply = await ask(app, "/v1/traces", spans(), headers=headers)
    assert (reply.status, reply.headers["content-type"], reply.reads) == (415, encoding, 0)
    assert "send application/x-protobuf or application/json" in check_status(reply, 3)


@pytest.mark.parametrize("encoding", [PROTOBUF, JSON])
async def test_an_unknown_content_encoding_is_refused(app: OtlpApp, encoding: str) -> None:
    reply = await ask(app, "/v1/traces", b"x", headers=typed(("content-encoding", "br"), content_type=encoding))
    assert (reply.status, reply.headers["content-type"]) == (415, encoding)
    assert "'br'" in check_status(reply, 3)


@pytest.mark.parametrize(
    ("content_type", "content_encoding", "body"),
    [
        (PROTOBUF, "", b"\xff"),
        (JSON, "", b"{"),
        (PROTOBUF, "gzip", b"no gzip"),
        (JSON, "gzip", gzip.compress(b"{}", mtime=0)[:-3]),
    ],
)
async def test_malformed_data_is_refused_for_good(
    app: OtlpApp, sink: Sink, content_type: str, content_encoding: str, body: bytes
) -> None:
    headers = typed(("content-encoding", content_encoding), content_type=content_type)
    reply = await ask(app, "/v1/traces", body, headers=headers)
    assert (reply.status, reply.headers["content-type"]) == (400, content_type)
    assert check_status(reply, 3)
    assert "retry-after" not in reply.headers
    assert sink.requests == []


@pytest.mark.parametrize(
    ("content_type", "limit", "key"),
    [(PROTOBUF, 1000, "server.max_request_size"), (JSON, 500, "server.max_json_size")],
)
class TestSize:
    async def test_an_announced_body_above_the_bound_is_not_read(
        self, app: OtlpApp, content_type: str, limit: int, key: str
    ) -> None:
        headers = typed(("content-length", str(limit + 1)), content_type=content_type)
        reply = await ask(app, "/v1/traces", headers=headers)
        assert (reply.status, reply.headers["connection"], reply.reads) == (413, "close", 0)
        assert key in check_status(reply, 8)
        assert "retry-after" not in reply.headers

    async def test_a_body_of_unknown_length_is_read_up_to_the_bound(
        self, app: OtlpApp, content_type: str, limit: int, key: str
    ) -> None:
        reply = await ask(app, "/v1/traces", *[b"x" * 100] * 100, headers=typed(content_type=content_type))
        assert (reply.status, reply.headers["connection"], reply.reads) == (413, "close", limit // 100 + 1)
        assert key in check_status(reply, 8)

    async def test_a_body_is_bounded_inflated_too(self, app: OtlpApp, content_type: str, limit: int, key: str) -> None:
        bomb = gzip.compress(bytes(limit + 1))
        headers = typed(("content-encoding", "gzip"), content_type=content_type)
        reply = await ask(app, "/v1/traces", bomb, headers=headers)
        assert reply.status == 413
        assert key in check_status(reply, 8)

    async def test_a_body_at_the_bound_is_taken(self, app: OtlpApp, content_type: str, limit: int, key: str) -> None:
        body = b"{}".ljust(limit) if content_type == JSON else spans(name="x" * (limit - 12))
        assert len(body) == limit, key
        headers = typed(("content-length", str(limit)), content_type=content_type)
        assert (await ask(app, "/v1/traces", body, headers=headers)).status == 200


@pytest.mark.parametrize(("delay", "hints"), [(None, {"1", "2"}), (2.5, {"3"}), (600, {"3"})])
async def test_what_passes_is_503_with_a_hint_in_whole_seconds(
    app: OtlpApp, sink: Sink, delay: float | None, hints: set[str]
) -> None:
    sink.error = Retryable("the queue is full", reason="queue_full", delay=delay)
    replies = [await ask(app, "/v1/traces", spans()) for _ in range(40)]
    assert {reply.status for reply in replies} == {503}
    assert {reply.headers["retry-after"] for reply in replies} == hints
    assert check_status(replies[0], 14) == "the queue is full"


async def test_a_fault_of_ours_is_503_too(app: OtlpApp, sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    sink.error = ZeroDivisionError("oops")
    reply = await ask(app, "/v1/traces", spans())
    assert (reply.status, reply.headers["retry-after"] in {"1", "2"}) == (503, True)
    assert "ZeroDivisionError: oops" in caplog.text


async def test_a_fault_while_reading_is_503_too(app: OtlpApp, caplog: pytest.LogCaptureFixture) -> None:
    reply = await ask(app, "/v1/traces", b"x", RuntimeError("oops"))
    assert reply.status == 503
    assert "RuntimeError: oops" in caplog.text


async def test_bodies_together_are_bounded_and_what_is_beyond_may_come_later(app: OtlpApp, sink: Sink) -> None:
    sink.hold()
    first = asyncio.create_task(ask(app, "/v1/traces", spans(name="x" * 900)))
    await sink.wait_for_callers(1)

    announced = await ask(app, "/v1/traces", b"x" * 450, b"x" * 450, headers=typed(("content-length", "900")))
    assert (announced.status, announced.reads) == (503, 1)
    assert "server.max_inflight_bytes" in check_status(announced, 14)

    chunked = await ask(app, "/v1/traces", *[b"x" * 100] * 9)
    assert (chunked.status, chunked.reads < 9) == (503, True)

    inflated = await ask(
        app, "/v1/traces", gzip.compress(spans(name="x" * 900)), headers=typed(("content-encoding", "gzip"))
    )
    assert inflated.status == 503

    assert len(sink.requests) == 0
    assert sink.waiting == 1
    sink.release()
    assert (await first).status == 200
    assert (await ask(app, "/v1/traces", spans(name="x" * 900))).status == 200


@pytest.mark.parametrize("pieces", [(None,), (b"x", None)])
async def test_a_client_that_leaves_gets_no_answer_and_holds_nothing(
    app: OtlpApp, metrics: Metrics, sink: Sink, pieces: tuple[bytes | None, ...]
) -> None:
    reply = await ask(app, "/v1/traces", *pieces)
    assert reply.status == 0
    assert (sink.requests, app.held_bytes) == ([], 0)
    assert requests(metrics, "200") is None


async def test_a_body_that_takes_too_long_is_408(app: OtlpApp, metrics: Metrics) -> None:
    reply = await ask(app, "/v1/traces", b"x", TimeoutError("server.body_timeout: the body took too long"))
    assert reply.status == 408
    assert "server.body_timeout" in check_status(reply, 4)
    assert requests(metrics, "408") == 1


async def test_a_body_that_is_framed_wrongly_is_400(app: OtlpApp) -> None:
    reply = await ask(app, "/v1/traces", b"x", InvalidData("framed wrongly"))
    assert reply.status == 400
    assert check_status(reply, 3) == "framed wrongly"


async def test_on_a_busy_connection_a_request_may_come_later(app: OtlpApp) -> None:
    reply = await ask(app, "/v1/traces", spans(), state={BUSY: "server.max_connections: all 3 are taken"})
    assert (reply.status, reply.reads) == (503, 0)
    assert check_status(reply, 14) == "server.max_connections: all 3 are taken"


async def test_while_closing_new_requests_may_come_later_and_those_under_way_are_finished(
    app: OtlpApp, sink: Sink
) -> None:
    sink.hold()
    under_way = asyncio.create_task(ask(app, "/v1/traces", spans()))
    await sink.wait_for_callers(1)
    app.closing = True
    reply = await ask(app, "/v1/traces", spans())
    assert (reply.status, "retry-after" in reply.headers) == (503, True)
    assert (await ask(app, "/health/live")).status == 299
    sink.release()
    assert (await under_way).status == 200


async def test_a_request_that_the_end_of_the_server_cuts_off_may_come_again(app: OtlpApp, sink: Sink) -> None:
    sink.hold()
    cut_off = asyncio.create_task(ask(app, "/v1/traces", spans()))
    await sink.wait_for_callers(1)
    cut_off.cancel()
    reply = await cut_off
    assert (reply.status, "retry-after" in reply.headers) == (503, True)


async def test_a_request_that_memory_has_no_room_for_is_read_no_further_and_told_to_come_back(
    sink: Sink, metrics: Metrics, tmp_path: Path
) -> None:
    files = CgroupFiles(tmp_path, 256 << 20)
    files.use(256 << 20)
    meter = Meter(metrics, "http")
    headroom = Headroom(files.find(), trim=lambda: None)
    app = OtlpApp(LIMITS, Handler(sink, meter), meter, elsewhere, headroom=headroom)
    headers = [("content-type", PROTOBUF), ("content-length", "1000")]
    reply = await ask(app, Signal.TRACES.path, bytes(500), bytes(500), headers=headers)
    assert (reply.status, reply.reads, sink.requests) == (503, 1, [])
    assert reply.headers["retry-after"] in {"1", "2"}
    assert "memory is short" in check_status(reply, 14)


async def test_a_body_that_inflates_to_more_than_memory_has_room_for_is_refused_for_now(
    sink: Sink, metrics: Metrics, tmp_path: Path
) -> None:
    files = CgroupFiles(tmp_path, 256 << 20)
    files.use(228 * (1 << 20) - 500)
    meter = Meter(metrics, "http")
    headroom = Headroom(files.find(), trim=lambda: None)
    app = OtlpApp(LIMITS, Handler(sink, meter), meter, elsewhere, headroom=headroom)
    body = gzip.compress(bytes(900))
    headers = [("content-type", PROTOBUF), ("content-encoding", "gzip"), ("content-length", str(len(body)))]
    reply = await ask(app, Signal.TRACES.path, body, headers=headers)
    assert (reply.status, reply.reads, sink.requests) == (503, 1, [])
    assert "memory is short" in check_status(reply, 14)
    assert headroom.promised == 0


async def test_json_is_promised_more_and_is_refused_for_now_where_its_numbers_come_to_more_than_memory_has_room_for(
    metrics: Metrics, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.memory.headroom._PATIENCE_SECONDS", 0.01)
    promised: list[int] = []

    class Room(Sink):
        async def consume(self, request: ExportRequest) -> None:
            promised.append(headroom.promised)
            await super().consume(request)

    sink, meter, files = Room(), Meter(metrics, "http"), CgroupFiles(tmp_path, 256 << 20)
    headroom = Headroom(files.find(), trim=lambda: None)
    limits = Limits(protobuf=1 << 20, json=1 << 20, inflight=1 << 20)
    app = OtlpApp(limits, Handler(sink, meter), meter, elsewhere, headroom=headroom)
    numbers = b",".join([b"1"] * 100_000)
    point = b'{"histogram":{"dataPoints":[{"bucketCounts":[%s]}]}}' % numbers
    body = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[%s]}]}]}' % point
    headers = [("content-type", JSON), ("content-length", str(len(body)))]

    reply = await ask(app, Signal.METRICS.path, body, headers=headers)
    assert (reply.status, promised) == (200, [len(body) + 3 * len(sink.requests[0].body)])

    files.use(224 * (1 << 20) - (JSON_COPIES + 1) * len(body))  # which is enough for a body's worth of protobuf
    headroom = Headroom(files.find(), clock.monotonic, trim=lambda: None)
    app = OtlpApp(limits, Handler(sink, meter), meter, elsewhere, headroom=headroom)
    reply = await ask(app, Signal.METRICS.path, body, headers=headers)
    assert (reply.status, len(sink.requests)) == (503, 1)
    assert reply.headers["retry-after"] in {"1", "2"}
    assert "memory is short" in check_status(reply, 14)
    assert headroom.promised == 0
