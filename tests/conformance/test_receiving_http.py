"""OTLP/HTTP as a client sees it. Each test names the section of the OTLP specification that it proves."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable

import pytest
import zstandard
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from app.core.request import Signal
from tests.support.exchange import Hang, Http, Success
from tests.support.gateway import JSON, PROTOBUF, REQUESTS, RESPONSES, Gateway
from tests.support.patience import PATIENCE
from tests.support.payload import JSON_SPAN, one_item, spans
from tests.support.raw_http import Answer, RawClient, post
from tests.support.wire import field

pytestmark = pytest.mark.asyncio(loop_scope="module")

signals = pytest.mark.parametrize("signal", Signal, ids=lambda signal: signal.value)
encodings = pytest.mark.parametrize("content_type", [PROTOBUF, JSON], ids=["protobuf", "json"])
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
codings = pytest.mark.parametrize("coding", CODINGS)
LARGE = {PROTOBUF: 256 << 10, JSON: 64 << 10}
"""What `gateway` takes."""


def written(signal: Signal, body: bytes, content_type: str) -> bytes:
    """A request without ids in an encoding."""
    if content_type == PROTOBUF:
        return body
    return json.dumps(MessageToDict(REQUESTS[signal].FromString(body), use_integers_for_enums=True)).encode()


def response(signal: Signal, answer: Answer) -> Message:
    """The ``Export*ServiceResponse`` of an answer, in the encoding that it names."""
    assert answer.status == 200, answer
    if answer.headers["content-type"] == JSON:
        return ParseDict(json.loads(answer.body), RESPONSES[signal]())
    assert answer.headers["content-type"] == PROTOBUF
    return RESPONSES[signal].FromString(answer.body)


def status(answer: Answer, content_type: str) -> Status:
    """The ``google.rpc.Status`` that an answer in `content_type` bears."""
    assert answer.headers["content-type"] == content_type
    if content_type == JSON:
        return ParseDict(json.loads(answer.body), Status())
    return Status.FromString(answer.body)


def status_message(answer: Answer, content_type: str) -> str:
    """The message of that Status."""
    return str(status(answer, content_type).message)


async def first_refusal(gateway: Gateway, body: bytes, key: str, *, content_type: str) -> Answer:
    """The first of many answers that is not 200."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await gateway.post(body, key, content_type=content_type)).status == 200:
            pass
        return answer


# Requests that are taken.


@signals
@encodings
async def test_a_request_is_answered_with_an_empty_response_of_its_content_type_and_arrives(
    gateway: Gateway, signal: Signal, content_type: str
) -> None:
    """OTLP/HTTP Request, OTLP/HTTP Response, Full Success: 200, the request's Content-Type, partial_success unset."""
    body = one_item(signal)
    answer, arrived = await gateway.arrives(
        gateway.post(written(signal, body, content_type), signal=signal, content_type=content_type)
    )
    assert answer.headers["content-type"] == content_type
    assert not response(signal, answer).HasField("partial_success")
    assert answer.body == (b"{}" if content_type == JSON else b"")
    assert arrived == body


@encodings
@codings
async def test_a_compressed_request_is_inflated(gateway: Gateway, coding: str, content_type: str) -> None:
    """Protocol Details: servers MUST support gzip (OTLP/HTTP Request: Content-Encoding); deflate and zstd are ours."""
    body = spans(20)
    packed = CODINGS[coding](written(Signal.TRACES, body, content_type))
    answer, arrived = await gateway.arrives(
        gateway.post(packed, f"content-encoding: {coding}", content_type=content_type)
    )
    assert (answer.status, answer.headers["content-type"], arrived) == (200, content_type, body)


@pytest.mark.parametrize("coding", ["identity", "GZIP", " gzip "])
async def test_the_name_of_a_content_encoding_is_read_as_http_has_it(gateway: Gateway, coding: str) -> None:
    """OTLP/HTTP Request, by RFC 9110, 8.4.1: names of content codings are case-insensitive."""
    body = spans()
    sent = body if coding == "identity" else gzip.compress(body)
    answer, arrived = await gateway.arrives(gateway.post(sent, f"content-encoding: {coding}"))
    assert (answer.status, arrived) == (200, body)


