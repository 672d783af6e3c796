"""What a destination's answer means for the request: which error it is, by OTLP's rules ("Failures", "Throttling").

Exactly what passes by itself is `Retryable`. Of the rest, an answer about us (credentials, path, encoding) is
`NotAllowed`, as is one that is too large, which OTLP wants to be final; every other one is held against the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from grpc import StatusCode

from app.core.errors import InvalidData, NotAllowed, OtlpError, PartlyRejected, Retryable, TooLarge
from app.core.request import ExportRequest
from app.exporters.answer import (
    PartialSuccess,
    Reason,
    http_date,
    plain,
    read_retry_after,
    read_status,
    read_status_json,
)

__all__ = ["HttpAnswer", "grpc_error", "http_error", "media_type", "partly_rejected"]

_RETRYABLE_STATUS = frozenset({429, 502, 503, 504})
_REMEDIES = {
    401: "see exporter.headers",
    403: "see exporter.headers and exporter.endpoint",
    **dict.fromkeys((404, 405, 407, 410, 421, 426, 501, 505, 511), "see exporter.endpoint"),
    402: "see the account there",
    415: "see exporter.compression",
}
"""Statuses that are about us and never about the data."""

_RETRYABLE_CODES = frozenset(
    {
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.ABORTED,
        StatusCode.OUT_OF_RANGE,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
_TOO_LARGE = (
    (StatusCode.RESOURCE_EXHAUSTED, "larger than max"),  # grpc-go, and gRPC's core
    (StatusCode.OUT_OF_RANGE, "message length too large"),  # tonic; to send it again, as the code says, helps nothing
)
_CODE_REMEDIES = {
    StatusCode.UNAUTHENTICATED: "see exporter.headers",
    StatusCode.PERMISSION_DENIED: "see exporter.headers and exporter.endpoint",
    StatusCode.UNIMPLEMENTED: "see exporter.endpoint and exporter.compression",
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP response, of which `body` is at most the first few MiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    oversized: bool = False
    """Whether there was more."""


def http_error(destination: str, answer: HttpAnswer, now: float) -> OtlpError:
    """The error that an HTTP response without success stands for.

    Args:
        destination: how to call the other side in the message.
        answer: the response.
        now: seconds since the epoch, for a Retry-After that is a date from a server that does not tell its own.
    """
    reason = _reason(answer)
    said = f"{destination} answered {_status_line(answer.status)}{_quoted(reason.message)}"
    if answer.status in _RETRYABLE_STATUS and answer.oversized:
        return NotAllowed(f"{said} with a body that is too large to be OTLP's; see exporter.endpoint")
    if answer.status in _RETRYABLE_STATUS:
        return Retryable(said, reason="unavailable", delay=_http_delay(answer, reason, now))
    if answer.status < 400:
        where = plain(answer.headers.get("Location", "nowhere"))
        return NotAllowed(f"{said} to {where}, and redirects are not followed; see exporter.endpoint")
    if answer.status == 413:
        return TooLarge(f"{said}; see exporter.max_batch_bytes")
    if answer.status in _REMEDIES:
        return NotAllowed(f"{said}; {_REMEDIES[answer.status]}")
    return InvalidData(said)


def grpc_error(destination: str, code: StatusCode, details: str, trailers: Mapping[str, str | bytes]) -> OtlpError:
    """The error that a gRPC status other than OK stands for."""
    delay = _grpc_delay(trailers)
    said = f"{destination} answered {code.name}{_quoted(details)}"
    if any(code is known and words in details for known, words in _TOO_LARGE):
        return TooLarge(f"{said}; see exporter.max_batch_bytes")
    if code in _RETRYABLE_CODES or (code is StatusCode.RESOURCE_EXHAUSTED and delay is not None):
        return Retryable(said, reason="unavailable", delay=delay or None)
    if code in _CODE_REMEDIES:
        return NotAllowed(f"{said}; {_CODE_REMEDIES[code]}")
    return InvalidData(said)


def partly_rejected(destination: str, request: ExportRequest, partial: PartialSuccess) -> PartlyRejected:
    """The error that a success stands for when the destination did not take every item."""
    items = min(partial.rejected, request.items)
    return PartlyRejected(
        f"{destination} rejected {items} of {request.items} {request.signal.noun}{_quoted(partial.message)}",
        items=items,
    )


def media_type(headers: Mapping[str, str]) -> str:
    """The media type of a response, without parameters and in lower case; empty if it tells none."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _quoted(message: str) -> str:
    return f': "{plain(message)}"' if message.strip() else ""


def _reason(answer: HttpAnswer) -> Reason:
    """The Status in the body, or the body itself where it is meant for people."""
    media = media_type(answer.headers)
    try:
        if media == "application/x-protobuf":
            return read_status(answer.body)
        if media == "application/json":
            return read_status_json(answer.body)
    except ValueError:
        return Reason()
    return Reason() if media == "text/html" else Reason(answer.body[:1000].decode(errors="replace"))


def _http_delay(answer: HttpAnswer, reason: Reason, now: float) -> float | None:
    """The longest wait asked for, because it is no use to come before any of them; None where none is."""
    header = answer.headers.get("Retry-After")
    if header is None:
        return reason.delay or None
    theirs = http_date(answer.headers.get("Date", ""))  # a wait between two readings of one clock needs no other
    after = read_retry_after(header, now if theirs is None else theirs)
    return max(after or 0.0, reason.delay or 0.0) or None


def _grpc_delay(trailers: Mapping[str, str | bytes]) -> float | None:
    serialized = trailers.get("grpc-status-details-bin")
    if not isinstance(serialized, bytes):
        return None
    try:
        return read_status(serialized).delay
    except ValueError:
        return None
