"""What an answer means, status by status."""

import json
from collections.abc import Mapping

import pytest
from grpc import StatusCode

from app.core.errors import InvalidData, NotAllowed, PartlyRejected, Retryable, TooLarge
from app.core.request import ExportRequest, Signal
from app.exporters.answer import PartialSuccess
from app.exporters.verdict import HttpAnswer, grpc_error, http_error, media_type, partly_rejected
from tests.support.exchange import status

THERE = "http://there/v1/traces"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json; charset=utf-8"}
TEXT = {"Content-Type": "text/plain"}


def answered(code: int, body: bytes = b"", headers: Mapping[str, str] | None = None, now: float = 0) -> Exception:
    return http_error(THERE, HttpAnswer(code, headers or {}, body), now)


class TestHttp:
    @pytest.mark.parametrize("code", [429, 502, 503, 504])
    def test_status_that_passes_is_retryable(self, code: int) -> None:
        error = answered(code)
        assert isinstance(error, Retryable)
        assert error.reason == "unavailable"
        assert error.delay is None

    @pytest.mark.parametrize("code", [401, 402, 403, 404, 405, 407, 410, 415, 421, 426, 501, 505, 511])
    def test_status_about_us_is_not_allowed_and_has_a_remedy(self, code: int) -> None:
        error = answered(code)
        assert isinstance(error, NotAllowed)
        assert "; see " in str(error)

    def test_status_about_the_size_is_too_large(self) -> None:
        assert isinstance(answered(413), TooLarge)

    @pytest.mark.parametrize("code", [400, 406, 408, 409, 411, 418, 422, 431, 451, 499, 500, 506, 507, 508, 520, 599])
    def test_every_other_status_refuses_the_data(self, code: int) -> None:
        error = answered(code)
        assert type(error) is InvalidData
        assert error.reason == "invalid"

    @pytest.mark.parametrize("code", [101, 300, 301, 302, 303, 304, 307, 308])
    def test_redirect_is_not_followed_and_says_where_it_leads(self, code: int) -> None:
        error = answered(code, headers={"Location": "https://elsewhere/v1/traces"})
        assert isinstance(error, NotAllowed)
        assert "https://elsewhere/v1/traces" in str(error)
        assert "exporter.endpoint" in str(error)

    @pytest.mark.parametrize("code", [429, 502, 503, 504])
    def test_status_with_an_oversized_body_is_final_and_not_about_the_data(self, code: int) -> None:
        error = http_error(THERE, HttpAnswer(code, {}, b"x", oversized=True), 0)
        assert isinstance(error, NotAllowed)
        assert "too large" in str(error)
        assert "exporter.endpoint" in str(error)

    def test_redirect_to_nowhere_is_told_as_such(self) -> None:
        assert "to nowhere" in str(answered(302))

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (status("ids of a wrong length"), PROTOBUF),
            (json.dumps({"message": "ids of a wrong length"}).encode(), JSON),
            (b"ids of\r\na wrong\x00length", TEXT),
            (b"ids of a wrong length", {}),
        ],
    )
    def test_message_quotes_what_the_destination_says(self, body: bytes, headers: dict[str, str]) -> None:
        message = str(answered(400, body, headers))
        assert message.startswith(f"{THERE} answered 400 Bad Request: ")
        assert '"ids of' in message
        assert "\x00" not in message

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (b"\xff\xff", PROTOBUF),
            (b"{", JSON),
            (b"<html><h1>Bad Request</h1></html>", {"Content-Type": "text/html"}),
            (b" \n ", TEXT),
        ],
    )
    def test_message_leaves_out_what_says_nothing(self, body: bytes, headers: dict[str, str]) -> None:
        assert str(answered(400, body, headers)) == f"{THERE} answered 400 Bad Request"

    def test_message_is_short_however_long_the_body_is(self) -> None:
        assert len(str(answered(400, b"x" * 1_000_000, TEXT))) < 300

    def test_status_without_a_name_is_told_by_its_number(self) -> None:
        assert str(answered(599)) == f"{THERE} answered 599"


class TestHttpDelay:
    def delay(self, headers: dict[str, str], body: bytes = b"", now: float = 0) -> float | None:
        error = answered(503, body, headers, now)
        assert isinstance(error, Retryable)
        return error.delay

    def test_is_retry_after_in_seconds(self) -> None:
        assert self.delay({"Retry-After": "7"}) == 7

    def test_is_retry_after_as_a_date_by_our_clock(self) -> None:
        assert self.delay({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, now=784_111_700) == 77

    def test_is_retry_after_as_a_date_by_their_clock_where_they_tell_it(self) -> None:
        headers = {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 08:49:27 GMT"}
        assert self.delay(headers, now=2e9) == 10

    def test_is_retry_info_in_the_body(self) -> None:
        assert self.delay(PROTOBUF, status("busy", 2.5)) == 2.5

    def test_is_retry_info_in_a_json_body(self) -> None:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}]
        assert self.delay(JSON, json.dumps({"details": details}).encode()) == 2.5

    def test_is_the_longer_one_where_both_are_there(self) -> None:
        assert self.delay({**PROTOBUF, "Retry-After": "7"}, status("busy", 2.5)) == 7
        assert self.delay({**PROTOBUF, "Retry-After": "1"}, status("busy", 2.5)) == 2.5

    @pytest.mark.parametrize("value", ["0", "soon", "-1", "Sun, 06 Nov 1994 08:49:37 GMT"])
    def test_is_none_when_nothing_is_asked(self, value: str) -> None:
        assert self.delay({"Retry-After": value}, now=2e9) is None


