import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import ExportRequest, Signal
from app.queue_command.desk import NoAnswerError
from app.queue_command.output import format_letters, format_request, format_status


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def letter(**fields: object) -> dict[str, Any]:
    usual = {"sequence": 17, "signal": "traces", "items": 1, "bytes": 11, "age_seconds": 5.0, "reason": "invalid"}
    return usual | {"message": "400"} | fields


def test_letters_are_a_table() -> None:
    rows = [
        letter(),
        letter(sequence=123_456, items=12_345, bytes=5_300_000, age_seconds=8000, reason="not_allowed", message="401"),
        letter(bytes=2048, age_seconds=200_000, signal="logs"),
        letter(bytes=3 << 30, age_seconds=119),
    ]
    assert format_letters(rows, more=False).splitlines() == [
        "SEQUENCE  SIGNAL   ITEMS     SIZE    AGE  REASON       MESSAGE",
        "      17  traces       1     11 B    5 s  invalid      400",
        "  123456  traces  12,345  5.1 MiB    2 h  not_allowed  401",
        "      17  logs         1  2.0 KiB    2 d  invalid      400",
        "      17  traces       1  3.0 GiB  119 s  invalid      400",
    ]


def test_that_there_are_more_is_said() -> None:
    assert format_letters([letter()], more=True).endswith("\nand more: --limit is 1")
    assert format_letters([], more=False) == "no dead letters"


def test_a_line_is_no_longer_than_the_terminal_is_wide_and_does_nothing_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    line = format_letters([letter(message="\x1b[31mred\n" + "x" * 100)], more=False).splitlines()[1]
    assert len(line) == 60
    assert line.endswith("x…")
    assert "?[31mred?x" in line


def test_the_status_tells_what_to_do_next() -> None:
    signals = {
        "traces": {"queued_items": 12_345, "dead_items": 7, "dead_letters": 2},
        "logs": {"queued_items": 0, "dead_items": 0, "dead_letters": 0},
    }
    status = {"storage": "disk", "used_bytes": 3 << 20, "capacity_bytes": 752 << 20, "signals": signals}
    assert format_status(status | {"oldest_seconds": 150.0}).splitlines() == [
        "SIGNAL  QUEUED  DEAD  LETTERS",
        "traces  12,345     7        2",
        "logs         0     0        0",
        "",
        "3.0 MiB of 752.0 MiB on disk are used.",
        "The oldest entry has waited 2 m.",
        "otlp-service queue dead list tells what the destination refused.",
    ]
    signals["traces"]["dead_letters"] = 0
    last = format_status(status | {"storage": "memory", "oldest_seconds": None}).splitlines()[-1]
    assert last == "3.0 MiB of 752.0 MiB in memory are used."


def test_a_request_is_shown_as_otlp_json() -> None:
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=bytes(range(16)), span_id=b"\xff" * 8, parent_span_id=b"abc", name="a", kind=2)
    )
    span.attributes.add(key="traceId").value.bytes_value = b"abc"
    span.links.add(trace_id=b"\x01" * 16)
    span.start_time_unix_nano = 1
    shown = json.loads(format_request(letter(), export(request), indent=None))
    assert shown["sequence"] == 17
    (found,) = shown["request"]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert found == {
        "traceId": "000102030405060708090a0b0c0d0e0f",
        "spanId": "ff" * 8,
        "parentSpanId": "616263",
        "name": "a",
        "kind": 2,
        "startTimeUnixNano": "1",
        "attributes": [{"key": "traceId", "value": {"bytesValue": "YWJj"}}],
        "links": [{"traceId": "01" * 16}],
    }


def export(request: ExportTraceServiceRequest) -> ExportRequest:
    return ExportRequest(Signal.TRACES, request.SerializeToString(), 1)


def test_a_request_is_indented_for_people() -> None:
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="ÄRGER")
    shown = format_request(letter(), ExportRequest(Signal.LOGS, logs.SerializeToString(), 1), indent=2)
    assert '\n                "severityText": "ÄRGER"\n' in shown


def test_what_is_no_protobuf_is_told() -> None:
    with pytest.raises(NoAnswerError, match="dead letter 17 is no valid protobuf"):
        format_request(letter(), ExportRequest(Signal.TRACES, b"\xff", 1), indent=2)
