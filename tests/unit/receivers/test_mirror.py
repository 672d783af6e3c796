from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, ResourceMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.receivers.mirror import mirror_of


def test_a_mirror_takes_json_names_and_is_what_it_mirrors_on_the_wire() -> None:
    mirror = mirror_of(Span.DESCRIPTOR)(
        traceId=b"id",
        startTimeUnixNano=5,
        kind=2,
        attributes=[{"key": "k", "value": {"arrayValue": {"values": [{"intValue": -1}]}}}],
        events=[{"timeUnixNano": 7, "droppedAttributesCount": 1}],
        status={"code": 2},
    )
    span = Span(trace_id=b"id", start_time_unix_nano=5, kind=Span.SPAN_KIND_SERVER)
    span.attributes.add(key="k").value.array_value.values.add(int_value=-1)
    span.events.add(time_unix_nano=7, dropped_attributes_count=1)
    span.status.code = 2  # type: ignore[assignment]  # STATUS_CODE_ERROR
    assert mirror.SerializeToString() == span.SerializeToString()


def test_what_is_optional_is_there_when_it_is_zero() -> None:
    mirror = mirror_of(HistogramDataPoint.DESCRIPTOR)(sum=0, count=0)
    assert mirror.SerializeToString() == HistogramDataPoint(sum=0).SerializeToString() != b""


def test_an_empty_message_is_there() -> None:
    assert ResourceMetrics.FromString(mirror_of(ResourceMetrics.DESCRIPTOR)(resource={}).SerializeToString()).HasField(
        "resource"
    )
