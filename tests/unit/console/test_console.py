"""The console as a part of the service, and its pages as a browser gets them."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.console import Console
from app.console.figures import Sample
from app.console.page import ASSETS, NAVIGATION, asset_url
from app.core.errors import InvalidData, NotAllowed, Refused, Retryable
from app.core.request import ExportRequest, Signal
from app.health import DISK, Health
from app.pipeline.admission import Admission
from app.pipeline.retry import Retry
from app.queue import Desk, MemoryQueue, QueueError
from app.receivers.auth import Doorkeeper
from app.settings import AuthSettings, load
from app.telemetry.metrics import Metrics
from tests.support.asgi import Reply, ask
from tests.support.clock import FakeClock, turns
from tests.support.otlp import gauges, log_records, pairs, span, spans
from tests.support.sink import Sink

HERE, ELSEWHERE = ("127.0.0.1", 50000), ("10.1.2.3", 50000)
OWN = ("127.0.0.1", 9090)
LOCAL = {"host": "localhost:9090"}
TRACES, METRICS, LOGS = Signal


class Desktop:
    """A console on a desk: all that it is told of, and who asks for its pages."""

    def __init__(self, clock: FakeClock, metrics: Metrics, queue: MemoryQueue, **settings: str) -> None:
        self.clock, self.metrics, self.queue = clock, metrics, queue
        self.health = Health("1.2.3", clock)
        ours = {"exporter.endpoint": "http://user:secret@collector:4318", "queue.storage": "memory"}
        loaded = load(ours | settings, {})
        keeper = Doorkeeper(AuthSettings(api_keys=loaded.settings.auth.api_keys), metrics)
        self.purged: list[tuple[Signal, int]] = []
        desk = Desk(queue, clock, "memory", lambda signal, items: self.purged.append((signal, items)))
        self.console = Console(
            lambda: loaded,
            metrics=metrics,
            health=self.health,
            queue=queue,
            desk=desk,
            doorkeeper=keeper,
            clock=clock,
            version="1.2.3",
        )
        self.sink = Sink()
        attempt = self.console.observe(self.sink)
        self.retry = Retry(attempt, loaded.settings.exporter.retry, clock, "export of traces")
        self.door = Admission(queue, metrics, "http", delivered=False)
        self.app = FastAPI()
        self.app.include_router(self.console.routes)

    def follow(self) -> None:
        self.console.follow(dict.fromkeys(Signal, self.retry), [self.door], http_port=8080, grpc_port=4317)

    async def get(self, path: str, client: tuple[str, int] = HERE, /, **given: str) -> Reply:
        return await ask(
            self.app, path, method="GET", headers=list(LOCAL.items()), query=urlencode(given), client=client, server=OWN
        )

    async def text(self, path: str, client: tuple[str, int] = HERE, /, **given: str) -> str:
        """The words of a page, as they are read."""
        reply = await self.get(path, client, **given)
        assert reply.status == 200, reply.body
        return words(reply.body.decode())

    async def post(
        self, form: Mapping[str, str], headers: Mapping[str, str] | None = None, client: tuple[str, int] = HERE
    ) -> Reply:
        sent = LOCAL | ({"sec-fetch-site": "same-origin"} if headers is None else dict(headers))
        body = urlencode(form).encode()
        return await ask(self.app, "/console/dead", body, headers=list(sent.items()), client=client, server=OWN)

    async def bury(self, signal: Signal, body: bytes, items: int, refusal: Refused) -> int:
        number = await self.queue.append(ExportRequest(signal, body, items), lambda _: None)
        lease = await self.queue.lease(signal, 1 << 20)
        assert lease is not None
        self.queue.bury(lease, refusal)
        return number


def words(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup.partition("<body")[2])).split())


@pytest.fixture
async def desktop(clock: FakeClock, metrics: Metrics, queue: MemoryQueue) -> AsyncIterator[Desktop]:
    desktop = Desktop(clock, metrics, queue)
    desktop.follow()
    async with desktop.console:
        yield desktop


# The pages.


@pytest.mark.parametrize(("path", "name"), NAVIGATION)
async def test_each_page_is_whole_and_may_load_nothing_but_its_own(desktop: Desktop, path: str, name: str) -> None:
    reply = await desktop.get(path)
    page = reply.body.decode()
    assert reply.status == 200
    assert page.startswith('<!doctype html><html lang="en"><head>')
    assert f'href="{path}" aria-current="page">{name}</a>' in page
    assert f"<h1>{name}</h1>" in page
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert (reply.headers["x-content-type-options"], reply.headers["cache-control"]) == ("nosniff", "no-store")
    assert reply.headers["referrer-policy"] == ("same-origin" if path == "/console/dead" else "no-referrer")
    assert not re.search(r"<script>|<style|\son\w+=|\sstyle=|javascript:|(src|href)=.(https?:)?//", page)


@pytest.mark.parametrize("path", [path for path, _ in NAVIGATION])
async def test_each_page_is_there_before_the_service_is(
    clock: FakeClock, metrics: Metrics, queue: MemoryQueue, path: str
) -> None:
    desktop = Desktop(clock, metrics, queue)
    assert "starting" in await desktop.text(path)
    assert (await desktop.get("/console/events", path=path)).body == b"event: end\ndata: busy\n\n"


async def test_files_are_kept_for_ever_under_a_name_that_changes_with_them(desktop: Desktop) -> None:
    for name, asset in ASSETS.items():
        reply = await desktop.get(asset_url(name))
        assert (reply.status, reply.body) == (200, asset.content)
        assert reply.headers["content-type"] == asset.media_type
        assert "immutable" in reply.headers["cache-control"]
    assert (await desktop.get("/console/static/0123456789ab/console.js")).status == 404
    assert (await desktop.get(asset_url("icon.svg").replace("icon", "other"))).status == 404


async def test_the_flow_tells_where_to_send_until_something_came(desktop: Desktop) -> None:
    assert "there are no figures yet" in await desktop.text("/")
    await desktop.clock.advance(1)
    told = "Nothing has come yet. Send to http://127.0.0.1:8080 over OTLP/HTTP, or to 127.0.0.1:4317 over OTLP/gRPC."
    assert told in await desktop.text("/")
    desktop.metrics.accepted.labels("traces", "http").inc(3)
    await desktop.clock.advance(10)
    text = await desktop.text("/")
    assert "Send to" not in text
    assert "Collector" in text
    assert "http://user:****@collector:4318" in text
    assert "secret" not in text


async def test_the_flow_marks_the_step_that_hurts_in_words(desktop: Desktop) -> None:
    desktop.health.note(DISK, "no answer for 6 s")
    await desktop.clock.advance(1)
    page = (await desktop.get("/")).body.decode()
    assert '<li class="stage failing hurts"><h2>Queue</h2>' in page
    assert "Here it hurts. The disk: no answer for 6 s." in words(page)
    assert "■ In trouble at the queue" in await desktop.text("/console/configuration")


async def test_the_books_of_each_signal_are_told(desktop: Desktop) -> None:
    desktop.metrics.accepted.labels("traces", "http").inc(12_345)
    desktop.metrics.dropped.labels("traces", "expired").inc(5)
    await desktop.clock.advance(10)
    assert "spans 1234/s 0/s 0/s 12.3k 0 0 5 0 0" in await desktop.text("/")


async def test_the_queue_is_told_over_the_last_hour(desktop: Desktop) -> None:
    assert "Charts begin ten seconds after the start" in await desktop.text("/console/queue")
    await desktop.queue.append(ExportRequest(LOGS, bytes(300_000), 70), lambda _: None)
    for _ in range(30):
        await desktop.clock.advance(1)
    text = await desktop.text("/console/queue")
    assert "kept in memory" in text
    assert "log records that wait 70" in text
    assert "How full the queue was full: now 29 %" in text
    assert "How long the oldest item had waited" in text


async def test_the_destination_is_told_with_what_went_wrong(desktop: Desktop) -> None:
    assert "nothing sent yet" in await desktop.text("/console/destination")
    assert "None since the start." in await desktop.text("/console/destination")
    desktop.sink.error = Retryable("connection refused", reason="unavailable", delay=8)
    sending = asyncio.create_task(desktop.retry.consume(ExportRequest(TRACES, b"x", 3)))
    await turns()
    text = await desktop.text("/console/destination")
    assert "■ not taken http://user:****@collector:4318/v1/traces connection refused never in 8s 1" in text
    assert "just now traces unavailable connection refused 1" in text
    assert "3 more wait for their turn" in text
    desktop.sink.error = None
    await desktop.clock.advance(8)
    await sending
    await desktop.clock.advance(5)
    text = await desktop.text("/console/destination")
    assert "traces ● taken http://user:****@collector:4318/v1/traces 5s ago with the next batch 0" in text


async def test_batches_in_flight_are_told(desktop: Desktop) -> None:
    desktop.sink.hold()
    sending = asyncio.create_task(desktop.retry.consume(ExportRequest(TRACES, bytes(2048), 30)))
    await turns()
    desktop.clock.now += 1.5
    text = await desktop.text("/console/destination")
    assert "Signal Items Size For traces 30 2KiB 1.5s" in text
    assert "under way" in text
    desktop.sink.release()
    await sending


async def test_the_terminal_is_a_destination_too(clock: FakeClock, metrics: Metrics, queue: MemoryQueue) -> None:
    desktop = Desktop(clock, metrics, queue, **{"exporter.protocol": "console", "server.host": "::1"})
    desktop.follow()
    async with desktop.console:
        assert "the terminal" in await desktop.text("/console/destination")
        await clock.advance(1)
        assert "Send to http://[::1]:8080 over" in await desktop.text("/")


async def test_each_place_is_told_once(clock: FakeClock, metrics: Metrics, queue: MemoryQueue) -> None:
    desktop = Desktop(clock, metrics, queue, **{"exporter.logs_endpoint": "http://logs:1/x"})
    desktop.follow()
    async with desktop.console:
        await clock.advance(1)
        text = await desktop.text("/")
    ours = "http://user:****@collector:4318"
    assert f"places {ours}/v1/traces, {ours}/v1/metrics, http://logs:1/x" in text


async def test_the_configuration_is_told_with_where_each_value_came_from_and_no_secret(
    clock: FakeClock, metrics: Metrics, queue: MemoryQueue
) -> None:
    desktop = Desktop(clock, metrics, queue, **{"auth.api_keys": "web:sesame", "exporter.headers": "key=hidden"})
    text = await desktop.text("/console/configuration")
    assert 'endpoint "http://user:****@collector:4318" command line' in text
    assert 'api_keys ["web:****"] command line' in text
    assert "batch_size 1000 default" in text
    assert not re.search("sesame|hidden|secret@", text)


async def test_health_is_told_with_its_components_and_notes(desktop: Desktop) -> None:
    text = await desktop.text("/console/health")
    assert "/health/ready ■ no" in text
    assert "None reports yet." in text
    assert "None: all is as it should be." in text
    desktop.health.ready_now()
    disk = desktop.health.component("disk", 5)
    desktop.health.note("queue", "full: clients are told to come back")
    text = await desktop.text("/console/health")
    assert "/health/ready ● yes" in text
    assert "disk ● ok" in text
    assert "queue ▲ look full: clients are told to come back" in text
    disk.beat()
    await desktop.clock.advance(6)
    assert "disk ■ silent for 6 s" in await desktop.text("/console/health")


# What passes.


async def pass_(desktop: Desktop, signal: Signal, body: bytes, items: int = 1) -> None:
    await desktop.door.consume(ExportRequest(signal, body, items))


def show(desktop: Desktop, signal: Signal, body: bytes) -> None:
    """What `pass_` does, past a queue that has no room for it."""
    assert desktop.door.tap is not None
    desktop.door.tap(ExportRequest(signal, body, 1))


async def test_what_passed_before_somebody_looked_was_not_decoded(desktop: Desktop) -> None:
    await pass_(desktop, TRACES, spans("web", span("before")))
    assert desktop.door.tap is None
    text = await desktop.text("/console/traces")
    assert "No trace has passed since you began to look. Send to http://127.0.0.1:8080" in text
    await pass_(desktop, TRACES, spans("web", span("after")))
    await desktop.clock.advance(1)
    text = await desktop.text("/console/traces")
    assert "after web 1 10ms" in text
    assert "before" not in text
    await desktop.clock.advance(12)
    await desktop.clock.advance(1)
    assert desktop.door.tap is None


async def test_traces_are_found_by_what_is_asked_for(desktop: Desktop) -> None:
    await desktop.get("/console/traces")
    await pass_(desktop, TRACES, spans("web", span("GET /", trace=1), span("POST /", trace=2, number=2, error="no")))
    await desktop.clock.advance(1)
    assert "2 traces." in await desktop.text("/console/traces")
    text = await desktop.text("/console/traces", errors="yes")
    assert "1 trace of 2." in text
    assert "■ 1 error" in text
    assert "GET /" not in text.partition("Errors")[2]
    assert "No trace that has passed is like that." in await desktop.text("/console/traces", service="nobody")
    assert "“soon” is no duration; write 200ms or 1.5s" in await desktop.text("/console/traces", at_least="soon")
    assert 'value="&quot;x&quot;"' in (await desktop.get("/console/traces", name='"x"')).body.decode()


async def test_a_trace_is_shown_with_attributes_events_and_links(desktop: Desktop) -> None:
    await desktop.get("/console/traces")
    thrown = Span.Event(name="exception", attributes=pairs({"exception.type": "a.Bad", "exception.message": "late"}))
    links = [Span.Link(trace_id=trace.to_bytes(16, "big"), span_id=bytes(8)) for trace in (2, 3)]
    many = {f"key {n}": "value" for n in range(70)}
    await pass_(desktop, TRACES, spans("mailer", span("mail", trace=2)))
    await pass_(
        desktop,
        TRACES,
        spans(
            "web",
            span("POST /", ms=100, attributes={"http.route": "/buy"}, events=[thrown], links=links),
            span("pay", number=2, parent=1, begin_ms=25, ms=50, error="declined", attributes=many),
        ),
    )
    await desktop.clock.advance(1)
    page = (await desktop.get("/console/traces", trace=f"{1:032x}")).body.decode()
    text = words(page)
    assert "level 1: POST / web 100ms" in text
    assert "level 2: pay ■ error web 50ms" in text
    assert "http.route /buy" in text
    assert "exception Bad: late" in text
    assert f'href="/console/traces?trace={2:032x}">mail</a>' in page
    assert f"{3:032x}" in text
    assert "status declined" in text
    assert "6 more attributes, events and links are not shown." in text
    assert '<rect x="25.0" y="2" width="50.0" height="8" class="c0">' in page
    assert "has not passed since you began to look" in await desktop.text("/console/traces", trace="unknown")


async def test_a_trace_that_is_too_large_says_how_much_is_not_shown(desktop: Desktop) -> None:
    await desktop.get("/console/traces")
    await pass_(desktop, TRACES, spans("web", *(span(number=n) for n in range(1, 1101))), 1100)
    for _ in range(3):  # it is decoded over several turns
        await desktop.clock.advance(1)
    assert "1000, 100 more are not shown" in await desktop.text("/console/traces", trace=f"{1:032x}")


async def test_a_trace_is_written_again_when_more_of_it_came_and_a_few_are_kept_as_they_were_written(
    desktop: Desktop,
) -> None:
    await desktop.get("/console/traces")
    link = Span.Link(trace_id=(9).to_bytes(16, "big"), span_id=bytes(8))
    for trace in range(1, 7):
        await pass_(desktop, TRACES, spans("web", span(f"trace {trace}", trace=trace, links=[link])))
    await desktop.clock.advance(1)
    for trace in range(1, 7):
        assert f"trace {trace}" in await desktop.text("/console/traces", trace=f"{trace:032x}")
    first = (await desktop.get("/console/traces", trace=f"{6:032x}")).body
    assert first == (await desktop.get("/console/traces", trace=f"{6:032x}")).body
    await pass_(desktop, TRACES, spans("web", span("more", trace=6, number=2)))
    await pass_(desktop, TRACES, spans("web", span("linked", trace=9)))
    await desktop.clock.advance(1)
    text = await desktop.text("/console/traces", trace=f"{6:032x}")
    assert "more" in text
    assert "To Attributes linked" in text


async def test_what_comes_too_fast_is_sampled_and_that_is_said(desktop: Desktop) -> None:
    await desktop.get("/console/traces")
    for _ in range(1250):
        await pass_(desktop, TRACES, b"")
    await desktop.clock.advance(1)
    text = await desktop.text("/console/traces")
    assert "1250 requests since" in text
    assert "80 % are shown, so there are gaps." in text


async def test_metrics_are_shown_with_the_latest_of_each_series(desktop: Desktop) -> None:
    assert "No data point has passed" in await desktop.text("/console/metrics")
    await pass_(desktop, METRICS, gauges("web", {"memory": 5, "threads": 2}, {"pool": "large"}))
    await pass_(desktop, METRICS, gauges("web", {"memory": 7}, {"pool": "large"}))
    await desktop.clock.advance(1)
    text = await desktop.text("/console/metrics")
    assert "web memory 7 pool large gauge 08:53:20 web threads 2" in text
    assert "threads" not in await desktop.text("/console/metrics", text="MEMORY")
    assert "memory" in await desktop.text("/console/metrics", text="pool=large")
    assert "No series that has passed has this in it." in await desktop.text("/console/metrics", text="nothing")
    await pass_(desktop, METRICS, gauges("web", {f"m{n}": n for n in range(300)}))
    await desktop.clock.advance(1)
    assert "102 more are not shown." in await desktop.text("/console/metrics")


async def test_logs_are_shown_with_the_latest_first_and_lead_to_their_traces(desktop: Desktop) -> None:
    assert "No log record has passed" in await desktop.text("/console/logs")
    await desktop.get("/console/traces")
    records = [
        LogRecord(time_unix_nano=n * 10**9, event_name=name, severity_number=number, trace_id=trace)  # type: ignore[arg-type]
        for n, (name, number, trace) in enumerate(
            [("started", 9, b""), ("broke", 17, (1).to_bytes(16, "big")), ("ended", 9, bytes(15) + b"\x09")]
        )
    ]
    await pass_(desktop, LOGS, log_records("web", *records), 3)
    await pass_(desktop, TRACES, spans("web", span("work")))
    await desktop.clock.advance(1)
    page = (await desktop.get("/console/logs")).body.decode()
    assert "INFO web ended 00000000 00:00:01 ERROR web broke 00000000 00:00:00 INFO web started —" in words(page)
    assert page.count(f'href="/console/traces?trace={1:032x}"') == 1
    assert "started" not in await desktop.text("/console/logs", text="broke")
    assert "No record that has passed has this in it." in await desktop.text("/console/logs", text="nothing")


@pytest.mark.parametrize(("path", "signal"), [("metrics", METRICS), ("logs", LOGS)])
async def test_a_page_has_as_many_rows_as_fit_into_half_a_mebibyte(desktop: Desktop, path: str, signal: Signal) -> None:
    await desktop.get(f"/console/{path}")
    large = {f"k{n}": "x" * 2000 for n in range(64)}
    for n in range(10):
        body = (
            gauges("web", {f"m{n}": 1}, large)
            if signal is METRICS
            else log_records("web", LogRecord(event_name="e", attributes=pairs(large)))
        )
        show(desktop, signal, body)
        await desktop.clock.advance(1)
    page = (await desktop.get(f"/console/{path}")).body.decode()
    assert len(page) < 600_000
    assert "7 more are not shown." in words(page)


async def test_of_many_services_some_are_offered_to_be_searched_for(desktop: Desktop) -> None:
    await desktop.get("/console/traces")
    show(desktop, TRACES, b"".join(spans(f"web-{n}", span(number=n + 1)) for n in range(250)))
    await desktop.clock.advance(1)
    assert (await desktop.get("/console/traces")).body.decode().count("<option") == 200


async def test_of_large_traces_one_is_kept_as_it_was_written(desktop: Desktop) -> None:
    await desktop.get("/console/traces")
    large = {f"k{n}": '"' * 2000 for n in range(64)}
    for trace in (1, 2):
        for n in range(1, 17):
            show(desktop, TRACES, spans("web", span(trace=trace, number=n, attributes=large)))
        await desktop.clock.advance(1)
    first, _, again = [
        (await desktop.get("/console/traces", trace=f"{trace:032x}")).body.decode() for trace in (1, 2, 1)
    ]
    assert len(first) > 8 << 20
    assert first.partition("<main")[2] == again.partition("<main")[2]


class Elements(HTMLParser):
    """The elements of a page, and the attributes that they have."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"


