"""What the service makes of a destination's answers. Each test names the section of the OTLP specification it proves.

One item at a time is sent through the service; how often it arrived, and what became of it, tells how an answer was
understood. A request for which an answer is final is counted as sent, dropped, or dead: it is never sent again.
"""

import gzip
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import formatdate

import grpc
import pytest
import pytest_asyncio

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.exchange import (
    Answer,
    Close,
    Grpc,
    Hang,
    Http,
    Partial,
    Raw,
    Received,
    Reset,
    Success,
    status,
)
from tests.support.gateway import JSON, PROTOBUF, Gateway
from tests.support.patience import PATIENCE
from tests.support.payload import one_item
from tests.support.scrape import Scrape

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode
signals = pytest.mark.parametrize("signal", Signal, ids=lambda signal: signal.value)
CREDENTIALS = "Bearer not-for-everybody"
IN_PROTOBUF, IN_JSON = {"Content-Type": PROTOBUF}, {"Content-Type": JSON}
HTML = {"Content-Type": "text/html; charset=utf-8"}
OVERSIZED = 5 << 20
"""Bytes of an answer above the 4 MiB that are read of one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def over_http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Sends over HTTP, with credentials."""
    settings = {"exporter": {"headers": {"authorization": CREDENTIALS}}}
    async with Gateway(tmp_path_factory.mktemp("http"), settings) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def over_grpc(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Sends over gRPC, with credentials."""
    settings = {"exporter": {"headers": {"authorization": CREDENTIALS}}}
    async with Gateway(tmp_path_factory.mktemp("grpc"), settings, "grpc") as gateway:
        yield gateway


@pytest.fixture(scope="module", params=["http", "grpc"])
def either(request: pytest.FixtureRequest, over_http: Gateway, over_grpc: Gateway) -> Gateway:
    """Each of the two."""
    return over_http if request.param == "http" else over_grpc


@pytest_asyncio.fixture(loop_scope="module", params=["http/protobuf", "grpc"], ids=["http", "grpc"])
async def impatient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Waits for answers for half a second."""
    settings = {"exporter": {"timeout": "500ms"}}
    async with Gateway(tmp_path_factory.mktemp("impatient"), settings, request.param) as gateway:
        yield gateway


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one item: how often it was sent, and as what it was counted in the end."""

    requests: int
    sent: int = 0
    dead: int = 0
    dropped: int = 0


TAKEN_ONCE, DEAD_ONCE = Fate(1, sent=1), Fate(1, dead=1)


async def fate(gateway: Gateway, *answers: Answer, signal: Signal = Signal.TRACES) -> Fate:
    """Send one item, which is answered so, and what comes then with success."""
    before = (await gateway.service.law()).books(signal)
    earlier = len(gateway.backend.requests)
    gateway.backend.script(*answers)
    body = one_item(signal)
    assert (await gateway.post(body, signal=signal)).status == 200

    def decided(scrape: Scrape) -> bool:
        books = scrape.books(signal)
        return books.accepted == before.accepted + 1 and books.queued == 0

    after = (await gateway.service.settled(decided, "its fate is decided")).books(signal)
    requests = gateway.backend.requests[earlier:]
    assert all(received.body == body and received.signal is signal for received in requests)
    return Fate(len(requests), after.sent - before.sent, after.dead - before.dead, after.dropped - before.dropped)


# Requests.


@signals
async def test_a_request_goes_to_its_signals_place_as_it_came(either: Gateway, signal: Signal) -> None:
    """OTLP/gRPC and OTLP/HTTP Request: a service or a path for each signal; the exporter says who it is."""
    assert await fate(either, signal=signal) == TAKEN_ONCE
    received = either.backend.taken[-1]
    assert received.headers["authorization"] == CREDENTIALS
    assert received.headers["user-agent"].startswith("otlp-service/")


async def test_a_request_over_http_names_its_type_and_compression(over_http: Gateway) -> None:
    """Binary Protobuf Encoding: Content-Type MUST be set. OTLP/HTTP Request: and Content-Encoding with gzip."""
    assert await fate(over_http) == TAKEN_ONCE
    received = over_http.backend.taken[-1]
    assert (received.headers["content-type"], received.headers["content-encoding"]) == (PROTOBUF, "gzip")
    assert gzip.decompress(received.wire) == received.body


async def test_the_connection_is_kept_between_requests(either: Gateway) -> None:
    """OTLP/HTTP Connection: the client SHOULD keep the connection alive; so does OTLP/gRPC."""
    assert [await fate(either) for _ in range(3)] == [TAKEN_ONCE] * 3
    assert len({received.peer for received in either.backend.taken[-3:]}) == 1


# Answers over HTTP.


@signals
@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_a_retryable_status_is_tried_again(over_http: Gateway, code: int, signal: Signal) -> None:
    """Retryable Response Codes: 429, 502, 503 and 504 SHOULD be retried; without Retry-After with a backoff."""
    assert await fate(over_http, Http(code), Http(code), signal=signal) == Fate(3, sent=1)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (IN_PROTOBUF, status("busy")),
        (IN_JSON, b'{"message":"busy"}'),
        (HTML, b"<html>busy</html>"),
        ({"Content-Type": "text/plain"}, b"busy"),
        (IN_PROTOBUF, b"\xff\xff"),
        (IN_JSON, b"{"),
    ],
    ids=["protobuf", "JSON", "HTML", "text", "broken protobuf", "broken JSON"],
)
async def test_the_status_counts_whatever_the_body_of_an_answer_is(
    over_http: Gateway, headers: dict[str, str], body: bytes
) -> None:
    """Failures: clients honour the response status codes, and do not depend on the Status in the body."""
    assert await fate(over_http, Http(503, body, headers)) == Fate(2, sent=1)
    assert await fate(over_http, Http(400, body, headers)) == DEAD_ONCE


@signals
@pytest.mark.parametrize("code", [400, 500])
async def test_what_the_destination_cannot_decode_is_not_tried_again(
    over_http: Gateway, code: int, signal: Signal
) -> None:
    """Bad Data: the client MUST NOT retry a 400. Retryable Response Codes: nor a 500."""
    assert await fate(over_http, Http(code), signal=signal) == DEAD_ONCE


@pytest.mark.parametrize(
    "code",
    [
        *(401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418),
        *(421, 422, 423, 424, 425, 426, 428, 431, 451),
        *(501, 505, 506, 507, 508, 510, 511),
    ],
)
async def test_no_other_status_is_tried_again(over_http: Gateway, code: int) -> None:
    """Retryable Response Codes: all other 4xx or 5xx MUST NOT be retried."""
    assert await fate(over_http, Http(code)) == DEAD_ONCE


@pytest.mark.parametrize("code", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_with_credentials(over_http: Gateway, code: int) -> None:
    """All Other Responses, by RFC 9110, 15.4: a POST is not redirected by itself, nor are credentials passed on."""
    async with Backend() as elsewhere:
        location = f"{elsewhere.http_endpoint}{Signal.TRACES.path}"
        assert await fate(over_http, Http(code, headers={"Location": location})) == DEAD_ONCE
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        Http(200, b"", IN_PROTOBUF),
        Http(200),
        Http(200, b"{}", IN_JSON),
        Http(202),
        Http(204),
        Http(200, b"\xff\xff", IN_PROTOBUF),
        Http(200, b"{", IN_JSON),
        Http(200, b"<html>OK</html>", HTML),
        Http(200, b"OK", {"Content-Type": "text/plain"}),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        Http(200, bytes(OVERSIZED), IN_PROTOBUF),
        Http(200, b" " * OVERSIZED, IN_JSON),
        Http(200, gzip.compress(bytes(64 << 20)), {**IN_PROTOBUF, "Content-Encoding": "gzip"}),
    ],
    ids=[
        *("empty", "without a type", "JSON", "202", "204", "broken protobuf", "broken JSON", "HTML", "text"),
        *("broken off", "oversized", "oversized JSON", "a bomb"),
    ],
)
async def test_a_success_is_not_tried_again_whatever_its_body_is(over_http: Gateway, answer: Answer) -> None:
    """Full Success. OTLP/HTTP Response: an answer is read up to a limit, and one above it is not retried."""
    assert await fate(over_http, answer) == TAKEN_ONCE


@pytest.mark.parametrize("code", [400, 429, 503])
async def test_an_oversized_answer_is_not_tried_again(over_http: Gateway, code: int) -> None:
    """OTLP/HTTP Response: one above the limit MUST be treated as a non-retryable error, also if it says to retry."""
    assert await fate(over_http, Http(code, bytes(OVERSIZED), HTML)) == DEAD_ONCE


@pytest.mark.parametrize(
    "answer",
    [
        Reset(),
        Close(),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
        Raw(b"SSH-2.0-OpenSSH_9.9\r\n"),
    ],
    ids=["reset", "closed", "a head that breaks off", "not HTTP"],
)
async def test_what_ends_without_an_answer_is_sent_again(over_http: Gateway, answer: Answer) -> None:
    """All Other Responses: if the server disconnects without a response, the client SHOULD send the same request."""
    assert await fate(over_http, answer) == Fate(2, sent=1)
    assert await fate(over_http, answer, answer, answer) == Fate(4, sent=1)


# Answers over gRPC.


@signals
@pytest.mark.parametrize(
    "code",
    [Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.OUT_OF_RANGE, Code.UNAVAILABLE, Code.DATA_LOSS],
    ids=lambda code: code.name,
)
async def test_a_retryable_code_is_tried_again(over_grpc: Gateway, code: Code, signal: Signal) -> None:
    """OTLP/gRPC Response, Failures: the table's "Yes"."""
    assert await fate(over_grpc, Grpc(code), Grpc(code), signal=signal) == Fate(3, sent=1)


@pytest.mark.parametrize("retry", [None, 0.1], ids=["alone", "with RetryInfo"])
@pytest.mark.parametrize(
    "code",
    [
        *(Code.UNKNOWN, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.PERMISSION_DENIED),
        *(Code.UNAUTHENTICATED, Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED, Code.INTERNAL),
    ],
    ids=lambda code: code.name,
)
async def test_another_code_is_not_tried_again(over_grpc: Gateway, code: Code, retry: float | None) -> None:
    """OTLP/gRPC Response, Failures: the table's "No"; RetryInfo changes it for RESOURCE_EXHAUSTED only."""
    assert await fate(over_grpc, Grpc(code, "no", retry)) == DEAD_ONCE


@signals
async def test_resource_exhausted_is_tried_again_with_retry_info_only(over_grpc: Gateway, signal: Signal) -> None:
    """OTLP/gRPC Response, Failures: retryable only if the server signals that it can recover, by RetryInfo."""
    assert await fate(over_grpc, Grpc(Code.RESOURCE_EXHAUSTED, "full"), signal=signal) == DEAD_ONCE
    assert await fate(over_grpc, Grpc(Code.RESOURCE_EXHAUSTED, "full", 0.1), signal=signal) == Fate(2, sent=1)


@pytest.mark.parametrize("answer", [Raw(b"\xff\xff"), Raw(bytes(OVERSIZED))], ids=["broken", "oversized"])
async def test_a_success_over_grpc_is_not_tried_again_whatever_its_message_is(
    over_grpc: Gateway, answer: Answer
) -> None:
    """OTLP/gRPC Response: a response above the size limit is not retried, though gRPC says RESOURCE_EXHAUSTED."""
    assert await fate(over_grpc, answer) == TAKEN_ONCE


# Partial success.


@signals
@pytest.mark.parametrize("encoded", [False, True], ids=["protobuf", "json"])
async def test_a_partial_success_is_not_tried_again_and_what_was_rejected_is_counted(
    over_http: Gateway, signal: Signal, encoded: bool
) -> None:
    """OTLP/HTTP Response, Partial Success: MUST NOT be retried. Failures: dropped data SHOULD be counted."""
    assert await fate(over_http, Partial(1, "too old", json=encoded), signal=signal) == Fate(1, dropped=1)
    assert "too old" in over_http.service.log
    scrape = await over_http.service.metrics()
    assert scrape.total("otlp_exporter_dropped_items_total", signal=signal.value, reason="rejected") >= 1


@signals
async def test_a_partial_success_over_grpc_is_not_tried_again_and_what_was_rejected_is_counted(
    over_grpc: Gateway, signal: Signal
) -> None:
    """OTLP/gRPC Response, Partial Success: MUST NOT be retried. Failures: dropped data SHOULD be counted."""
    assert await fate(over_grpc, Partial(1, "too old"), signal=signal) == Fate(1, dropped=1)
    assert "too old" in over_grpc.service.log


@signals
async def test_a_success_with_a_remark_only_is_one(either: Gateway, signal: Signal) -> None:
    """Partial Success: with 0 rejected and a message, the request was fully accepted."""
    assert await fate(either, Partial(0, "that attribute is deprecated"), signal=signal) == TAKEN_ONCE


# Throttling.


@dataclass(slots=True)
class Throttle:
    """Answers the first request by `answer`, which is made then, and notes when requests came."""

    answer: Callable[[], Answer]
    came: list[float] = field(default_factory=list)
    """By the monotonic clock."""

    def __call__(self, _: Received) -> Answer:
        self.came.append(time.monotonic())
        return self.answer() if len(self.came) == 1 else Success()


async def waited(gateway: Gateway, answer: Callable[[], Answer]) -> float:
    """How many seconds passed between a request that was answered so, and the same request sent again."""
    throttle = gateway.backend.otherwise = Throttle(answer)
    try:
        assert await fate(gateway) == Fate(2, sent=1)
    finally:
        gateway.backend.otherwise = Success()
    first, second = throttle.came
    return second - first


def until_a_second_later(*, dated: bool) -> Answer:
    """A Retry-After that is a date: a second after the response's own, of long ago; or at least one from now on."""
    if dated:
        headers = {"Date": formatdate(1e9, usegmt=True), "Retry-After": formatdate(1e9 + 1, usegmt=True)}
    else:
        headers = {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
    return Http(503, headers=headers)


# That something is not sent before a time is no matter of how fast the machine is.
@pytest.mark.parametrize(
    "answer",
    [
        lambda: Http(503, headers={"Retry-After": "1"}),
        lambda: Http(429, headers={"Retry-After": "1"}),
        lambda: until_a_second_later(dated=True),
        lambda: until_a_second_later(dated=False),
        lambda: Http(503, status("busy", 1), IN_PROTOBUF),
    ],
    ids=["seconds", "with 429", "a date", "a date by our clock", "RetryInfo"],
)
async def test_a_request_is_not_sent_again_before_the_time_that_retry_after_names(
    over_http: Gateway, answer: Callable[[], Answer]
) -> None:
    """OTLP/HTTP Throttling: Retry-After SHOULD be honoured, in seconds or as an HTTP-date."""
    assert await waited(over_http, answer) >= 0.99


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED], ids=lambda code: code.name)
async def test_a_request_is_not_sent_again_before_the_time_that_retry_info_names(
    over_grpc: Gateway, code: Code
) -> None:
    """OTLP/gRPC Throttling: the client waits until retry_delay has passed since the error."""
    assert await waited(over_grpc, lambda: Grpc(code, "busy", 1)) >= 0.99


