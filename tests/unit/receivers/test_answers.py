"""Every way to say no, in the words of both transports."""

import json
import math

import grpc
import pytest
from google.protobuf.json_format import Parse
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from app.core.errors import (
    InvalidData,
    NotAllowed,
    PartlyRejected,
    Refused,
    Retryable,
    TooLarge,
    UnsupportedEncoding,
)
from app.core.request import Signal
from app.receivers.answers import (
    LONGEST_DELAY,
    TAKEN,
    answer_to,
    grpc_trailers,
    response_json,
    response_protobuf,
    retry_after,
    retry_delay,
    status_json,
    status_protobuf,
)

RESPONSES = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans"),
    Signal.METRICS: (ExportMetricsServiceResponse, "rejected_data_points"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records"),
}


@pytest.mark.parametrize(
    ("error", "status", "code", "reason"),
    [
        (Retryable("full", reason="queue_full"), 503, grpc.StatusCode.UNAVAILABLE, "queue_full"),
        (InvalidData("cut short"), 400, grpc.StatusCode.INVALID_ARGUMENT, "invalid"),
        (TooLarge("17 MiB"), 413, grpc.StatusCode.RESOURCE_EXHAUSTED, "too_large"),
        (UnsupportedEncoding("br"), 415, grpc.StatusCode.INVALID_ARGUMENT, "unsupported"),
        (NotAllowed("401"), 403, grpc.StatusCode.PERMISSION_DENIED, "not_allowed"),
        (Refused("no", reason="odd"), 400, grpc.StatusCode.INVALID_ARGUMENT, "odd"),
    ],
)
def test_each_error_has_its_status_and_its_code(
    error: Exception, status: int, code: grpc.StatusCode, reason: str
) -> None:
    answer = answer_to(error)
    assert (answer.status, answer.code, answer.reason) == (status, code, reason)
    assert answer.message == str(error)
    assert answer.retryable == isinstance(error, Retryable)


def test_a_fault_of_ours_is_retryable_and_tells_nothing_of_itself() -> None:
    answer = answer_to(KeyError("secret"))
    assert (answer.status, answer.code, answer.reason) == (503, grpc.StatusCode.UNAVAILABLE, "internal")
    assert answer.retryable
    assert "secret" not in answer.message


def test_a_partial_success_is_a_success() -> None:
    answer = answer_to(PartlyRejected("two have no name", items=2))
    assert (answer.status, answer.code, answer.reason) == (200, grpc.StatusCode.OK, "")
    assert not answer.retryable


@pytest.mark.parametrize("signal", Signal)
def test_a_partial_success_is_told_in_both_encodings(signal: Signal) -> None:
    answer = answer_to(PartlyRejected("two have no name", items=2))
    message, field = RESPONSES[signal]
    binary = message.FromString(response_protobuf(answer))
    text = Parse(response_json(signal, answer), message())
    assert binary == text
    assert getattr(binary.partial_success, field) == 2
    assert binary.partial_success.error_message == "two have no name"


@pytest.mark.parametrize("signal", Signal)
def test_a_full_success_is_an_empty_message(signal: Signal) -> None:
    assert response_protobuf(TAKEN) == b""
    assert response_json(signal, TAKEN) == b"{}"


def test_a_refusal_is_a_google_rpc_status_in_both_encodings() -> None:
    answer = answer_to(InvalidData("byte 7: no field"))
    binary = Status.FromString(status_protobuf(answer))
    assert (binary.code, binary.message) == (3, "byte 7: no field")
    assert Parse(status_json(answer), Status()) == binary


def test_bad_data_is_described_in_the_details_and_nothing_else_is() -> None:
    details = BadRequest()
    assert Status.FromString(status_protobuf(answer_to(InvalidData("byte 7: no field")))).details[0].Unpack(details)
    assert [violation.description for violation in details.field_violations] == ["byte 7: no field"]
    large = answer_to(TooLarge("17 MiB"))
    assert not Status.FromString(status_protobuf(large)).details
    assert json.loads(status_json(large)) == {"code": 8, "message": "17 MiB"}


def test_a_message_is_cut_to_what_trailers_can_carry() -> None:
    answer = answer_to(InvalidData("x" * 100_000))
    assert len(answer.message) == 1000
    assert sum(len(value) for _, value in grpc_trailers(answer, 0.5)) < 4096


def test_a_message_that_is_no_text_can_still_be_told() -> None:
    answer = answer_to(InvalidData("odd \udcff name"))
    assert Status.FromString(status_protobuf(answer)).message == "odd ? name"
    assert json.loads(status_json(answer))["message"] == "odd ? name"


@pytest.mark.parametrize(
    ("asked", "luck", "delay"),
    [
        (None, 0.0, 0.5),
        (None, 0.999, 1.499),
        (0.2, 0.9, 0.2),
        (2.5, 0.9, 2.5),
        (3600.0, 0.9, LONGEST_DELAY),
        (math.inf, 0.9, LONGEST_DELAY),
        (-1.0, 0.9, 0.0),
        (math.nan, 0.0, 0.5),
    ],
)
def test_a_hint_is_what_was_asked_for_up_to_three_seconds_or_about_one(
    asked: float | None, luck: float, delay: float
) -> None:
    assert retry_delay(asked, luck) == pytest.approx(delay)


@pytest.mark.parametrize(
    ("asked", "luck", "seconds"),
    [(None, 0.0, 1), (None, 0.5, 1), (None, 0.6, 2), (0.0, 0.0, 1), (2.5, 0.0, 3), (99, 0.9, 3)],
)
def test_over_http_a_hint_is_in_whole_seconds_and_never_none(asked: float | None, luck: float, seconds: int) -> None:
    assert retry_after(asked, luck) == seconds


def test_over_grpc_the_hint_stands_in_both_trailers_that_clients_read() -> None:
    answer = answer_to(Retryable("full", reason="queue_full", delay=1.25))
    trailers = dict(grpc_trailers(answer, 0.9))
    own = RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"])
    status = Status.FromString(trailers["grpc-status-details-bin"])
    detail = RetryInfo()
    assert status.details[0].Unpack(detail)
    assert own == detail
    assert own.retry_delay.ToMilliseconds() == 1250
    assert (status.code, status.message) == (14, "full")


def test_over_grpc_what_is_permanent_has_no_hint() -> None:
    trailers = dict(grpc_trailers(answer_to(TooLarge("17 MiB")), 0.5))
    assert set(trailers) == {"grpc-status-details-bin"}
    assert not Status.FromString(trailers["grpc-status-details-bin"]).details
