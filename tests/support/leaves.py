"""Requests taken apart to their leaves, to compare them however they are grouped and whoever wrote them."""

import base64
from collections import Counter
from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal

__all__ = ["leaves", "parse_json"]

_LEVELS: dict[Signal, tuple[Any, str, str, str]] = {
    Signal.TRACES: (ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"),
    Signal.METRICS: (ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: (ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"),
}
_IDS = ("traceId", "spanId", "parentSpanId")


def leaves(signal: Signal, bodies: Iterable[bytes]) -> Counter[tuple[object, ...]]:
    """Each span, metric or log record of serialized requests with its scope and resource, as JSON."""
    request, resources, scopes, items = _LEVELS[signal]
    return Counter(
        (_plain(resource.resource), resource.schema_url, _plain(scope.scope), scope.schema_url, _plain(item))
        for body in bodies
        for resource in getattr(request.FromString(body), resources)
        for scope in getattr(resource, scopes)
        for item in getattr(scope, items)
    )


def parse_json(signal: Signal, document: Any) -> bytes:
    """The serialized request that a document in OTLP's JSON stands for, by protobuf's own parser.

    Raises:
        ParseError: it stands for none.
    """
    message: Message = ParseDict(_with_base64_ids(document), _LEVELS[signal][0]())
    return message.SerializeToString()


def _plain(message: Message) -> str:
    return MessageToJson(message, sort_keys=True)


def _with_base64_ids(value: Any) -> Any:
    """OTLP's JSON as protobuf's, which differ in that OTLP writes ids in hexadecimal."""
    match value:
        case dict():
            return {
                key: base64.b64encode(bytes.fromhex(inner)).decode() if key in _IDS else _with_base64_ids(inner)
                for key, inner in value.items()
            }
        case list():
            return [_with_base64_ids(inner) for inner in value]
        case _:
            return value
