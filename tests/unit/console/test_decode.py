"""Requests as a page shows them."""

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.console.decode import points_in, records_in, spans_in
from tests.support.otlp import NOW_NS, gauges, log_records, pairs, span, spans

MS = 10**6


def test_a_span_has_all_that_a_waterfall_shows() -> None:
    event = Span.Event(name="retry", time_unix_nano=NOW_NS, attributes=pairs({"n": "1"}))
    thrown = Span.Event(name="exception", attributes=pairs({"exception.type": "a.Bad", "exception.message": "no"}))
    link = Span.Link(trace_id=bytes(15) + b"\x09", span_id=bytes(7) + b"\x08", attributes=pairs({"why": "batch"}))
    written = span("GET /", parent=7, ms=3, error="broken", attributes={"a": "b"}, events=[event, thrown], links=[link])
    (seen,) = spans_in(spans("web", written))
    assert (seen.trace_id, seen.span_id, seen.parent_id) == ("0" * 31 + "1", "0" * 15 + "1", "0" * 15 + "7")
    assert (seen.name, seen.service, seen.kind, seen.scope) == ("GET /", "web", "server", "by.hand 1")
    assert (seen.start_ns, seen.duration_ns) == (NOW_NS, 3 * MS)
    assert (seen.failed, seen.message) == (True, "broken")
    assert seen.attributes == (("a", "b"),)
    assert seen.resource == (("service.name", "web"), ("service.version", "1.2.3"))
    assert [(each.name, each.failure, each.attributes[:1]) for each in seen.events] == [
        ("retry", "", (("n", "1"),)),
        ("exception", "Bad: no", (("exception.type", "a.Bad"),)),
    ]
    assert [(each.trace_id[-2:], each.span_id[-2:], each.attributes) for each in seen.links] == [
        ("09", "08", (("why", "batch"),))
    ]
    assert seen.left_out == 0


def test_whatever_a_client_sends_text_and_its_number_are_bounded() -> None:
    event, link = Span.Event(name="e" * 9999), Span.Link(trace_id=bytes(999), span_id=bytes(999))
    written = span(
        "n" * 9999,
        error="m" * 99_999,
        attributes={f"{n}{'k' * 999}": "v" * 99_999 for n in range(100)},
        events=[event] * 100,
        links=[link] * 100,
    )
    written.span_id = bytes(999)
    (seen,) = spans_in(spans("s" * 999, written))
    assert (len(seen.name), len(seen.message), len(seen.span_id)) == (200, 2000, 16)
    assert (len(seen.attributes), len(seen.events), len(seen.links)) == (64, 32, 32)
    assert max(len(key) for key, _ in seen.attributes) == 200
    assert {len(value) for _, value in seen.attributes} == {2001}
    assert len(seen.links[0].trace_id) == 32
    assert seen.left_out == 36 + 68 + 68
    assert 64 * 2200 < seen.cost < 64 * 4000


def test_what_controls_something_is_taken_out_of_text_but_line_ends_and_tabs() -> None:
    (seen,) = spans_in(spans("web", span("a\x1b[2J\u202eb", attributes={"k\n": "one\n\ttwo\x07\u202e"})))
    assert seen.name == "a?[2J?b"
    assert seen.attributes == (("k", "one\n\ttwo??"),)


def test_a_span_without_a_name_or_with_times_that_run_backwards_is_shown_all_the_same() -> None:
    (seen,) = spans_in(spans("", span("", trace=0, number=0, ms=-5)))
    assert (seen.name, seen.service, seen.trace_id, seen.span_id, seen.duration_ns) == (
        "(no name)",
        "unknown",
        "",
        "",
        0,
    )


def test_a_data_point_has_its_value_as_people_read_it() -> None:
    (seen,) = points_in(gauges("web", {"memory": 1.5}, {"pool": "a"}))
    assert (seen.service, seen.metric, seen.kind, seen.value) == ("web", "memory", "gauge", "1.5")
    assert (seen.attributes, seen.time_ns) == ((("pool", "a"),), NOW_NS)


def test_a_log_record_has_its_severity_and_what_it_tells() -> None:
    told = LogRecord(
        time_unix_nano=NOW_NS,
        severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR,
        body=AnyValue(string_value="it broke"),
        attributes=pairs({"exception.type": "a.Bad", "exception.message": "no"}),
        trace_id=bytes(15) + b"\x05",
    )
    plain = LogRecord(observed_time_unix_nano=NOW_NS, event_name="started")
    first, second = records_in(log_records("web", told, plain))
    assert (first.severity, first.level, first.body) == ("ERROR", 5, "it broke: Bad: no")
    assert first.trace_id.endswith("05")
    assert (second.severity, second.level, second.body, second.time_ns) == ("log", 0, "started", NOW_NS)


@pytest.mark.parametrize("read", [spans_in, points_in, records_in])
def test_what_is_no_request_says_so(read: object) -> None:
    with pytest.raises(DecodeError):
        list(read(b"\xff\xff"))  # type: ignore[operator]
