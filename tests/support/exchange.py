"""What a scripted destination receives, and what it can answer."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # it has a stub, but no py.typed
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # as above
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from app.core.request import Signal

__all__ = [
    "Answer",
    "Close",
    "Delay",
    "Grpc",
    "Hang",
    "Http",
    "Partial",
    "Raw",
    "Received",
    "Reset",
    "ResetStream",
    "Success",
    "Unheard",
    "status",
]


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived."""

    signal: Signal
    protocol: Literal["http", "grpc"]
    body: bytes
    """Without its content encoding."""
    wire: bytes
    """As it was sent; over gRPC the same as `body`, because gRPC inflates by itself."""
    headers: Mapping[str, str]
    """Names in lower case; over gRPC the metadata."""
    peer: str
    """The other end of the connection."""
    at: float = field(default_factory=time.monotonic)
    """When it had come, in seconds of `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class Success:
    """The request is taken."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The request is taken, but for `rejected` of its items."""

    rejected: int
    message: str = ""
    json: bool = False
    """Over HTTP: answer in JSON."""

    def to_protobuf(self, signal: Signal) -> bytes:
        match signal:
            case Signal.TRACES:
                spans = ExportTracePartialSuccess(rejected_spans=self.rejected, error_message=self.message)
                return ExportTraceServiceResponse(partial_success=spans).SerializeToString()
            case Signal.METRICS:
                points = ExportMetricsPartialSuccess(rejected_data_points=self.rejected, error_message=self.message)
                return ExportMetricsServiceResponse(partial_success=points).SerializeToString()
            case Signal.LOGS:
                records = ExportLogsPartialSuccess(rejected_log_records=self.rejected, error_message=self.message)
                return ExportLogsServiceResponse(partial_success=records).SerializeToString()


@dataclass(frozen=True, slots=True)
class Http:
    """An HTTP response."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grpc:
    """A gRPC status; `retry` is the seconds of its RetryInfo."""

    code: grpc.StatusCode
    details: str = ""
    retry: float | None = None

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        if self.retry is None:
            return ()
        return (("grpc-status-details-bin", status(self.details, self.retry, self.code.value[0])),)


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing, until the client gives up or the backend stops."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Another answer, after `seconds`."""

    seconds: float
    then: "Answer" = Success()


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset after the request was read; over gRPC where the backend `breaks_calls`."""


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is closed after the request was read, as idle ones are; over gRPC as above."""


@dataclass(frozen=True, slots=True)
class ResetStream:
    """gRPC where the backend `breaks_calls`: the call, and no other, is ended by RST_STREAM with `code`."""

    code: int = 8
    """One of HTTP/2; CANCEL unless it is told."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """The request is taken, but the answer is lost.

    HTTP resets the connection; gRPC resets the stream where the backend `breaks_calls`, and says UNAVAILABLE elsewhere.
    """


@dataclass(frozen=True, slots=True)
class Raw:
    """HTTP: these bytes, whatever they are, and then the end of the connection."""

    data: bytes


Answer = Success | Partial | Http | Grpc | Hang | Delay | Reset | Close | ResetStream | Unheard | Raw


def status(message: str, retry: float | None = None, code: int = 0) -> bytes:
    """A serialized ``google.rpc.Status``, with a RetryInfo of `retry` seconds."""
    answer = Status(code=code, message=message)
    if retry is not None:
        wait = Duration()
        wait.FromNanoseconds(int(retry * 1e9))
        detail = AnyMessage()
        detail.Pack(RetryInfo(retry_delay=wait))
        answer.details.append(detail)
    serialized: bytes = answer.SerializeToString()
    return serialized