async def test_a_delay_of_a_day_is_cut_to_what_is_configured(either: Gateway) -> None:
    """Throttling: Retry-After and RetryInfo are the destination's to choose, and no way to stop a client for good."""
    day = 86_400
    http = Http(503, headers={"Retry-After": str(day)})
    answer = Grpc(Code.UNAVAILABLE, "", day) if either.protocol == "grpc" else http
    assert await fate(either, answer) == Fate(2, sent=1)


@pytest.mark.parametrize("value", ["", "soon", "-1", "1e9999", "٣", "Mon, 99 Foo 2025 00:00:00 GMT"])
async def test_a_retry_after_that_says_nothing_is_as_if_it_were_not_there(over_http: Gateway, value: str) -> None:
    """OTLP/HTTP Throttling: without Retry-After the client backs off by itself."""
    answer = Http(503, headers={"Retry-After": value.encode().decode("latin-1")})
    assert await fate(over_http, answer) == Fate(2, sent=1)


# Connections.


async def test_what_a_destination_does_not_answer_in_time_is_sent_again(impatient: Gateway) -> None:
    """All Other Responses, and DEADLINE_EXCEEDED of the table: no answer in time is no answer."""
    impatient.backend.script(Hang(), Hang())
    assert (await impatient.post(one_item(Signal.TRACES))).status == 200
    scrape = await impatient.service.settled(lambda s: s.books(Signal.TRACES).sent == 1, "it is delivered")
    assert scrape.books(Signal.TRACES).dead == 0
    await impatient.backend.received(lambda backend: len(backend.abandoned) >= 2, timeout=PATIENCE)