async def test_whatever_a_client_sends_is_text_on_every_page(desktop: Desktop) -> None:
    for path in ("/console/traces", "/console/metrics", "/console/logs"):
        await desktop.get(path)
    event = Span.Event(name=HOSTILE, attributes=pairs({HOSTILE: HOSTILE}))
    hostile = span(HOSTILE, error=HOSTILE, attributes={HOSTILE: HOSTILE}, events=[event])
    await pass_(desktop, TRACES, spans(HOSTILE, hostile))
    await pass_(desktop, METRICS, gauges(HOSTILE, {HOSTILE: 1}, {HOSTILE: HOSTILE}))
    await pass_(desktop, LOGS, log_records(HOSTILE, LogRecord(event_name=HOSTILE, severity_text=HOSTILE)))
    await desktop.bury(TRACES, b"x", 1, InvalidData(HOSTILE, reason=HOSTILE))
    desktop.sink.error = NotAllowed(HOSTILE)
    with pytest.raises(NotAllowed):
        await desktop.retry.consume(ExportRequest(TRACES, b"x", 1))
    desktop.health.note(DISK, HOSTILE)
    await desktop.clock.advance(1)
    for path, given in (
        *((path, {}) for path, _ in NAVIGATION),
        ("/console/traces", {"trace": f"{1:032x}"}),
        ("/console/traces", {"service": HOSTILE, "at_least": HOSTILE}),
        ("/console/logs", {"text": HOSTILE}),
        ("/console/dead", {"do": "purge", "signal": "traces", "reason": HOSTILE}),
    ):
        page = (await desktop.get(path, **given)).body.decode()
        elements = Elements(page)
        assert elements.names.isdisjoint({"img"}), path
        assert not [name for name in elements.attributes if name.startswith("on")], path
        assert "<script>" not in page, path
        if path not in {"/console/configuration", "/console/queue"}:
            assert "&lt;script&gt;alert(2)" in page, path


