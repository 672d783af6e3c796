"""A serialized request in OTLP's JSON encoding, for which the SDK has no exporter."""

from base64 import b64decode
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal

__all__ = ["to_json"]

_MESSAGES: dict[Signal, type[Message]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
_IDS = {"traceId", "spanId", "parentSpanId"}


def to_json(signal: Signal, body: bytes) -> bytes:
    """`body` in JSON: enums are numbers and ids are hexadecimal, where protobuf's own mapping has names and base64.

    Raises:
        DecodeError: it is no request of that signal.
    """
    document = MessageToDict(_MESSAGES[signal].FromString(body), use_integers_for_enums=True)
    _write_ids(document)
    return orjson.dumps(document)


def _write_ids(value: Any) -> None:
    """Keys of a document are OTLP's own, so one that is called like an id is one."""
    if isinstance(value, list):
        for item in value:
            _write_ids(item)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in _IDS:
                value[key] = b64decode(inner).hex()
            else:
                _write_ids(inner)
