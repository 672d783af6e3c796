"""What a destination's answer says: partial success, the Status of a refusal, and how long to wait.

All of it was written by somebody else, so nothing here trusts a length, a type or a character.
"""

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

import orjson
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # it has a stub, but no py.typed
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # as above
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from app.core.request import Signal

__all__ = [
    "PartialSuccess",
    "Reason",
    "plain",
    "read_partial_success",
    "read_retry_after",
    "read_status",
    "read_status_json",
]

_MESSAGE_LIMIT = 200
_RETRY_INFO = "/google.rpc.RetryInfo"
_REJECTED_KEYS = {
    Signal.TRACES: "rejectedSpans",
    Signal.METRICS: "rejectedDataPoints",
    Signal.LOGS: "rejectedLogRecords",
}


@dataclass(frozen=True, slots=True)
class PartialSuccess:
    """How many items the destination rejected of a request that it took, and what it remarked."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a destination said no, in its own words; `delay` is the seconds of its RetryInfo, None without one."""

    message: str = ""
    delay: float | None = None


def plain(text: str, limit: int = _MESSAGE_LIMIT) -> str:
    """One line of at most `limit` characters that can do nothing to a terminal or a log."""
    line = " ".join(text[: limit * 2].split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def read_partial_success(signal: Signal, body: bytes, *, json: bool) -> PartialSuccess:
    """What an ``Export*ServiceResponse`` says.

    Raises:
        ValueError: `body` is not one.
    """
    if json:
        return _partial_success_of_json(signal, body)
    try:
        match signal:
            case Signal.TRACES:
                traces = ExportTraceServiceResponse.FromString(body).partial_success
                return PartialSuccess(traces.rejected_spans, traces.error_message)
            case Signal.METRICS:
                metrics = ExportMetricsServiceResponse.FromString(body).partial_success
                return PartialSuccess(metrics.rejected_data_points, metrics.error_message)
            case Signal.LOGS:
                logs = ExportLogsServiceResponse.FromString(body).partial_success
                return PartialSuccess(logs.rejected_log_records, logs.error_message)
    except DecodeError as error:
        raise ValueError(f"not an export response: {error}") from error


def _partial_success_of_json(signal: Signal, body: bytes) -> PartialSuccess:
    partial = _object(_object(orjson.loads(body)).get("partialSuccess"))
    rejected = partial.get(_REJECTED_KEYS[signal], 0)
    if isinstance(rejected, str):
        rejected = int(rejected)
    if not isinstance(rejected, int):
        raise ValueError(f"{_REJECTED_KEYS[signal]} is no number: {rejected!r:.40}")  # noqa: TRY004 - one error for all
    return PartialSuccess(rejected, _text(partial.get("errorMessage")))


def read_status(body: bytes) -> Reason:
    """What a serialized ``google.rpc.Status`` says.

    Raises:
        ValueError: `body` is not one.
    """
    try:
        status = Status.FromString(body)
        delay = None
        for detail in status.details:
            if detail.type_url.endswith(_RETRY_INFO):
                wait = RetryInfo.FromString(detail.value).retry_delay
                delay = max(0.0, wait.seconds + wait.nanos / 1e9)
    except DecodeError as error:
        raise ValueError(f"not a Status: {error}") from error
    return Reason(status.message, delay)


def read_status_json(body: bytes) -> Reason:
    """What the JSON form of a ``google.rpc.Status`` says.

    Raises:
        ValueError: `body` is not one.
    """
    status = _object(orjson.loads(body))
    details = status.get("details")
    delay = None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith(_RETRY_INFO):
            delay = _seconds(str(detail.get("retryDelay", "0s")).removesuffix("s"))
    return Reason(_text(status.get("message")), delay)


def read_retry_after(value: str, now: float) -> float | None:
    """The seconds that a Retry-After asks for, as a number or as an HTTP date; None if it is neither.

    Args:
        value: the header.
        now: seconds since the epoch, at best by the clock of the one who wrote the header.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return _seconds(value)
    when = http_date(value)
    return None if when is None else max(0.0, when - now)


def http_date(value: str) -> float | None:
    """Seconds since the epoch of an HTTP date; None if it is none."""
    try:
        when = parsedate_to_datetime(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _seconds(value: str) -> float:
    seconds = float(value[:32])
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"no delay: {value!r:.40}")
    return seconds


def _object(value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"no JSON object: {value!r:.40}")  # noqa: TRY004 - one error for all that is unreadable
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