RETRYABLE_CODES = [
    StatusCode.CANCELLED,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.ABORTED,
    StatusCode.OUT_OF_RANGE,
    StatusCode.UNAVAILABLE,
    StatusCode.DATA_LOSS,
]
NOT_ALLOWED_CODES = [StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED, StatusCode.UNIMPLEMENTED]
OTHER_CODES = [code for code in StatusCode if code not in {*RETRYABLE_CODES, *NOT_ALLOWED_CODES, StatusCode.OK}]


class TestGrpc:
    @pytest.mark.parametrize("code", RETRYABLE_CODES, ids=lambda code: code.name)
    def test_code_that_passes_is_retryable(self, code: StatusCode) -> None:
        error = grpc_error("there:4317", code, "busy", {})
        assert isinstance(error, Retryable)
        assert error.delay is None
        assert str(error) == f'there:4317 answered {code.name}: "busy"'

    @pytest.mark.parametrize("code", NOT_ALLOWED_CODES, ids=lambda code: code.name)
    def test_code_about_us_is_not_allowed_and_has_a_remedy(self, code: StatusCode) -> None:
        error = grpc_error("there:4317", code, "", {})
        assert isinstance(error, NotAllowed)
        assert "; see exporter." in str(error)

    @pytest.mark.parametrize("code", OTHER_CODES, ids=lambda code: code.name)
    def test_every_other_code_refuses_the_data(self, code: StatusCode) -> None:
        assert type(grpc_error("there:4317", code, "", {})) is InvalidData

    def test_retry_info_is_the_delay(self) -> None:
        error = grpc_error("there:4317", StatusCode.UNAVAILABLE, "", {"grpc-status-details-bin": status("", 1.5)})
        assert isinstance(error, Retryable)
        assert error.delay == 1.5

    @pytest.mark.parametrize("seconds", [0, 3])
    def test_exhausted_is_retryable_with_retry_info_only(self, seconds: float) -> None:
        trailers = {"grpc-status-details-bin": status("", seconds)}
        error = grpc_error("there:4317", StatusCode.RESOURCE_EXHAUSTED, "", trailers)
        assert isinstance(error, Retryable)
        assert error.delay == (seconds or None)

    @pytest.mark.parametrize("trailer", [status("busy"), b"\xff", "text"])
    def test_exhausted_without_readable_retry_info_refuses_the_data(self, trailer: str | bytes) -> None:
        trailers = {"grpc-status-details-bin": trailer}
        assert type(grpc_error("there:4317", StatusCode.RESOURCE_EXHAUSTED, "quota", trailers)) is InvalidData

    @pytest.mark.parametrize(
        ("code", "details"),
        [
            (StatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max (4194305 vs. 4194304)"),
            (StatusCode.RESOURCE_EXHAUSTED, "grpc: received message after decompression larger than max 4194304"),
            (StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (5242880 vs. 4194304)"),
            (StatusCode.OUT_OF_RANGE, "Error, decoded message length too large: found 5242880 bytes, the limit is: 4"),
        ],
    )
    def test_what_servers_say_of_the_size_is_too_large(self, code: StatusCode, details: str) -> None:
        assert isinstance(grpc_error("there:4317", code, details, {}), TooLarge)


class TestPartlyRejected:
    def test_says_how_many_of_how_many_and_why(self) -> None:
        error = partly_rejected("there", ExportRequest(Signal.LOGS, b"", 10), PartialSuccess(3, "too\nold"))
        assert isinstance(error, PartlyRejected)
        assert error.items == 3
        assert error.reason == "rejected"
        assert str(error) == 'there rejected 3 of 10 log records: "too old"'

    def test_is_never_more_than_was_sent(self) -> None:
        assert partly_rejected("there", ExportRequest(Signal.LOGS, b"", 10), PartialSuccess(2**60)).items == 10


@pytest.mark.parametrize(
    ("header", "media"),
    [("Application/JSON ; charset=utf-8", "application/json"), ("text/plain", "text/plain"), (";", ""), ("", "")],
)
def test_a_media_type_is_parsed_not_compared(header: str, media: str) -> None:
    assert media_type({"Content-Type": header}) == media
    assert media_type({}) == ""
