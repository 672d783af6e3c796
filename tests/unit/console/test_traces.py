"""The last traces that passed."""

import pytest

from app.console.decode import spans_in
from app.console.traces import Query, Trace, TraceBook
from tests.support.otlp import span, spans


def book(*requests: bytes, most_traces: int = 300, most_bytes: int = 16 << 20) -> TraceBook:
    kept = TraceBook(most_traces, most_bytes)
    for request in requests:
        for each in spans_in(request):
            kept.add(each)
    return kept


def only(kept: TraceBook) -> Trace:
    (trace,) = kept.find(Query())
    return trace


def ids(kept: TraceBook, **given: str) -> list[int]:
    return [int(trace.trace_id, 16) for trace in kept.find(Query.parse(given))]


# What a trace is made of.


def test_spans_of_several_requests_and_services_become_one_trace() -> None:
    trace = only(
        book(
            spans("checkout", span("order", number=2, parent=1, begin_ms=5, ms=50)),
            spans("web", span("POST /", number=1, ms=40), span("render", number=3, parent=1, begin_ms=35, error="no")),
        )
    )
    assert (trace.root.name, list(trace.services), trace.failed) == ("POST /", ["checkout", "web"], 1)
    assert trace.duration_ns == 55 * 10**6


def test_rows_go_from_the_root_down_and_siblings_are_in_the_order_of_their_start() -> None:
    trace = only(
        book(
            spans(
                "web",
                span("late", number=4, parent=1, begin_ms=9),
                span("inner", number=3, parent=2, begin_ms=2),
                span("root", number=1),
                span("early", number=2, parent=1, begin_ms=1),
            )
        )
    )
    assert [(row.span.name, row.depth) for row in trace.rows()] == [
        ("root", 0),
        ("early", 1),
        ("inner", 2),
        ("late", 1),
    ]


@pytest.mark.parametrize(
    "numbers",
    [
        [(0, 0), (0, 0)],  # empty
        [(1, 0), (1, 0), (1, 1)],  # repeated, and its own parent
        [(1, 2), (2, 3), (3, 1)],  # a circle
        [(1, 2), (2, 1), (5, 9), (6, 5)],  # a circle, and an orphan with a child
    ],
)
def test_every_span_of_a_trace_has_one_row(numbers: list[tuple[int, int]]) -> None:
    written = [span(f"s{n}", number=own, parent=parent, begin_ms=n) for n, (own, parent) in enumerate(numbers)]
    rows = list(only(book(spans("web", *written))).rows())
    assert sorted(row.span.name for row in rows) == [each.name for each in written]
    assert rows[0].depth == 0


def test_a_chain_may_be_as_long_as_a_trace() -> None:
    chain = [span(f"s{n}", number=n, parent=n - 1, begin_ms=n) for n in range(1, 1001)]
    rows = list(only(book(spans("web", *chain))).rows())
    assert [row.depth for row in rows] == list(range(1000))


# What is kept.


def test_what_is_kept_is_bounded_in_traces_and_the_one_added_to_longest_ago_goes_first() -> None:
    requests = [spans("web", span(trace=n, begin_ms=n)) for n in (1, 2, 3)]
    assert ids(book(*requests, spans("web", span(trace=1, number=2)), spans("web", span(trace=4)), most_traces=3)) == [
        3,
        1,
        4,
    ]


def test_what_is_kept_is_bounded_in_bytes_but_for_the_last_trace() -> None:
    large = {"text": "x" * 1000}
    requests = [spans("web", span(trace=n, begin_ms=n, attributes=large)) for n in range(1, 9)]
    assert ids(book(*requests, most_bytes=7000)) == [8, 7, 6]
    assert ids(book(*requests, most_bytes=1)) == [8]


def test_what_is_kept_is_bounded_in_bytes_of_a_trace() -> None:
    large = {"text": "x" * 1000}
    trace = only(book(*(spans("web", span(number=n, attributes=large)) for n in range(1, 9)), most_bytes=16_000))
    assert (len(trace.spans), trace.left_out) == (2, 6)


def test_a_resource_counts_once_for_the_spans_that_have_it_in_common() -> None:
    requests = [spans("s" * 1000, span(trace=n, number=1), span(trace=n, number=2)) for n in range(1, 9)]
    costs = {trace.cost for trace in book(*requests).find(Query())}
    assert 1000 < costs.pop() - 2 * next(spans_in(requests[0])).cost < 2000
    assert not costs


def test_what_is_kept_is_bounded_in_spans_of_a_trace() -> None:
    trace = only(book(spans("web", *(span(number=n) for n in range(1, 1101)))))
    assert (len(trace.spans), trace.left_out) == (1000, 100)


# How one is found.


@pytest.fixture
def shop() -> TraceBook:
    return book(
        spans("web", span("POST /checkout", trace=1, ms=900, attributes={"http.route": "/checkout"})),
        spans("payment", span("Charge", trace=1, number=2, parent=1, error="timeout", attributes={"card": "Visa"})),
        spans("web", span("GET /", trace=2, begin_ms=1000, ms=20, attributes={"http.route": "/"})),
        spans("mailer", span("send", trace=3, begin_ms=2000, ms=300, attributes={"to": "checkout@shop.example"})),
    )


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, [3, 2, 1]),
        ({"service": "WEB"}, [2, 1]),
        ({"name": "checkout"}, [1]),
        ({"errors": "yes"}, [1]),
        ({"at_least": "250ms"}, [3, 1]),
        ({"at_least": "250"}, [3, 1]),
        ({"at_least": "0.5s"}, [1]),
        ({"attribute": "card"}, [1]),
        ({"attribute": "card=visa"}, [1]),
        ({"attribute": "card=master"}, []),
        ({"attribute": "http.route=/"}, [2, 1]),
        ({"attribute": "checkout"}, [3, 1]),
        ({"attribute": "service.version=1.2"}, [3, 2, 1]),
        ({"service": "web", "errors": "yes"}, [1]),  # the error is elsewhere in that trace
        ({"service": "mailer", "errors": "yes"}, []),
        ({"service": "payment", "errors": "yes"}, [1]),
        ({"service": "web", "attribute": "card"}, []),
    ],
)
def test_a_trace_is_found_by_what_holds_for_one_of_its_spans(
    shop: TraceBook, given: dict[str, str], found: list[int]
) -> None:
    assert ids(shop, **given) == found


def test_a_duration_that_is_none_is_told_and_leaves_nothing_out(shop: TraceBook) -> None:
    query = Query.parse({"at_least": "fast"})
    assert query.problem == "“fast” is no duration; write 200ms or 1.5s"
    assert len(shop.find(query)) == len(shop) == 3
    assert not query.asks
    assert Query.parse({"at_least": "1s"}).asks


def test_the_services_that_passed_are_known(shop: TraceBook) -> None:
    assert shop.services() == ["mailer", "payment", "web"]
    assert shop.get("0" * 31 + "2") is not None
    assert shop.get("nothing") is None
