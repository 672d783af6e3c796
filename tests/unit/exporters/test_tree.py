"""Traces as trees for people."""

import re
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from app.exporters.canvas import ASCII, Canvas, cells
from app.exporters.tree import tree_lines

TIME = 1_760_000_000_123_456_789  # 08:53:20.123 UTC
TRACE = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
MS = 10**6
COLOUR = re.compile(r"\x1b\[\d+m")


def value(given: str | int) -> AnyValue:
    return AnyValue(int_value=given) if isinstance(given, int) else AnyValue(string_value=given)


def pairs(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(each)) for key, each in values.items()]


def span(name: str, parent: str, ms: tuple[int, int], attributes: dict[str, Any] | None = None, **more: Any) -> Span:
    """A span from and to these milliseconds; its id is the beginning of its name."""
    return Span(
        trace_id=TRACE,
        span_id=name[:8].encode(),
        parent_span_id=parent[:8].encode(),
        name=name,
        start_time_unix_nano=TIME + ms[0] * MS,
        end_time_unix_nano=TIME + ms[1] * MS,
        attributes=pairs(attributes or {}),
        **more,
    )


def failed(message: str) -> Status:
    return Status(code=Status.STATUS_CODE_ERROR, message=message)


def event(name: str, ms: int, **attributes: Any) -> Span.Event:
    return Span.Event(name=name, time_unix_nano=TIME + ms * MS, attributes=pairs(attributes))


def under(service: str, *spans: Span) -> ResourceSpans:
    return ResourceSpans(
        resource=Resource(attributes=pairs({"service.name": service})), scope_spans=[ScopeSpans(spans=spans)]
    )


def tree(*resources: ResourceSpans, canvas: Canvas | None = None) -> list[str]:
    return list(tree_lines(ExportTraceServiceRequest(resource_spans=resources), canvas or Canvas(100)))


def golden(text: str) -> list[str]:
    return text.strip("\n").split("\n")


EXCEPTION = {"exception.type": "java.net.TimeoutError", "exception.message": "no answer", "exception.stacktrace": "…"}
SHOP = (
    under(
        "web", span("POST /checkout", "", (0, 812), {"http.request.method": "POST", "http.response.status_code": 200})
    ),
    under(
        "checkout",
        span("SELECT stock", "PlaceOrder", (14, 21), {"db.system.name": "postgresql"}),
        span(
            "PlaceOrder", "POST /checkout", (9, 803), {"rpc.system": "grpc"}, events=[event("retry", 627, delay_ms=9)]
        ),
        span("publish", "PlaceOrder", (791, 795)),
    ),
    under(
        "payment",
        span("Charge", "PlaceOrder", (25, 526), status=failed("the provider timed out")),
        span(
            "POST card.example",
            "Charge",
            (26, 526),
            {"server.port": 443},
            status=failed("timeout"),
            events=[Span.Event(name="exception", time_unix_nano=TIME + 526 * MS, attributes=pairs(EXCEPTION))],
        ),
    ),
    under(
        "mailer",
        Span(
            trace_id=b"\x01" * 16,
            span_id=b"mail",
            name="process",
            start_time_unix_nano=TIME + 900 * MS,
            end_time_unix_nano=TIME + 900 * MS + 350_000,
            status=Status(code=Status.STATUS_CODE_OK),
            links=[
                Span.Link(trace_id=TRACE, span_id=b"publish", attributes=pairs({"why": "order"})),
                Span.Link(trace_id=b"\x02" * 16, span_id=b"\x03" * 8),
            ],
        ),
    ),
)


def test_a_trace_is_a_tree_with_services_durations_errors_events_and_links() -> None:
    assert tree(*SHOP) == golden("""
08:53:20.123  trace   0af7651916cd43dd8448eb211c80319c  6 spans, 3 services, 812ms, 2 errors
  POST /checkout             web       812ms ━━━━━━━━━━ http.request.method=POST +1
  └─ PlaceOrder              checkout  794ms ━━━━━━━━━━ rpc.system=grpc
     │  +627ms retry  delay_ms=9
     ├─ SELECT stock         checkout    7ms ━          db.system.name=postgresql
     ├─ Charge               payment   501ms ━━━━━━     ERROR
     │  │  ! the provider timed out
     │  └─ POST card.example payment   500ms ━━━━━━     ERROR server.port=443
     │        ! timeout
     │        +526ms TimeoutError: no answer
     └─ publish              checkout    4ms          ━
08:53:21.023  trace   01010101010101010101010101010101  1 span, 1 service, 350µs
  process mailer  350µs ━━━━━━━━━━ ok
     → publish of checkout in trace 0af7651916cd43dd8448eb211c80319c  why=order
     → span 0303030303030303 in trace 02020202020202020202020202020202
""")


def test_where_the_stream_knows_only_ascii_the_tree_is_ascii() -> None:
    lines = tree(*SHOP[:2], canvas=Canvas(100, glyphs=ASCII))
    assert lines == golden("""
08:53:20.123  trace   0af7651916cd43dd8448eb211c80319c  4 spans, 2 services, 812ms
  POST /checkout     web       812ms ========== http.request.method=POST +1
  `- PlaceOrder      checkout  794ms ========== rpc.system=grpc
     |  +627ms retry  delay_ms=9
     |- SELECT stock checkout    7ms =          db.system.name=postgresql
     `- publish      checkout    4ms          =
""")
    assert all(line.isascii() for line in lines)


