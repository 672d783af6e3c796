"""Requests as lines for people."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from app.core.request import ExportRequest, Signal
from app.exporters.canvas import Canvas, cells
from app.exporters.lines import lines

TIME = 1_760_000_000_123_456_789  # 08:53:20.123 UTC
TRACE = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def pairs(**values: str) -> list[KeyValue]:
    return [KeyValue(key=key, value=text(value)) for key, value in values.items()]


CHECKOUT = Resource(attributes=[KeyValue(key="service.name", value=text("checkout"))])


def point_lines(*metrics: Metric, canvas: Canvas | None = None) -> list[str]:
    scopes = [ScopeMetrics(metrics=metrics)]
    message = ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(resource=CHECKOUT, scope_metrics=scopes)])
    return list(lines(ExportRequest(Signal.METRICS, message.SerializeToString(), 1), canvas or Canvas()))


def values(*metrics: Metric) -> list[str]:
    return [line.split("checkout")[1].strip() for line in point_lines(*metrics)]


def record_lines(*records: LogRecord, canvas: Canvas | None = None) -> list[str]:
    scopes = [ScopeLogs(log_records=records)]
    message = ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=CHECKOUT, scope_logs=scopes)])
    return list(lines(ExportRequest(Signal.LOGS, message.SerializeToString(), 1), canvas or Canvas()))


def test_spans_are_shown_as_trees() -> None:
    spans = [
        Span(trace_id=TRACE, span_id=b"b", parent_span_id=b"a", name="b"),
        Span(trace_id=TRACE, span_id=b"a", name="a"),
    ]
    message = ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=CHECKOUT, scope_spans=[ScopeSpans(spans=spans)])]
    )
    _, *shown = lines(ExportRequest(Signal.TRACES, message.SerializeToString(), 2), Canvas())
    assert [line[:7] for line in shown] == ["  a    ", "  └─ b "]


class TestDataPoints:
    def test_show_numbers_with_their_unit(self) -> None:
        gauge = Gauge(data_points=[NumberDataPoint(time_unix_nano=TIME, as_double=0.25)])
        total = Sum(data_points=[NumberDataPoint(time_unix_nano=TIME, as_int=7, attributes=pairs(route="/pay"))])
        metrics = Metric(name="load", unit="s", gauge=gauge), Metric(name="requests", unit="{request}", sum=total)
        assert point_lines(*metrics) == [
            "08:53:20.123  metric  checkout      load  250ms",
            "08:53:20.123  metric  checkout      requests  7 request  route=/pay",
        ]

    def test_show_distributions_by_what_they_know(self) -> None:
        buckets = HistogramDataPoint(count=4, sum=1.0, min=0.1, max=0.5)
        one = HistogramDataPoint(count=1, sum=0.5, min=0.5, max=0.5)
        exponential = ExponentialHistogramDataPoint(count=4, sum=2.5)
        quantile = SummaryDataPoint.ValueAtQuantile
        summary = SummaryDataPoint(
            count=5, sum=3.5, quantile_values=[quantile(quantile=0.5, value=0.6), quantile(quantile=0.999, value=1.0)]
        )
        assert values(
            Metric(name="a", unit="s", histogram=Histogram(data_points=[buckets])),
            Metric(name="b", histogram=Histogram(data_points=[HistogramDataPoint(count=3), one])),
            Metric(name="c", exponential_histogram=ExponentialHistogram(data_points=[exponential])),
            Metric(name="d", unit="s", summary=Summary(data_points=[summary, SummaryDataPoint()])),
        ) == [
            "a  count=4 sum=1s avg=250ms min=100ms max=500ms",
            "b  count=3",
            "b  count=1 sum=0.5",
            "c  count=4 sum=2.5 avg=0.625",
            "d  count=5 sum=3.5s avg=700ms p50=600ms p99.9=1s",
            "d  count=0 sum=0s",
        ]

    def test_show_that_a_sum_is_of_what_is_new(self) -> None:
        points = [NumberDataPoint(as_int=7), NumberDataPoint(as_int=-2)]
        assert values(Metric(name="a", sum=Sum(data_points=points, aggregation_temporality=DELTA))) == [
            "a  +7",
            "a  -2",
        ]

    def test_without_a_value_say_so(self) -> None:
        points = [NumberDataPoint(), NumberDataPoint(as_int=7, flags=NO_VALUE)]
        assert values(Metric(gauge=Gauge(data_points=points))) == ["(no name)  no value"] * 2

    def test_of_a_metric_without_any_are_no_lines(self) -> None:
        assert point_lines(Metric(name="empty")) == []

    def test_have_as_many_attributes_as_fit(self) -> None:
        point = NumberDataPoint(as_int=7, attributes=pairs(**{f"key{number}": "value" for number in range(20)}))
        for width in (60, 80, 120):
            [line] = point_lines(Metric(name="a", gauge=Gauge(data_points=[point])), canvas=Canvas(width))
            assert width - 12 < len(line) <= width
            assert line.endswith(f"+{20 - line.count('=')}")


class TestLogRecords:
    def test_show_severity_body_attributes_and_trace(self) -> None:
        record = LogRecord(
            time_unix_nano=TIME,
            severity_text="ERROR",
            body=text("payment\nfailed"),
            attributes=pairs(user="7"),
            trace_id=TRACE,
        )
        assert record_lines(record) == [
            "08:53:20.123  ERROR   checkout      payment failed  user=7  trace 0af76519",
        ]

    @pytest.mark.parametrize(
        ("number", "name"),
        [
            (SeverityNumber.SEVERITY_NUMBER_TRACE, "TRACE"),
            (SeverityNumber.SEVERITY_NUMBER_INFO4, "INFO"),
            (SeverityNumber.SEVERITY_NUMBER_WARN, "WARN"),
            (SeverityNumber.SEVERITY_NUMBER_FATAL4, "FATAL"),
        ],
    )
    def test_without_a_severity_text_show_its_number_as_a_name(
        self, number: SeverityNumber.ValueType, name: str
    ) -> None:
        (line,) = record_lines(LogRecord(observed_time_unix_nano=TIME, severity_number=number, body=text("b")))
        assert line == f"08:53:20.123  {name:6}  checkout      b"

    @pytest.mark.parametrize(
        ("severity", "word"),
        [
            ({"severity_text": "Notice", "severity_number": SeverityNumber.SEVERITY_NUMBER_INFO2}, "Notice"),
            ({"severity_text": "Information", "severity_number": SeverityNumber.SEVERITY_NUMBER_INFO}, "INFO"),
            ({"severity_text": "Information"}, "Infor…"),
            ({"severity_text": "中文中文"}, "中文…"),
            ({}, "log"),
        ],
    )
    def test_have_a_severity_of_one_width(self, severity: dict[str, Any], word: str) -> None:
        (line,) = record_lines(LogRecord(time_unix_nano=TIME, body=text("b"), **severity))
        assert line.split()[1] == word
        assert cells(line) == len("08:53:20.123  ERROR   checkout      b")

    def test_show_the_name_of_an_event(self) -> None:
        with_body = LogRecord(time_unix_nano=TIME, event_name="device.broke", body=text("it broke"))
        without = LogRecord(time_unix_nano=TIME, event_name="device.broke")
        assert [line[36:] for line in record_lines(with_body, without)] == ["device.broke: it broke", "device.broke"]

    def test_show_what_was_thrown_rather_than_its_attributes(self) -> None:
        thrown = pairs(**{"exception.type": "java.net.TimeoutError", "exception.message": "slow", "user": "7"})
        record = LogRecord(time_unix_nano=TIME, body=text("charge failed"), attributes=thrown)
        assert [line[36:] for line in record_lines(record)] == ["charge failed: TimeoutError: slow  user=7"]

    def test_keep_a_long_body_and_show_no_attributes_then(self) -> None:
        long = LogRecord(time_unix_nano=TIME, body=text("word " * 60), attributes=pairs(user="7"), trace_id=TRACE)
        [line] = record_lines(long)
        assert line.count("word") == 60
        assert line.endswith("word  trace 0af76519")

    def test_of_several_services_are_in_the_order_of_their_times(self) -> None:
        def at(time: int) -> ResourceLogs:
            return ResourceLogs(scope_logs=[ScopeLogs(log_records=[LogRecord(observed_time_unix_nano=TIME + time)])])

        message = ExportLogsServiceRequest(resource_logs=[at(2 * 10**9), at(0), at(10**9)])
        shown = lines(ExportRequest(Signal.LOGS, message.SerializeToString(), 3), Canvas())
        assert [line[6:8] for line in shown] == ["20", "21", "22"]

    def test_without_anything_are_still_lines(self) -> None:
        assert record_lines(LogRecord()) == ["00:00:00.000  log     checkout"]


def test_nothing_that_was_sent_controls_the_terminal() -> None:
    record = LogRecord(
        severity_text="\x1b[2J",
        body=text("\x1b]0;title\x07"),
        event_name="\x9b",
        attributes=pairs(**{"\x07key": "\u202evalue"}),
        trace_id=b"\x1b" * 40,
    )
    metric = Metric(
        name="\x1b[2J",
        unit="\x1b[31m",
        gauge=Gauge(data_points=[NumberDataPoint(as_int=1, attributes=pairs(**{"\x00": "\x08"}))]),
    )
    assert all(line.isprintable() for line in [*record_lines(record), *point_lines(metric)])


def test_colours_show_how_severe_a_record_is() -> None:
    record = LogRecord(severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR, body=text("b"))
    [line] = record_lines(record, canvas=Canvas(colour=True))
    assert "\x1b[31m  ERROR   \x1b[0m" in line


@pytest.mark.parametrize("signal", Signal)
def test_a_body_that_is_no_request_is_an_error_at_once(signal: Signal) -> None:
    with pytest.raises(DecodeError):
        lines(ExportRequest(signal, b"\xff\xff", 1), Canvas())