@pytest.mark.parametrize(
    ("content_type", "told"),
    [
        ("application/json; charset=utf-8", JSON),
        ("Application/JSON", JSON),
        ("application/json ;charset=UTF-8", JSON),
        ("APPLICATION/X-PROTOBUF", PROTOBUF),
        ("application/x-protobuf; messageType=x", PROTOBUF),
    ],
)
async def test_a_content_type_is_read_as_http_has_it(gateway: Gateway, content_type: str, told: str) -> None:
    """Binary and JSON Protobuf Encoding, by RFC 9110, 8.3.1: neither case nor parameters make another type."""
    body = JSON_SPAN if told == JSON else spans()
    answer, arrived = await gateway.arrives(gateway.post(body, content_type=content_type))
    assert (answer.status, answer.headers["content-type"], arrived) == (200, told, spans())


async def test_both_encodings_are_served_on_one_port_and_connection(gateway: Gateway) -> None:
    """OTLP/HTTP Connection: payloads in both encodings on the same port, by their Content-Type; connections last."""
    async with RawClient(gateway.service.port) as client:
        for content_type in (PROTOBUF, JSON, PROTOBUF):
            body = written(Signal.TRACES, spans(), content_type)
            answer, arrived = await gateway.arrives(client.ask(post(body, content_type=content_type)))
            assert (answer.status, answer.headers["content-type"], answer.last) == (200, content_type, False)
            assert arrived == spans()


async def test_a_body_in_chunks_is_taken_whole(gateway: Gateway) -> None:
    """OTLP/HTTP Request, by RFC 9112, 7.1: a body of unknown length comes in chunks."""
    body = spans(9)
    pieces = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])]
    head = post(b"", "transfer-encoding: chunked")
    _, arrived = await gateway.arrives(gateway.ask(head, *pieces, b"0\r\n\r\n"))
    assert arrived == body


async def test_requests_over_parallel_connections_are_all_taken(gateway: Gateway) -> None:
    """OTLP/HTTP Concurrent Requests: a client MAY send over several connections."""
    before = await gateway.accepted()
    answers = await asyncio.gather(*(gateway.post(spans()) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert await gateway.accepted() == before + 20
    await gateway.service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")


@signals
@pytest.mark.parametrize(
    ("content_type", "body"),
    [(PROTOBUF, b""), (PROTOBUF, b"\x0a\x00"), (PROTOBUF, b"\x0a\x02\x12\x00"), (JSON, b"{}")],
    ids=["nothing", "an empty resource", "an empty scope", "an empty object"],
)
async def test_a_request_without_telemetry_succeeds_and_goes_nowhere(
    gateway: Gateway, signal: Signal, content_type: str, body: bytes
) -> None:
    """Full Success: an empty request SHOULD succeed. Empty Telemetry Envelopes: receivers MAY ignore them."""
    before = await gateway.accepted(), len(gateway.backend.requests)
    answer = await gateway.post(body, signal=signal, content_type=content_type)
    assert not response(signal, answer).HasField("partial_success")
    assert (await gateway.accepted(), len(gateway.backend.requests)) == before


@signals
async def test_unknown_fields_of_protobuf_are_passed_on(gateway: Gateway, signal: Signal) -> None:
    """Future Versions and Interoperability: fields of a newer version are ignored, and a gateway loses none."""
    known = one_item(signal)
    body = field(999, b"of the request") + known + field(1, field(998, b"of a resource"))
    _, arrived = await gateway.arrives(gateway.post(body, signal=signal))
    assert arrived == body


# Requests that are refused.


@signals
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (PROTOBUF, b"\xff"),
        (PROTOBUF, b"\x0a\x05\x00"),
        (PROTOBUF, b'{"resourceSpans":[]}'),
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"[]"),
        (JSON, b"null"),
        (JSON, b"\xff"),
        (JSON, b"\x0a\x00"),
        (JSON, b"{} {}"),
    ],
)
async def test_malformed_data_is_400_with_a_status_that_says_why(
    gateway: Gateway, signal: Signal, content_type: str, body: bytes
) -> None:
    """Bad Data: 400, with a BadRequest in the details. Failures: a Status whose message tells what is wrong."""
    before = await gateway.accepted()
    answer = await gateway.post(body, signal=signal, content_type=content_type)
    assert answer.status == 400
    told, bad = status(answer, content_type), BadRequest()
    assert told.message
    assert told.details[0].Unpack(bad)
    assert [violation.description for violation in bad.field_violations] == [told.message]
    assert "retry-after" not in answer.headers
    assert await gateway.accepted() == before


