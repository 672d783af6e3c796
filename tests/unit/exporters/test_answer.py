"""What a destination's answer says."""

import json

import orjson
import pytest

from app.core.request import Signal
from app.exporters.answer import (
    PartialSuccess,
    Reason,
    http_date,
    plain,
    read_partial_success,
    read_retry_after,
    read_status,
    read_status_json,
)
from tests.support.exchange import Partial, status

RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
REJECTED_KEYS = {
    Signal.TRACES: "rejectedSpans",
    Signal.METRICS: "rejectedDataPoints",
    Signal.LOGS: "rejectedLogRecords",
}


@pytest.mark.parametrize("signal", Signal)
class TestPartialSuccess:
    def test_is_read_from_protobuf(self, signal: Signal) -> None:
        body = Partial(3, "too old").to_protobuf(signal)
        assert read_partial_success(signal, body, json=False) == PartialSuccess(3, "too old")

    def test_is_read_from_json_with_the_number_as_text(self, signal: Signal) -> None:
        body = json.dumps({"partialSuccess": {REJECTED_KEYS[signal]: "3", "errorMessage": "too old"}}).encode()
        assert read_partial_success(signal, body, json=True) == PartialSuccess(3, "too old")

    def test_is_read_from_json_with_the_number_as_number(self, signal: Signal) -> None:
        body = json.dumps({"partialSuccess": {REJECTED_KEYS[signal]: 3}}).encode()
        assert read_partial_success(signal, body, json=True) == PartialSuccess(3, "")

    def test_is_nothing_in_an_empty_response(self, signal: Signal) -> None:
        assert read_partial_success(signal, b"", json=False) == PartialSuccess()
        assert read_partial_success(signal, b"{}", json=True) == PartialSuccess()
        assert read_partial_success(signal, b'{"partialSuccess": null}', json=True) == PartialSuccess()

    @pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\x7f"])
    def test_in_broken_protobuf_is_a_value_error(self, signal: Signal, body: bytes) -> None:
        with pytest.raises(ValueError, match="not an export response"):
            read_partial_success(signal, body, json=False)

    @pytest.mark.parametrize("text", ["", "{", "\xff"])
    def test_in_what_is_no_json_is_a_value_error(self, signal: Signal, text: str) -> None:
        with pytest.raises(orjson.JSONDecodeError):
            read_partial_success(signal, text.encode("latin-1"), json=True)

    @pytest.mark.parametrize("text", ["[]", '"text"', '{"partialSuccess": 3}'])
    def test_in_what_is_no_json_object_is_a_value_error(self, signal: Signal, text: str) -> None:
        with pytest.raises(ValueError, match="no JSON object"):
            read_partial_success(signal, text.encode(), json=True)

    @pytest.mark.parametrize("rejected", ["three", 1.5, [], {}])
    def test_with_a_number_that_is_none_is_a_value_error(self, signal: Signal, rejected: object) -> None:
        body = json.dumps({"partialSuccess": {REJECTED_KEYS[signal]: rejected}}).encode()
        with pytest.raises(ValueError, match=r"no number|invalid literal"):
            read_partial_success(signal, body, json=True)

    def test_with_a_message_that_is_no_text_keeps_the_number(self, signal: Signal) -> None:
        body = json.dumps({"partialSuccess": {REJECTED_KEYS[signal]: 1, "errorMessage": {}}}).encode()
        assert read_partial_success(signal, body, json=True) == PartialSuccess(1, "")


class TestStatus:
    def test_says_why_and_how_long_to_wait(self) -> None:
        assert read_status(status("busy", 1.5)) == Reason("busy", 1.5)

    def test_without_retry_info_has_no_delay(self) -> None:
        assert read_status(status("busy")) == Reason("busy", None)

    def test_with_an_empty_retry_info_has_a_delay_of_zero(self) -> None:
        assert read_status(status("busy", 0)) == Reason("busy", 0.0)

    def test_never_asks_to_have_come_earlier(self) -> None:
        assert read_status(status("busy", -3)) == Reason("busy", 0.0)

    def test_that_is_broken_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="not a Status"):
            read_status(b"\xff")

    def test_is_read_from_json(self) -> None:
        body = {"code": 14, "message": "busy", "details": [{"@type": RETRY_INFO, "retryDelay": "1.5s"}]}
        assert read_status_json(json.dumps(body).encode()) == Reason("busy", 1.5)

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"details": None},
            {"details": {}},
            {"details": [1, None, {}]},
            {"details": [{"@type": "type.googleapis.com/google.rpc.Help"}]},
            {"message": ["busy"]},
        ],
    )
    def test_in_json_that_lacks_things_says_nothing(self, body: object) -> None:
        assert read_status_json(json.dumps(body).encode()) == Reason()

    def test_in_json_with_an_empty_retry_info_has_a_delay_of_zero(self) -> None:
        assert read_status_json(json.dumps({"details": [{"@type": RETRY_INFO}]}).encode()) == Reason("", 0.0)

    @pytest.mark.parametrize("delay", ["soon", "-1s", "nan", "inf", "1e999s"])
    def test_in_json_with_a_delay_that_is_none_is_a_value_error(self, delay: str) -> None:
        body = {"details": [{"@type": RETRY_INFO, "retryDelay": delay}]}
        with pytest.raises(ValueError, match=r"no delay|could not convert"):
            read_status_json(json.dumps(body).encode())


class TestRetryAfter:
    @pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("7", 7), (" 120 ", 120), ("9" * 30, float("9" * 30))])
    def test_is_a_number_of_seconds(self, value: str, seconds: float) -> None:
        assert read_retry_after(value, now=0) == seconds

    def test_is_an_http_date(self) -> None:
        now = 784_111_700.0
        assert read_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now) == 77.0

    def test_is_now_when_its_date_has_passed(self) -> None:
        assert read_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now=2e9) == 0.0

    @pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "٣", "Sun, 99 Nov 1994 08:49:37 GMT"])
    def test_that_is_neither_is_none(self, value: str) -> None:
        assert read_retry_after(value, now=0) is None

    def test_takes_a_date_without_a_zone_as_utc(self) -> None:
        assert http_date("Sun, 06 Nov 1994 08:49:37 -0000") == http_date("Sun, 06 Nov 1994 08:49:37 GMT")


class TestPlainText:
    def test_is_left_as_it_is(self) -> None:
        assert plain("größer als ASCII, 中文, 🙂") == "größer als ASCII, 中文, 🙂"

    def test_is_one_line(self) -> None:
        assert plain(" a\n\r\n\tb  c ") == "a b c"

    def test_controls_no_terminal(self) -> None:
        assert plain("\x1b[31mred\x07\x9b\u202e\x00") == "?[31mred????"

    def test_ends_at_the_limit(self) -> None:
        assert plain("x" * 200) == "x" * 200
        assert plain("x" * 10_000) == "x" * 199 + "…"
        assert plain("abcdef", limit=4) == "abc…"