def test_colours_add_nothing_but_colours() -> None:
    coloured = tree(*SHOP, canvas=Canvas(100, colour=True))
    plain = tree(*SHOP)
    assert [COLOUR.sub("", line).rstrip() for line in coloured] == plain
    assert "\x1b[31mERROR \x1b[0m" in "".join(coloured)


def test_no_line_is_wider_than_the_terminal() -> None:
    long = under(
        "a service with a very long name indeed",
        span("中文" * 60, "", (0, 10), {f"key{n}": "value" * 9 for n in range(9)}, status=failed("why " * 99)),
        span("child", "中文" * 60, (1, 2), events=[event("e" * 99, 1, k="v" * 99), event("exception", 1, **EXCEPTION)]),
        span("later", "child", (2, 9), links=[Span.Link(span_id=b"12345678", attributes=pairs({"k": "v" * 99}))]),
    )
    for width in (40, 60, 69, 70, 80, 100, 200):
        lines = tree(long, *SHOP, canvas=Canvas(width))
        assert max(map(cells, lines)) <= max(width, 60)
        assert len(lines) == 22


def test_a_narrow_terminal_has_less_of_the_head_and_no_bars() -> None:
    assert tree(*SHOP[:2], canvas=Canvas(80))[0] == (
        "08:53:20.123  trace   0af7651916cd43dd8448eb211c80319c  4 spans, 812ms"
    )
    lines = tree(*SHOP[:2], canvas=Canvas(60))
    assert lines[0] == "08:53:20.123  trace   0af7651916cd43dd8448e…  4 spans, 812ms"
    assert not any("━" in line for line in lines)


def test_a_span_whose_parent_is_not_in_the_batch_is_a_root_that_says_so() -> None:
    spans = span("a", "", (0, 4)), span("b", "elsewhere", (1, 2)), span("c", "b", (1, 2))
    assert tree(under("web", *spans)) == golden("""
08:53:20.123  trace   0af7651916cd43dd8448eb211c80319c  3 spans, 1 service, 4ms
  a    web    4ms ━━━━━━━━━━
  … b  web    1ms   ━━━
  └─ c web    1ms   ━━━
""")


def test_a_circle_of_parents_is_shown_once() -> None:
    lines = tree(under("web", span("a", "b", (0, 4)), span("b", "a", (0, 4)), span("self", "self", (1, 2))))
    assert [line.split()[0] for line in lines[1:]] == ["a", "└─", "self"]


def test_what_is_too_deep_is_not_indented_further() -> None:
    chain = [span(f"{n:08}", f"{n - 1:08}" if n else "", (n, 60)) for n in range(40)]
    lines = tree(under("web", *chain), canvas=Canvas(80))
    assert len(lines) == 41
    deepest = lines[-1].index("00000039")
    assert lines[-2].index("00000038") == deepest
    assert lines[-1][deepest - 3 : deepest] == "├┄ "
    assert max(map(cells, lines)) <= 80


def test_a_span_without_anything_is_still_a_line() -> None:
    assert tree(ResourceSpans(scope_spans=[ScopeSpans(spans=[Span(), Span()])])) == golden("""
00:00:00.000  trace   without an id  2 spans, 1 service, no times
  (no name) unknown    0ns
  (no name) unknown    0ns
""")


def test_times_that_contradict_each_other_are_shown_without_a_bar() -> None:
    backwards = Span(trace_id=TRACE, name="backwards", start_time_unix_nano=2**64 - 1, end_time_unix_nano=0)
    lines = tree(under("web", span("a", "", (0, 4)), backwards))
    assert lines[0].endswith("2 spans, 1 service, 4ms")
    assert lines[2] == "  backwards web -213503d23h"


def test_only_some_of_many_events_and_links_are_shown() -> None:
    busy = span("busy", "", (0, 9), events=[event("tick", 1)] * 30, links=[Span.Link()] * 9)
    lines = tree(under("web", busy))
    assert sum("tick" in line for line in lines) == 8
    assert lines[-2:] == ["     and 22 more events", "     and 1 more link"]


def test_an_event_before_its_trace_has_no_offset() -> None:
    early = span("a", "", (5, 9), events=[event("early", 1), Span.Event(name="never")])
    assert tree(under("web", early))[2:] == ["     early", "     never"]


def test_an_exception_needs_not_say_everything() -> None:
    some = [event("exception", 1, **{"exception.type": "a.B"}), event("exception", 1, **{"exception.message": "m"})]
    assert tree(under("web", span("a", "", (0, 9), events=some)))[2:] == ["     +1ms B", "     +1ms m"]


def test_nothing_that_was_sent_controls_the_terminal() -> None:
    hostile = Span(
        trace_id=b"\x1b[2J",
        span_id=b"\x1b",
        name="\x1b[2Jname\nnext",
        attributes=pairs({"\x07key": "\x9bvalue"}),
        status=failed("\r\nmessage"),
        events=[Span.Event(name="\u202eevent"), event("exception", 0, **{"exception.message": "\x1b]0;x\x07"})],
        links=[Span.Link(trace_id=b"\x1b" * 40, span_id=b"\x1b" * 40, attributes=pairs({"\x00": "\x08"}))],
    )
    for canvas in (Canvas(), Canvas(colour=True)):
        lines = tree(under("\x00shop", hostile), canvas=canvas)
        assert all(COLOUR.sub("", line).isprintable() for line in lines)
        assert "?[2Jname next" in "".join(lines)
