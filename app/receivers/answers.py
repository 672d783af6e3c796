"""What a client is told: the one translation of the service's errors into answers over HTTP and gRPC.

nothing raised, PartlyRejected   200  OK
Retryable, anything unexpected   503  UNAVAILABLE         and when to come back
OverQuota                        429  RESOURCE_EXHAUSTED  and when to come back
TooLarge                         413  RESOURCE_EXHAUSTED  without RetryInfo, which makes it permanent
UnsupportedEncoding              415  INVALID_ARGUMENT
InvalidData                      400  INVALID_ARGUMENT
Unauthenticated                  401  UNAUTHENTICATED
NotAllowed                       403  PERMISSION_DENIED
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import grpc
import orjson
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # it has a stub, but no py.typed
    BadRequest,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # as above
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from app.core.errors import (
    NotAllowed,
    OverQuota,
    PartlyRejected,
    Refused,
    Retryable,
    TooLarge,
    Unauthenticated,
    UnsupportedEncoding,
)
from app.core.request import Signal

__all__ = [
    "LONGEST_DELAY",
    "TAKEN",
    "Answer",
    "answer_to",
    "grpc_trailers",
    "response_json",
    "response_protobuf",
    "retry_after",
    "retry_delay",
    "status_json",
    "status_protobuf",
]

LONGEST_DELAY: Final = 3.0
"""Seconds; an SDK whose hint exceeds what is left of its ten seconds gives up and drops."""

_LONGEST_MESSAGE = 1000  # twice in gRPC's trailers, of which a client takes 8 KiB


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended, in the words of both transports."""

    code: grpc.StatusCode
    status: int
    """The HTTP status."""
    message: str = ""
    reason: str = ""
    """Why it was refused, for a metric's label; empty if it was not."""
    retryable: bool = False
    delay: float | None = None
    """Seconds to wait that the one who refused asked for."""
    rejected: int = 0
    """How many items of a request that was taken were not."""


TAKEN: Final = Answer(grpc.StatusCode.OK, 200)

_REFUSALS: tuple[tuple[type[Refused], grpc.StatusCode, int], ...] = (  # the first that fits
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
    (UnsupportedEncoding, grpc.StatusCode.INVALID_ARGUMENT, 415),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED, 401),
    (NotAllowed, grpc.StatusCode.PERMISSION_DENIED, 403),
    (Refused, grpc.StatusCode.INVALID_ARGUMENT, 400),
)


def answer_to(error: Exception) -> Answer:
    """The answer to a request that ended with `error`.

    What is not one of ours is a fault of the service, so the client still has its data and may send it again.
    """
    message = str(error)[:_LONGEST_MESSAGE].encode(errors="replace").decode()
    match error:
        case OverQuota():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return Answer(code, 429, message, error.reason, retryable=True, delay=error.delay)
        case Retryable():
            return Answer(grpc.StatusCode.UNAVAILABLE, 503, message, error.reason, retryable=True, delay=error.delay)
        case PartlyRejected():
            return replace(TAKEN, message=message, rejected=error.items)
        case Refused():
            code, status = next((code, status) for kind, code, status in _REFUSALS if isinstance(error, kind))
            return Answer(code, status, message, error.reason)
        case _:
            message = "the service failed and did not take the request; it may be sent again"
            return Answer(grpc.StatusCode.UNAVAILABLE, 503, message, "internal", retryable=True)


def retry_delay(delay: float | None, luck: float) -> float:
    """Seconds after which a client may come back: as asked, never above `LONGEST_DELAY`, or else about one.

    `luck` in [0, 1) spreads those who are not given a time over a second, so that they do not return together.
    """
    if delay is None or math.isnan(delay):
        return 0.5 + luck
    return min(max(delay, 0.0), LONGEST_DELAY)


def retry_after(delay: float | None, luck: float) -> int:
    """The same for ``Retry-After``, which takes whole seconds: 1 or 2 where no time was asked for."""
    return max(1, math.ceil(retry_delay(delay, luck)))


def status_protobuf(answer: Answer) -> bytes:
    """The ``google.rpc.Status`` of a refusal over HTTP; that of bad data has a ``BadRequest`` in its details."""
    status = Status(code=answer.code.value[0], message=answer.message)
    if answer.status == 400:
        status.details.add().Pack(BadRequest(field_violations=[{"description": answer.message}]))
    serialized: bytes = status.SerializeToString()
    return serialized


def status_json(answer: Answer) -> bytes:
    """The same in protobuf's JSON mapping."""
    status: dict[str, object] = {"code": answer.code.value[0], "message": answer.message}
    if answer.status == 400:
        violation = {"description": answer.message}
        status["details"] = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}]
    return orjson.dumps(status)


def response_protobuf(answer: Answer) -> bytes:
    """The ``Export{Trace,Metrics,Logs}ServiceResponse`` of a request that was taken; all three have one wire format."""
    if not answer.rejected:
        return b""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = answer.rejected
    response.partial_success.error_message = answer.message
    return response.SerializeToString()


_REJECTED = {
    Signal.TRACES: "rejectedSpans",
    Signal.METRICS: "rejectedDataPoints",
    Signal.LOGS: "rejectedLogRecords",
}


def response_json(signal: Signal, answer: Answer) -> bytes:
    """The same in protobuf's JSON mapping, where a 64-bit integer is a string."""
    if not answer.rejected:
        return b"{}"
    return orjson.dumps({"partialSuccess": {_REJECTED[signal]: str(answer.rejected), "errorMessage": answer.message}})


def grpc_trailers(answer: Answer, luck: float) -> tuple[tuple[str, bytes], ...]:
    """The trailers of a refusal over gRPC; ``RetryInfo`` stands in both places where clients look for it.

    Go and Java read the details of ``google.rpc.Status``, the Python SDK a trailer of its own.
    """
    if not answer.retryable:
        status = Status(code=answer.code.value[0], message=answer.message)
        return (("grpc-status-details-bin", status.SerializeToString()),)
    delay = Duration()
    delay.FromMilliseconds(round(retry_delay(answer.delay, luck) * 1000))
    info = RetryInfo(retry_delay=delay)
    detail = Any()
    detail.Pack(info)
    status = Status(code=answer.code.value[0], message=answer.message, details=[detail])
    return (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
    )
