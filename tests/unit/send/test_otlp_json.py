"""Requests in OTLP's JSON encoding."""

import json

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal
from app.receivers.otlp_json import read_json
from app.send.otlp_json import to_json
from tests.support.telemetry import expected_logs, expected_metrics, expected_traces

REQUESTS = {
    Signal.TRACES: ExportTraceServiceRequest(resource_spans=expected_traces()),
    Signal.METRICS: ExportMetricsServiceRequest(resource_metrics=expected_metrics()),
    Signal.LOGS: ExportLogsServiceRequest(resource_logs=expected_logs()),
}


@pytest.mark.parametrize("signal", Signal)
async def test_what_is_written_is_read_as_the_same(signal: Signal) -> None:
    request = REQUESTS[signal]
    read = await read_json(signal, to_json(signal, request.SerializeToString()))
    assert type(request).FromString(read.body) == request


def test_ids_are_hexadecimal_enums_are_numbers_and_long_integers_are_text() -> None:
    document = json.loads(to_json(Signal.TRACES, REQUESTS[Signal.TRACES].SerializeToString()))
    child, root = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (root["traceId"], root["spanId"]) == ("0102030405060708090a0b0c0d0e0f10", "0000000000000001")
    assert root["parentSpanId"] == "ffeeddccbbaa9988"
    assert root["links"][0]["spanId"] == "000000000000004d"
    assert (child["kind"], root["status"]["code"]) == (3, 2)
    assert root["startTimeUnixNano"] == "1760000000000000000"


def test_a_body_that_is_no_request_is_an_error() -> None:
    with pytest.raises(DecodeError):
        to_json(Signal.TRACES, b"\xff\xff")
