import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ScopeMetrics

from app.core.errors import InvalidData
from app.core.request import Signal
from app.receivers.decode import SMALL, count_small, counting, read_protobuf
from tests.support.cost import cost_of
from tests.support.payload import one_item, spans


def metrics() -> bytes:
    each = ScopeMetrics()
    for data in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        metric = Metric(name=data)
        for _ in range(2):
            getattr(metric, data).data_points.add(time_unix_nano=1)
        each.metrics.append(metric)
    each.metrics.add(name="without data")
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.extend([each, each])
    return request.SerializeToString()


def logs(number: int) -> bytes:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for _ in range(number):
        records.add(severity_text="INFO")
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("signal", "body", "items"),
    [
        (Signal.TRACES, spans(3) + spans(4), 7),
        (Signal.METRICS, metrics(), 20),
        (Signal.LOGS, logs(5), 5),
        *((signal, b"", 0) for signal in Signal),
        *((signal, one_item(signal), 1) for signal in Signal),
    ],
)
async def test_the_items_of_a_request_are_counted(signal: Signal, body: bytes, items: int) -> None:
    assert count_small(signal, body) == items
    assert await read_protobuf(signal, body) == items


@pytest.mark.parametrize("number", [10, 10_000, 40_000, 200_000])
async def test_requests_of_every_size_are_counted(number: int) -> None:
    assert await read_protobuf(Signal.LOGS, logs(number)) == number


async def test_unknown_fields_are_valid() -> None:
    assert await read_protobuf(Signal.TRACES, spans() + b"\xfa\x01\x03new") == 1


@pytest.mark.parametrize("number", [10, 10_000, 40_000, 200_000])
async def test_a_refusal_says_what_and_where_in_requests_of_every_size(number: int) -> None:
    body = spans(number)
    with pytest.raises(InvalidData, match="ExportTraceServiceRequest is not valid protobuf near byte") as refusal:
        await read_protobuf(Signal.TRACES, body[:-1])
    assert refusal.value.reason == "invalid"
    with pytest.raises(InvalidData, match="UTF-8") as refusal:
        await read_protobuf(Signal.TRACES, body[:-1] + b"\xff")
    near = int(str(refusal.value).split("near byte ")[1].split(":")[0])
    assert 0 <= len(body) - near < 2048


async def test_a_small_request_is_counted_without_a_pause() -> None:
    steps = read_protobuf(Signal.TRACES, spans(512))
    assert len(spans(512)) < SMALL
    with pytest.raises(StopIteration) as end:
        steps.send(None)
    assert end.value.value == 512


def test_a_large_request_leaves_the_loop_its_turns() -> None:
    body = spans(500_000, name="")
    assert len(list(counting(Signal.TRACES, body))) > 50
    cost = cost_of(read_protobuf, Signal.TRACES, body)
    assert cost.result == 500_000
    assert cost.longest_turn < 0.1
