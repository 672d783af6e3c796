"""What a destination said, and what became of the items."""

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from app.core.request import Signal
from app.send.answers import Answers, Outcome
from tests.support.exchange import status

PROTOBUF, JSON = "application/x-protobuf", "application/json"


def response(code: int, body: bytes = b"", kind: str | None = PROTOBUF, reason: str = "") -> requests.Response:
    made = requests.Response()
    made.status_code = code
    made.reason = reason
    made._content = body
    if kind:
        made.headers["Content-Type"] = kind
    return made


def outcome(*answers: requests.Response, succeeded: bool) -> Outcome:
    """Of ten spans, after these answers to the attempts to send them."""
    said = Answers(Signal.TRACES)
    for answer in answers:
        said.http(answer)
    return said.outcome(10, succeeded=succeeded)


def test_a_success_is_one_in_either_encoding_and_with_any_status_that_means_it() -> None:
    for answer in (
        response(200),
        response(200, kind=None),
        response(202, b"{}", JSON),
        response(200, b'{"partialSuccess": {}}', "application/json; charset=utf-8"),
        response(200, ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess()).SerializeToString()),
    ):
        assert outcome(answer, succeeded=True) == Outcome(10, 0)


def test_items_that_are_rejected_are_not_accepted() -> None:
    partly = ExportTracePartialSuccess(rejected_spans=3, error_message="too\nlong")
    body = ExportTraceServiceResponse(partial_success=partly).SerializeToString()
    assert outcome(response(200, body), succeeded=True) == Outcome(7, 3, "rejected: too long")
    body = b'{"partialSuccess": {"rejectedSpans": "2"}}'
    assert outcome(response(200, body, JSON), succeeded=True) == Outcome(8, 2, "rejected: no reason given")


def test_no_more_are_rejected_than_there_were() -> None:
    for rejected, accepted in ((99, 0), (-5, 10)):
        body = f'{{"partialSuccess": {{"rejectedSpans": {rejected}}}}}'.encode()
        assert outcome(response(200, body, JSON), succeeded=True).accepted == accepted


def test_a_redirect_is_no_success_whatever_the_sdk_says() -> None:
    refused = outcome(response(302, b"<html>", "text/html", reason="Found"), succeeded=True)
    assert refused == Outcome(0, 10, "302 Found: <html>")


def test_a_page_is_no_success_whatever_the_sdk_says() -> None:
    refused = outcome(response(200, b"<html>welcome</html>", "text/html", reason="OK"), succeeded=True)
    assert refused == Outcome(0, 10, "200 OK with text/html, which is no answer of OTLP; is this its address?")
    assert outcome(response(200, b"hello", kind=None), succeeded=True).reason.startswith("200 with no type, which is")
    assert outcome(response(200, b"[]", JSON), succeeded=True).accepted == 0


def test_a_refusal_is_told_in_the_words_of_the_destination() -> None:
    for answer in (
        response(503, status("the queue is full"), reason="Service Unavailable"),
        response(503, b'{"message": "the queue is full"}', JSON, reason="Service Unavailable"),
        response(503, b"the queue\n is full", "text/plain", reason="Service Unavailable"),
    ):
        assert outcome(answer, succeeded=False) == Outcome(0, 10, "503 Service Unavailable: the queue is full")
    assert outcome(response(502), succeeded=False) == Outcome(0, 10, "502")


def test_what_a_destination_says_controls_no_terminal() -> None:
    hostile = outcome(response(400, b"\x1b[2J\xff", "text/plain", reason="Bad"), succeeded=False)
    assert hostile.reason.isprintable()
    said = Answers(Signal.TRACES)
    said.grpc_error("INTERNAL", "\x1b[2J")
    assert said.failure == "INTERNAL: ?[2J"


def test_a_failure_counts_only_until_an_attempt_succeeds() -> None:
    assert outcome(response(503), response(200), succeeded=True) == Outcome(10, 0)
    said = Answers(Signal.TRACES)
    said.lost(requests.ConnectionError("refused"))
    assert said.failure == "ConnectionError: refused"
    said.grpc_response(ExportTraceServiceResponse())
    assert said.outcome(10, succeeded=True) == Outcome(10, 0)


def test_the_next_export_begins_anew() -> None:
    said = Answers(Signal.TRACES)
    said.http(response(200, b'{"partialSuccess": {"rejectedSpans": 2}}', JSON))
    said.forget()
    said.http(response(200))
    assert said.outcome(10, succeeded=True) == Outcome(10, 0)


def test_a_failure_without_an_answer_is_one_all_the_same() -> None:
    assert Answers(Signal.TRACES).outcome(10, succeeded=False) == Outcome(0, 10, "the SDK gave no reason")