@encodings
@codings
@pytest.mark.parametrize("broken", ["cut short", "something else"])
async def test_a_broken_compressed_stream_is_400(gateway: Gateway, coding: str, content_type: str, broken: str) -> None:
    """Bad Data: what cannot be decoded is 400."""
    packed = CODINGS[coding](written(Signal.TRACES, spans(20), content_type))
    body = packed[:-5] if broken == "cut short" else b"this is no stream"
    answer = await gateway.post(body, f"content-encoding: {coding}", content_type=content_type)
    assert answer.status == 400
    assert status_message(answer, content_type)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/grpc", "application/protobuf"])
async def test_another_content_type_is_415_with_a_status(gateway: Gateway, content_type: str) -> None:
    """All Other Responses: what HTTP has 415 for. Failures: with a Status."""
    answer = await gateway.post(spans(), content_type=content_type)
    assert answer.status == 415
    assert content_type in status_message(answer, PROTOBUF)


async def test_no_content_type_is_415_with_a_status(gateway: Gateway) -> None:
    """Binary and JSON Protobuf Encoding: the client MUST set Content-Type."""
    answer = await gateway.ask(b"POST /v1/traces HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n")
    assert answer.status == 415
    assert status_message(answer, PROTOBUF)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("host: other", 400),
        ("content-type: application/json", 400),
        ("content-encoding: gzip\r\ncontent-encoding: zstd", 400),
        ("transfer-encoding: chunked, gzip", 400),
        ("transfer-encoding: gzip, chunked", 501),
    ],
)
async def test_a_head_that_two_servers_could_read_differently_is_refused_for_good(
    gateway: Gateway, more: str, status: int
) -> None:
    """OTLP/HTTP Request, by RFC 9112, 3.2 and 6.1, and RFC 9110, 5.3: one Host, one Content-Type, one end of a body."""
    assert (await gateway.post(b"0\r\n\r\n", more)).status == status


@encodings
@pytest.mark.parametrize("coding", ["br", "compress", "snappy", "gzip, zstd"])
async def test_another_content_encoding_is_415_with_a_status(gateway: Gateway, coding: str, content_type: str) -> None:
    """All Other Responses, by RFC 9110, 8.4: what is not supported MAY be 415. Failures: with a Status."""
    answer = await gateway.post(b"x", f"content-encoding: {coding}", content_type=content_type)
    assert answer.status == 415
    assert status_message(answer, content_type)


@signals
@encodings
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_405_and_post_is_offered(
    gateway: Gateway, method: str, signal: Signal, content_type: str
) -> None:
    """OTLP/HTTP Request: sent by POST. By RFC 9110, 15.5.6, 405 comes with Allow; Failures: and with a Status."""
    head = f"{method} {signal.path} HTTP/1.1\r\nhost: test\r\ncontent-type: {content_type}\r\n\r\n"
    answer = await gateway.ask(head.encode())
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert method in status_message(answer, content_type)


@encodings
@pytest.mark.parametrize("path", ["/", "/v1/unknown", "/v1/traces/", "/v1/Traces", "/v1development/profiles"])
async def test_an_unknown_path_is_404_with_a_status(gateway: Gateway, path: str, content_type: str) -> None:
    """OTLP/HTTP Request: three paths. Failures: the body of every 4xx is a Status."""
    answer = await gateway.ask(post(b"", path=path, content_type=content_type))
    assert answer.status == 404
    assert status_message(answer, content_type)


