"""Requests as lines for people."""

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
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
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from app.core.request import ExportRequest, Signal
from app.exporters.lines import lines

TIME = 1_760_000_000_123_456_789  # 08:53:20.123 UTC
TRACE = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
CHECKOUT = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="checkout"))])


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def span_lines(*spans: Span, resource: Resource = CHECKOUT) -> list[str]:
    scopes = [ScopeSpans(spans=spans)]
    message = ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=scopes)])
    return list(lines(ExportRequest(Signal.TRACES, message.SerializeToString(), len(spans))))


def point_lines(*metrics: Metric) -> list[str]:
    scopes = [ScopeMetrics(metrics=metrics)]
    message = ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(resource=CHECKOUT, scope_metrics=scopes)])
    return list(lines(ExportRequest(Signal.METRICS, message.SerializeToString(), 1)))


def record_lines(*records: LogRecord) -> list[str]:
    scopes = [ScopeLogs(log_records=records)]
    message = ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=CHECKOUT, scope_logs=scopes)])
    return list(lines(ExportRequest(Signal.LOGS, message.SerializeToString(), 1)))


class TestSpans:
    def test_show_when_what_how_long_and_which_trace(self) -> None:
        span = Span(
            trace_id=TRACE,
            name="POST /pay",
            start_time_unix_nano=TIME,
            end_time_unix_nano=TIME + 12_345_678,
            status=Status(code=Status.STATUS_CODE_OK),
            attributes=[KeyValue(key="http.route", value=text("/pay"))],
        )
        (line,) = span_lines(span)
        assert line == (
            "08:53:20.123  span    checkout      POST /pay  12.35ms  ok  http.route=/pay"
            "  trace=0af7651916cd43dd8448eb211c80319c"
        )

    def test_show_errors_events_and_links(self) -> None:
        span = Span(
            name="POST /pay",
            start_time_unix_nano=TIME,
            end_time_unix_nano=TIME + 2_500_000_000,
            status=Status(code=Status.STATUS_CODE_ERROR, message="card declined"),
            events=[Span.Event(name="exception"), Span.Event(name="retry")],
            links=[Span.Link(), Span.Link()],
        )
        assert span_lines(span) == [
            "08:53:20.123  span    checkout      POST /pay  2.50s  ERROR card declined  [exception]  [retry]  links=2"
        ]

    def test_without_anything_are_still_lines(self) -> None:
        assert span_lines(Span(), Span(), resource=Resource()) == ["00:00:00.000  span    unknown       0.00ms"] * 2

    def test_with_the_largest_times_are_still_lines(self) -> None:
        (line,) = span_lines(Span(start_time_unix_nano=2**64 - 1, end_time_unix_nano=0))
        assert "-18446744073.71s" in line

    def test_say_how_many_attributes_are_not_shown(self) -> None:
        attributes = [KeyValue(key=f"k{number}", value=AnyValue(int_value=number)) for number in range(9)]
        (line,) = span_lines(Span(attributes=attributes))
        assert line.endswith("k0=0 k1=1 k2=2 k3=3 k4=4 k5=5 (+3)")

    def test_control_no_terminal(self) -> None:
        span = Span(
            name="\x1b[2Jname\nnext",
            attributes=[KeyValue(key="\x07key", value=text("\x9bvalue"))],
            status=Status(code=Status.STATUS_CODE_ERROR, message="\r\nmessage"),
            events=[Span.Event(name="\u202eevent")],
        )
        service = Resource(attributes=[KeyValue(key="service.name", value=text("\x00shop"))])
        (line,) = span_lines(span, resource=service)
        assert line.isprintable()
        assert "?[2Jname next" in line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (text("a b"), "a b"),
        (AnyValue(bool_value=True), "true"),
        (AnyValue(bool_value=False), "false"),
        (AnyValue(int_value=-(2**63)), "-9223372036854775808"),
        (AnyValue(double_value=0.1), "0.1"),
        (AnyValue(double_value=float("nan")), "nan"),
        (AnyValue(bytes_value=b"\x00\xff"), "00ff"),
        (AnyValue(array_value=ArrayValue(values=[text("a"), AnyValue(int_value=1)])), "[a, 1]"),
        (AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=text("b"))])), "{a=b}"),
        (AnyValue(), ""),
        (text("x" * 100), "x" * 39 + "…"),
    ],
    ids=repr,
)
def test_an_attribute_of_every_kind_is_shown(value: AnyValue, shown: str) -> None:
    (line,) = span_lines(Span(attributes=[KeyValue(key="k", value=value)]))
    assert line.endswith(f"  k={shown}")


class TestDataPoints:
    def test_show_numbers_with_their_unit(self) -> None:
        gauge = Gauge(data_points=[NumberDataPoint(time_unix_nano=TIME, as_double=0.25)])
        total = Sum(
            data_points=[
                NumberDataPoint(time_unix_nano=TIME, as_int=7, attributes=[KeyValue(key="route", value=text("/pay"))])
            ]
        )
        metrics = Metric(name="load", gauge=gauge), Metric(name="requests", unit="{request}", sum=total)
        assert point_lines(*metrics) == [
            "08:53:20.123  metric  checkout      load  0.25",
            "08:53:20.123  metric  checkout      requests  7 {request}  route=/pay",
        ]

    def test_show_distributions_by_count_and_sum(self) -> None:
        metrics = [
            Metric(name="a", histogram=Histogram(data_points=[HistogramDataPoint(count=3, sum=1.5)])),
            Metric(
                name="b",
                exponential_histogram=ExponentialHistogram(
                    data_points=[ExponentialHistogramDataPoint(count=4, sum=2.5)]
                ),
            ),
            Metric(name="c", unit="s", summary=Summary(data_points=[SummaryDataPoint(count=5, sum=3.5)])),
        ]
        assert [line.split("checkout")[1].strip() for line in point_lines(*metrics)] == [
            "a  count=3 sum=1.5",
            "b  count=4 sum=2.5",
            "c  count=5 sum=3.5 s",
        ]

    def test_of_a_metric_without_any_are_no_lines(self) -> None:
        assert point_lines(Metric(name="empty")) == []


class TestLogRecords:
    def test_show_severity_body_and_trace(self) -> None:
        record = LogRecord(
            time_unix_nano=TIME,
            severity_text="ERROR",
            body=text("payment\nfailed"),
            attributes=[KeyValue(key="user.id", value=AnyValue(int_value=7))],
            trace_id=TRACE,
        )
        (line,) = record_lines(record)
        assert line == (
            "08:53:20.123  log     checkout      ERROR  payment failed  user.id=7"
            "  trace=0af7651916cd43dd8448eb211c80319c"
        )

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
        assert line == f"08:53:20.123  log     checkout      {name}  b"

    def test_without_a_severity_are_still_lines(self) -> None:
        assert record_lines(LogRecord(body=text("b"))) == ["00:00:00.000  log     checkout      b"]


@pytest.mark.parametrize("signal", Signal)
def test_a_body_that_is_no_request_is_an_error_at_once(signal: Signal) -> None:
    with pytest.raises(DecodeError):
        lines(ExportRequest(signal, b"\xff\xff", 1))
