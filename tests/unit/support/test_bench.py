"""What scripts/bench makes of what it measured."""

import gzip
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal
from app.receivers.otlp_json import read_json
from tests.support.bench.chart import draw
from tests.support.bench.compare import Cell, Standing
from tests.support.bench.gateways import MEMORY, PEERS
from tests.support.bench.growth import Depth, Outage, Point
from tests.support.bench.json_door import JsonDoor
from tests.support.bench.latency import Latency, sync_milliseconds
from tests.support.bench.load import times_in
from tests.support.bench.page import BEGIN, END, put_into, write
from tests.support.bench.payload import request, request_json
from tests.support.bench.results import Results
from tests.support.bench.sink import spans_in

ROTEL = PEERS[0].name
MIB = 1 << 20


def cell(gateway: str, speed: int, spans: int = 512, transport: str = "http") -> Cell:
    """A cell in which all of 100 requests arrived, `speed` spans for each second of processor time."""
    assert transport in {"http", "grpc"}
    arrived = 100 * spans
    return Cell(gateway, "http" if transport == "http" else "grpc", spans, 100, 0, arrived, arrived / speed, 1.0, MIB)


@pytest.fixture
def results() -> Results:
    """Two rounds of two gateways at one size, and a little of everything else."""
    speeds = [(MEMORY.name, 700_000), (ROTEL, 200_000), (MEMORY.name, 900_000), (ROTEL, 300_000)]
    return Results(
        machine={"Machine": "2 cores <&>", "Python": "3.13"},
        command="scripts/bench",
        cells=[cell(gateway, speed) for gateway, speed in speeds],
        standing=[Standing(MEMORY.name, 0.7, 0.1, 50 * MIB)],
        latencies=[Latency("http", 500, 1000, 2.0, 9.0, 12.0)],
        sizes=[Point("spans a request", at, "http", 1.0, MIB) for at in (1, 512, 8192)],
        clients=[Point("clients", at, "grpc", 2.0, MIB) for at in (1, 500)],
        depths=[Depth(1 << 30, 1.5, 0.5, 100 * MIB)],
        outages=[Outage(0, 3.0, MIB), Outage(30, 2.9, MIB)],
        json=[JsonDoor("traces", 1, 10.0, 55.0)],
    )


def test_a_ratio_is_the_median_of_those_of_the_rounds(results: Results) -> None:
    assert results.ratio(MEMORY.name, ROTEL, "http", 512) == pytest.approx((3.5 + 3.0) / 2)
    assert results.speed(MEMORY.name, "http", 512) == pytest.approx(800_000)
    assert results.ratio(MEMORY.name, ROTEL, "grpc", 512) is None
    assert results.speed(ROTEL, "http", 1) is None


def test_what_did_not_arrive_is_told(results: Results) -> None:
    assert not list(results.complaints())
    results.cells[0] = replace(results.cells[0], arrived=51_000)
    results.cells[1] = replace(results.cells[1], arrived=0)
    assert list(results.complaints()) == [
        f"{MEMORY.name}, http, 512 spans a request: of 51200 spans 200 did not arrive",
        f"{ROTEL}, http, 512 spans a request: nothing arrived",
    ]
    assert f"- **Lost spans**: {MEMORY.name}, in 1 of 2 measurements (HTTP 512)\n" in write(results)


def test_a_round_in_which_a_peer_was_stuck_does_not_count(results: Results) -> None:
    results.cells[1] = replace(results.cells[1], arrived=51_000)
    assert results.ratio(MEMORY.name, ROTEL, "http", 512) == pytest.approx(3.0)
    assert results.speed(ROTEL, "http", 512) == pytest.approx(300_000)
    results.cells[3] = replace(results.cells[3], arrived=0)
    assert results.ratio(MEMORY.name, ROTEL, "http", 512) is None
    assert results.speed(ROTEL, "http", 512) is not None


def test_what_was_measured_can_be_read_again(results: Results) -> None:
    assert Results.from_json(results.to_json()) == results


def test_the_page_says_what_was_measured_and_what_misses_its_goal(results: Results) -> None:
    results.left_out = ["rotel: there is none"]
    page = write(results)
    assert f"| **{MEMORY.name}** |  |  | 800 |  |  |  | 1 MiB |" in page
    assert f"| {MEMORY.name}, to {ROTEL} |  |  | **3.2** (3.5) |  |  |  |" in page
    assert "**Left out**: rotel: there is none" in page
    assert "| HTTP | 500 | 2.0 ms | 9.0 ms | 12.0 ms |" in page
    assert "| 1 | 10 µs | 55 µs | 5.5 |" in page
    assert (
        "| spans a request | 1 | 512 | 8,192 |\n| --- | ---: | ---: | ---: |\n| HTTP | 1.00 | 1.00 | 1.00 |\n" in page
    )
    assert "| to deliver it | 0.50 |" in page
    assert "| all of it | 3.00 | 2.90 |" in page


def test_a_run_that_found_nothing_says_why() -> None:
    assert write(Results({"Python": "3"}, "scripts/bench", ["everything: no time"])) == (
        "Measured by `scripts/bench` on:\n\n- Python: 3\n- **Left out**: everything: no time\n"
    )


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put_into(page, "new\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no place"):
        put_into("a page without marks", "new")


def test_the_picture_has_a_bar_for_each_figure_and_a_line_for_each_growth(results: Results) -> None:
    picture = draw(results)
    root = ET.fromstring(picture)  # noqa: S314 - our own
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert tags.count("rect") == 1 + 2, "the page, and a bar for each gateway"
    assert tags.count("polyline") == 5, "sizes, clients, in, out, outages"
    assert "2 cores &lt;&amp;&gt;" in picture


def test_the_picture_of_a_part_has_no_lines(results: Results) -> None:
    few = replace(results, sizes=[], clients=[], depths=[], outages=[])
    assert "polyline points" not in draw(few)


def test_a_request_is_the_same_in_json() -> None:
    body = request(3)
    spans = ExportTraceServiceRequest.FromString(body)
    assert [len(spans.resource_spans[0].scope_spans[0].spans), request(3) == body] == [3, True]
    assert json.loads(request_json(Signal.TRACES, 3))["resourceSpans"][0]["scopeSpans"][0]["spans"][0][
        "traceId"
    ].isalnum()


async def test_json_is_read_to_the_very_request() -> None:
    read = await read_json(Signal.TRACES, request_json(Signal.TRACES, 3))
    assert ExportTraceServiceRequest.FromString(read.body) == ExportTraceServiceRequest.FromString(request(3))
    # It is what protobuf's own reader is given in the comparison, too; only that it takes hex for base64.
    json_format.Parse(request_json(Signal.TRACES, 3), ExportTraceServiceRequest())


def test_the_sink_counts_what_is_gzipped_too() -> None:
    assert spans_in([request(2), gzip.compress(request(5))]) == 7


def test_the_disk_says_how_long_it_takes(tmp_path_factory: pytest.TempPathFactory) -> None:
    half, most = sync_milliseconds(tmp_path_factory.mktemp("disk"), times=5)
    assert 0 < half <= most


def test_refusals_are_no_acknowledgements(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("load") / "times"
    file.write_text("1\t200\t2500\n2\t503\t100\n3\t200\t1500\n4\t-1\t9\n")
    assert times_in(file) == [1.5, 2.5]