# Live.


async def test_a_page_is_told_once_a_second_what_changed_on_it(desktop: Desktop) -> None:
    stream = asyncio.create_task(desktop.get("/console/events", path="/"))
    await turns()
    await desktop.clock.advance(1)
    desktop.metrics.accepted.labels("traces", "http").inc(7)
    await desktop.clock.advance(1)
    await desktop.console.__aexit__(None, None, None)
    reply = await stream
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    at_once, first, second, last, end, _ = reply.body.decode().split("\n\n")
    assert at_once == "data: {}"
    assert all(f'"{part}":' in first for part in ("verdict", "flow", "books", "status"))
    assert '"books":' in second
    assert last == "data: {}"
    assert end == "event: end\ndata: bye"


async def test_an_unknown_page_has_no_news(desktop: Desktop) -> None:
    assert (await desktop.get("/console/events", path="/nothing")).status == 404


async def test_while_nobody_looks_it_reads_the_figures_once_in_ten_seconds_and_does_nothing_else(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples: list[float] = []
    add = desktop.console._history.add

    def noted(sample: Sample) -> None:
        samples.append(sample.monotonic)
        add(sample)

    monkeypatch.setattr(desktop.console._history, "add", noted)
    for _ in range(40):
        await desktop.clock.advance(1)
    assert samples == [10, 20, 30, 40]
    assert desktop.door.tap is None


async def test_a_mistake_in_a_page_neither_ends_the_service_nor_the_other_pages(
    desktop: Desktop, caplog: pytest.LogCaptureFixture
) -> None:
    desktop.queue.dead.find = None  # type: ignore[assignment, method-assign]
    streams = [asyncio.create_task(desktop.get("/console/events", path=path)) for path in ("/", "/console/dead")]
    await turns()
    with caplog.at_level(logging.ERROR):
        await desktop.clock.advance(1)
    assert not desktop.console.tasks[0].done()
    await desktop.console.__aexit__(None, None, None)
    flow, dead = [(await stream).body.decode() for stream in streams]
    assert '"flow":' in flow
    assert '"status":' in dead
    assert "the page /console/dead of the console failed" in caplog.text


# Dead letters.


async def test_dead_letters_are_shown_by_reason_and_one_by_one(desktop: Desktop) -> None:
    assert "None. What the destination refuses for good stays here" in await desktop.text("/console/dead")
    first = await desktop.bury(TRACES, b"x" * 2048, 3, InvalidData("no such tenant"))
    await desktop.bury(LOGS, b"y", 4, NotAllowed("who are you"))
    await desktop.clock.advance(61)
    text = await desktop.text("/console/dead")
    assert "2 letters with 7 items. Replay all… Purge all…" in text
    assert "traces invalid 1 Replay… Purge…" in text
    assert f"{first} traces 3 2KiB 1m01s ago invalid no such tenant Replay… Purge…" in text


async def test_many_dead_letters_are_shown_in_part(desktop: Desktop) -> None:
    for _ in range(203):
        await desktop.bury(LOGS, b"y", 1, InvalidData("no"))
    assert "203 letters with 203 items. The 200 oldest are shown." in await desktop.text("/console/dead")


async def test_the_same_is_asked_before_it_is_done(desktop: Desktop) -> None:
    page = (await desktop.get("/console/dead", do="purge", sequence="7")).body.decode()
    assert "Delete dead letter 7 for good? This cannot be undone." in words(page)
    assert '<input type="hidden" name="sequence" value="7">' in page
    assert 'type="password"' not in page
    text = await desktop.text("/console/dead", do="replay", signal="logs", reason="invalid")
    assert "Move all dead letters of logs with the reason invalid back to the queue" in text
    assert "Delete all dead letters for good?" in await desktop.text("/console/dead", do="purge", all="yes")


@pytest.mark.parametrize(
    "given", [{}, {"sequence": "x"}, {"sequence": "9" * 5000}, {"signal": "smoke", "reason": "x"}, {"signal": "logs"}]
)
async def test_who_names_no_letters_is_told_so(desktop: Desktop, given: dict[str, str]) -> None:
    assert "That cannot be done:" in await desktop.text("/console/dead", **{"do": "purge", **given})
    reply = await desktop.post({"do": "purge", **given})
    assert reply.status == 400
    assert "Nothing was done:" in words(reply.body.decode())


async def test_letters_are_purged_and_replayed_and_that_is_told(desktop: Desktop) -> None:
    first = await desktop.bury(TRACES, b"x", 3, InvalidData("no"))
    await desktop.bury(TRACES, b"y", 4, InvalidData("no"))
    await desktop.bury(LOGS, b"z", 5, InvalidData("no"))
    reply = await desktop.post({"do": "purge", "sequence": str(first), "signal": "traces"})
    assert (reply.status, desktop.purged) == (303, [(TRACES, 3)])
    assert reply.headers["location"] == "/console/dead?done=purge&letters=1&items=3&left=0"
    told = dict(pair.split("=") for pair in reply.headers["location"].partition("?")[2].split("&"))
    assert "1 letter with 3 items was deleted." in await desktop.text("/console/dead", **told)
    reply = await desktop.post({"do": "replay", "signal": "traces", "reason": "invalid"})
    assert (reply.status, desktop.queue.items(TRACES), desktop.queue.dead.items(LOGS)) == (303, 4, 5)
    reply = await desktop.post({"do": "replay", "all": "yes"})
    assert (reply.status, desktop.queue.items(LOGS)) == (303, 5)
    text = await desktop.text("/console/dead", done="replay", letters="2", items="9", left="1")
    assert "2 letters with 9 items went back to the queue. 1 letter stayed: damaged, or there was no room." in text
    assert "0 letters with 9 items" in await desktop.text("/console/dead", done="replay", letters="9" * 400, items="9")


async def test_what_is_to_be_done_has_to_be_said(desktop: Desktop) -> None:
    reply = await desktop.post({"do": "burn", "all": "yes"})
    assert reply.status == 400
    assert "it is not said what is to be done; choose replay or purge" in words(reply.body.decode())
    assert "was deleted" not in await desktop.text("/console/dead", done="burn", letters="<b>")


async def test_a_queue_that_cannot_be_read_or_written_is_told(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise QueueError("the disk failed")

    monkeypatch.setattr(desktop.queue.dead, "find", broken)
    monkeypatch.setattr(desktop.queue.dead, "replay", broken)
    assert "The dead letters cannot be read now: the disk failed." in await desktop.text("/console/dead")
    assert (await desktop.post({"do": "replay", "all": "yes"})).status == 503


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, 303),
        ({"origin": "http://localhost:9090"}, 303),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://localhost:8000"}, 403),
        ({"origin": "http://localhost:8000"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
    ],
)
async def test_a_form_is_heeded_from_the_consoles_own_page_alone(
    desktop: Desktop, headers: dict[str, str], status: int
) -> None:
    await desktop.bury(TRACES, b"x", 3, InvalidData("no"))
    assert (await desktop.post({"do": "purge", "all": "yes"}, headers)).status == status
    assert (desktop.purged == []) is (status == 403)


async def test_no_page_of_another_name_that_leads_here_gets_anything(desktop: Desktop) -> None:
    for path in ("/", "/console/traces", "/console/events"):
        reply = await ask(
            desktop.app, path, method="GET", headers=[("host", "evil.example:9090")], client=HERE, server=OWN
        )
        assert reply.status == 403
        assert b"by its own name" in reply.body
    same = {"host": "evil.example:9090", "origin": "http://evil.example:9090", "sec-fetch-site": "same-origin"}
    assert (await desktop.post({"do": "purge", "all": "yes"}, same)).status == 403


async def test_from_elsewhere_one_may_look_and_nothing_else(desktop: Desktop) -> None:
    await desktop.bury(TRACES, b"x", 3, InvalidData("no"))
    text = await desktop.text("/console/dead", ELSEWHERE)
    assert "Purge" not in text
    assert "To send them again or delete them, come from the machine or pod itself" in text
    assert "Delete" not in await desktop.text("/console/dead", ELSEWHERE, do="purge", all="yes")
    reply = await desktop.post({"do": "purge", "all": "yes"}, client=ELSEWHERE)
    assert (reply.status, desktop.purged) == (403, [])


async def test_from_elsewhere_a_key_opens_what_cannot_be_undone(
    clock: FakeClock, metrics: Metrics, queue: MemoryQueue
) -> None:
    desktop = Desktop(clock, metrics, queue, **{"auth.api_keys": "ops:sesame"})
    await desktop.bury(TRACES, b"x", 3, InvalidData("no"))
    assert "Purge…" in await desktop.text("/console/dead", ELSEWHERE)
    page = (await desktop.get("/console/dead", ELSEWHERE, do="purge", all="yes")).body.decode()
    assert 'type="password" name="key"' in page
    for key, status in (("", 403), ("wrong", 401), ("sesame", 303)):
        assert desktop.purged == []
        reply = await desktop.post({"do": "purge", "all": "yes", "key": key}, client=ELSEWHERE)
        assert reply.status == status
    assert desktop.purged == [(TRACES, 3)]
