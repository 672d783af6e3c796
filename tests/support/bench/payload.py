"""Requests as servers send them: spans with the attributes that instrumentation of HTTP sets, 330 bytes a span."""

import random
import struct
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.core.request import Signal
from app.send.batch import Batches
from app.send.otlp_json import to_json
from app.send.shop import Shop

__all__ = ["framed", "request", "request_json"]

_RESOURCE = {
    "service.name": "checkout",
    "service.version": "3.1.0",
    "telemetry.sdk.language": "java",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": "1.55.0",
    "k8s.pod.name": "checkout-6d5f7b8c9-x2x7p",
    "k8s.namespace.name": "shop",
}
_ENCODERS: dict[Signal, Callable[[Any], Any]] = {Signal.METRICS: encode_metrics, Signal.LOGS: encode_logs}
_BEGAN_NS = 1_765_000_000_000_000_000


def request(spans: int) -> bytes:
    """A serialized ``ExportTraceServiceRequest`` of so many spans, always the same one."""
    numbers = random.Random(spans)
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    resource.resource.attributes.extend(_attributes(_RESOURCE))
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "io.opentelemetry.tomcat-10.0", "2.20.1-alpha"
    for n in range(spans):
        order = numbers.randrange(10**6)
        scope.spans.add(
            trace_id=numbers.randbytes(16),
            span_id=numbers.randbytes(8),
            parent_span_id=numbers.randbytes(8),
            name="GET /orders/{id}",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=_BEGAN_NS + 1000 * n,
            end_time_unix_nano=_BEGAN_NS + 1000 * n + numbers.randrange(10**8),
            status=Status(code=Status.STATUS_CODE_OK),
            attributes=_attributes(
                {
                    "http.request.method": "GET",
                    "http.route": "/orders/{id}",
                    "http.response.status_code": 200,
                    "url.path": f"/orders/{order}",
                    "url.scheme": "https",
                    "server.address": "checkout.shop.svc.cluster.local",
                    "client.address": f"10.{order % 250}.3.4",
                    "thread.id": numbers.randrange(200),
                }
            ),
        )
    return message.SerializeToString()


def framed(body: bytes) -> bytes:
    """`body` as a message of gRPC."""
    return struct.pack(">BI", 0, len(body)) + body


def request_json(signal: Signal, items: int) -> bytes:
    """A request of so many items in OTLP's JSON: `request`, or what `otlp-service send` makes of the other signals."""
    if signal is Signal.TRACES:
        return to_json(signal, request(items))
    return to_json(signal, _ENCODERS[signal](Batches(signal, Shop()).take(items)).SerializeToString())


def _attributes(values: Mapping[str, str | int]) -> list[KeyValue]:
    return [
        KeyValue(key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))
        for key, value in values.items()
    ]