class TestSize:
    """OTLP/HTTP Request: the size of a body is limited, also inflated; what exceeds it MUST be 413."""

    @encodings
    async def test_an_announced_body_above_the_limit_is_413(self, gateway: Gateway, content_type: str) -> None:
        """OTLP/HTTP Request: 413 Content Too Large."""
        answer = await gateway.post(b" " * (LARGE[content_type] + 1), content_type=content_type)
        assert answer.status == 413
        assert "retry-after" not in answer.headers
        assert status_message(answer, content_type)

    @encodings
    async def test_a_body_in_chunks_above_the_limit_is_413(self, gateway: Gateway, content_type: str) -> None:
        """OTLP/HTTP Request: 413 Content Too Large."""
        size = LARGE[content_type] + 1
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b" " * size)
        answer = await gateway.ask(post(b"", "transfer-encoding: chunked", content_type=content_type), chunk)
        assert answer.status == 413
        assert status_message(answer, content_type)

    @encodings
    @codings
    async def test_a_body_that_inflates_above_the_limit_is_413(
        self, gateway: Gateway, coding: str, content_type: str
    ) -> None:
        """OTLP/HTTP Request: "including after decompression"."""
        packed = CODINGS[coding](b" " * (LARGE[content_type] + 1))
        answer = await gateway.post(packed, f"content-encoding: {coding}", content_type=content_type)
        assert answer.status == 413
        assert status_message(answer, content_type)

    @encodings
    @pytest.mark.parametrize("coding", ["", *CODINGS])
    async def test_a_body_at_the_limit_is_taken(self, gateway: Gateway, coding: str, content_type: str) -> None:
        """OTLP/HTTP Request: only what exceeds the limit is refused."""
        if content_type == JSON:
            body = JSON_SPAN.ljust(LARGE[JSON])
        else:
            body = spans() + field(
                999, b"x" * (LARGE[PROTOBUF] - len(spans()) - 5)
            )  # two bytes of tag, three of length
        assert len(body) == LARGE[content_type]
        headers = [f"content-encoding: {coding}"] if coding else []
        packed = CODINGS[coding](body) if coding else body
        answer, arrived = await gateway.arrives(gateway.post(packed, *headers, content_type=content_type))
        assert (answer.status, arrived) == (200, spans() if content_type == JSON else body)


# What the destination says of a request, where clients wait for it.


@encodings
async def test_what_the_destination_finds_bad_is_400(delivering: Gateway, content_type: str) -> None:
    """Bad Data: invalid for good is 400, whoever finds it so."""
    delivering.backend.script(Http(400, b"no such unit", {"Content-Type": "text/plain"}))
    answer = await delivering.post(written(Signal.TRACES, spans(), content_type), content_type=content_type)
    assert answer.status == 400
    assert "no such unit" in status_message(answer, content_type)


# Who may send, and how much.


@encodings
@pytest.mark.parametrize("shown", [(), ("authorization: Bearer wrong",), ("x-api-key: wrong",)])
async def test_who_shows_no_key_is_401_with_a_status(
    guarded: Gateway, shown: tuple[str, ...], content_type: str
) -> None:
    """All Other Responses, by RFC 9110, 15.5.2: 401 comes with a challenge. Failures: and with a Status."""
    answer = await guarded.post(written(Signal.TRACES, spans(), content_type), *shown, content_type=content_type)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "retry-after" not in answer.headers
    assert status_message(answer, content_type)


@pytest.mark.parametrize("shown", ["authorization: Bearer free", "Authorization: bearer free", "X-API-Key: free"])
async def test_who_shows_a_key_is_let_in(guarded: Gateway, shown: str) -> None:
    """OTLP/HTTP Request, by RFC 9110, 11.1: the scheme and the names of headers have no case."""
    answer, arrived = await guarded.arrives(guarded.post(spans(), shown))
    assert (answer.status, arrived) == (200, spans())


@encodings
async def test_who_sends_more_than_allowed_is_429_with_retry_after(guarded: Gateway, content_type: str) -> None:
    """OTLP/HTTP Throttling: 429 with Retry-After. Failures: and with a Status."""
    body = written(Signal.TRACES, spans(), content_type)
    answer = await first_refusal(guarded, body, "x-api-key: metered", content_type=content_type)
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert status_message(answer, content_type)


@encodings
async def test_overload_is_503_with_retry_after(guarded: Gateway, content_type: str) -> None:
    """OTLP/HTTP Throttling: an overloaded server responds with 503 and Retry-After. Failures: and with a Status."""
    guarded.backend.otherwise = Hang()
    body = written(Signal.TRACES, spans(200, "n" * 20), content_type)
    answer = await first_refusal(guarded, body, "x-api-key: free", content_type=content_type)
    assert answer.status == 503
    assert answer.headers["retry-after"] in {"1", "2", "3"}
    assert status_message(answer, content_type)
    guarded.backend.otherwise = Success()
    await guarded.backend.stop()  # who waits for an answer is to ask again
    await guarded.backend.start()
    await guarded.service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
