"""Small requests, for tests in which it matters that they are requests and not what they say."""

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal

__all__ = ["JSON_SPAN", "one_item", "spans"]

JSON_SPAN = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}'


def spans(number: int = 1, name: str = "a") -> bytes:
    """A request of `number` spans."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for _ in range(number):
        scope.spans.add(name=name)
    return request.SerializeToString()


def one_item(signal: Signal) -> bytes:
    """A request of one item of `signal`."""
    match signal:
        case Signal.TRACES:
            return spans()
        case Signal.METRICS:
            metrics = ExportMetricsServiceRequest()
            metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="a")
            metric.gauge.data_points.add(as_int=1)
            return metrics.SerializeToString()
        case Signal.LOGS:
            logs = ExportLogsServiceRequest()
            logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="INFO")
            return logs.SerializeToString()