async def test_a_connection_that_is_lost_while_waiting_is_made_again(either: Gateway) -> None:
    """All Other Responses: the client SHOULD send the same request; over gRPC it is UNAVAILABLE."""
    backend, earlier = either.backend, len(either.backend.requests)
    backend.script(Hang())
    before = (await either.service.law()).books(Signal.TRACES)
    assert (await either.post(one_item(Signal.TRACES))).status == 200
    await backend.received(lambda backend: len(backend.requests) > earlier, timeout=PATIENCE)
    await backend.stop()
    await backend.start()
    scrape = await either.service.settled(lambda s: s.books(Signal.TRACES).sent == before.sent + 1, "it is delivered")
    assert scrape.books(Signal.TRACES).dead == before.dead


async def test_a_destination_that_is_not_there_is_tried_until_it_is(either: Gateway) -> None:
    """OTLP/HTTP Connection: if the client cannot connect, it SHOULD retry with an exponential backoff with jitter."""
    before = await either.service.law()
    await either.backend.stop()
    for signal in Signal:
        assert (await either.post(one_item(signal), signal=signal)).status == 200

    def attempts(scrape: Scrape, signal: Signal) -> float:
        codes = ("connection", Code.UNAVAILABLE.name)
        return sum(scrape.total("otlp_exporter_requests_total", signal=signal.value, code=code) for code in codes)

    for signal in Signal:
        enough = attempts(before, signal) + 2
        await either.service.settled(
            lambda s, signal=signal, enough=enough: attempts(s, signal) >= enough, "it is tried more than once"
        )
    await either.backend.start()
    for signal in Signal:
        sent = before.books(signal).sent + 1
        await either.service.settled(lambda s, signal=signal, sent=sent: s.books(signal).sent == sent, "delivered")
