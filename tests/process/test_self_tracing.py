"""The service's own traces: what arrives behind, that it ends, and that it costs nothing when it is off."""

import asyncio
import importlib.metadata
import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import grpc
import grpc.aio
import pytest
from aiohttp import ClientSession

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.collector import Collector, Otelcol, Rotel
from tests.support.exchange import Answer, Http, Received, Success
from tests.support.items import Item
from tests.support.load import Load, spans_request
from tests.support.patience import PATIENCE
from tests.support.payload import one_item
from tests.support.service import SOON, Service

COLLECTORS = [
    pytest.param(Otelcol, marks=pytest.mark.needs("otelcol"), id="OpenTelemetry Collector"),
    pytest.param(Rotel, marks=pytest.mark.needs("rotel"), id="rotel"),
]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOON_BATCHED = {"batch_timeout": "20ms", "retry": SOON}


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


def traced(endpoint: str, protocol: str = "http/protobuf") -> dict[str, dict[str, object]]:
    return {
        "exporter": {"endpoint": endpoint, "protocol": protocol, **SOON_BATCHED},
        "tracing": {"enabled": True, "service_name": "gateway"},
    }


def own(backend: Backend, name: str = "") -> list[Item]:
    return [span for span in backend.spans() if span.service == "gateway" and str(span.name).startswith(name)]


async def post(service: Service, signal: Signal, *pairs: tuple[str, str], **headers: str) -> None:
    said = [("Content-Type", "application/x-protobuf"), *pairs, *headers.items()]
    async with (
        ClientSession() as session,
        session.post(service.http_url + signal.path, data=one_item(signal), headers=said) as answer,
    ):
        assert answer.status == 200


async def call(service: Service, body: bytes, metadata: tuple[tuple[str, str], ...]) -> None:
    async with grpc.aio.insecure_channel(service.grpc_target) as channel:
        export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(Signal.TRACES.method)
        await export(body, timeout=PATIENCE, metadata=metadata)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("kind", COLLECTORS)
async def test_own_spans_are_found_behind_a_real_collector(
    tmp_path: Path, backend: Backend, kind: type[Otelcol | Rotel], protocol: str
) -> None:
    async with kind(tmp_path, backend.http_endpoint) as collector:
        place = {"k8s.pod.name": "otlp-0", "k8s.namespace.name": "telemetry"}
        resource = {"OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{name}={value}" for name, value in place.items())}
        async with Service(tmp_path, towards(collector, protocol), resource) as service:
            await post(service, Signal.LOGS, traceparent=CALLER)
            await call(service, spans_request(1, 20), (("traceparent", CALLER),))
            await backend.received(lambda b: len(own(b)) >= 4, timeout=PATIENCE)
            await service.law()
    exported = {str(span.name): span.attributes for span in own(backend, "export")}
    assert exported["export logs"] == {
        "otlp.signal": "logs",
        "otlp.items": 1,
        "otlp.bytes": len(one_item(Signal.LOGS)),
        "otlp.attempts": 1,
        "otlp.outcome": "delivered",
    }
    assert exported["export traces"]["otlp.items"] == 20
    received = {(str(span.name), span.attributes["otlp.transport"]) for span in own(backend, "receive")}
    assert received == {("receive logs", "http"), ("receive traces", "grpc")}
    assert len(backend.spans()) == 20 + len(own(backend))
    for span in own(backend):
        assert (
            span.resource.items()
            >= {
                **place,
                "service.name": "gateway",
                "service.version": importlib.metadata.version("otlp-service"),
            }.items()
        )
        assert span.resource["service.instance.id"]
    assert {span.links for span in own(backend, "export")} == {(tuple(CALLER.split("-")[1:3]),)}


def towards(collector: Collector, protocol: str) -> dict[str, dict[str, object]]:
    return traced(collector.grpc_url if protocol == "grpc" else collector.http_url, protocol)


async def test_with_an_idle_client_the_number_of_spans_stays_as_it_is(tmp_path: Path, backend: Backend) -> None:
    async with Service(tmp_path, traced(backend.http_endpoint)) as service:
        await call(service, spans_request(1, 1), ())
        await backend.received(lambda b: len(own(b)) == 1)
        await asyncio.sleep(5)  # five times as long as own spans gather, and 250 times as long as batches do
        assert len(backend.spans()) == 2
        assert len(backend.requests) == 2
        books = (await service.law()).books(Signal.TRACES)
        assert (books.accepted, books.sent) == (1, 1), "own spans are not in the books"


async def test_under_load_and_through_an_outage_the_books_are_in_balance_in_every_scrape(
    tmp_path: Path, backend: Backend
) -> None:
    async with Service(tmp_path, traced(backend.http_endpoint)) as service:
        async with Load(service.http_url, service.grpc_target, clients=2) as load:
            await load.until_acknowledged(500)
            backend.otherwise = Http(503)
            await service.settled(lambda s: s.books(Signal.TRACES).queued > 1000, "it queues")
            backend.otherwise = Success()
            await load.until_acknowledged(len(load.acknowledged) + 500)
            await load.stop()
        scrape = await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        assert scrape.books(Signal.TRACES).sent == scrape.books(Signal.TRACES).accepted


async def test_a_batch_that_was_tried_again_says_how_often(tmp_path: Path, backend: Backend) -> None:
    backend.script(Http(503), Http(503))
    async with Service(tmp_path, traced(backend.http_endpoint)) as service:
        await post(service, Signal.LOGS)
        await backend.received(lambda b: len(own(b)) == 1)
    [span] = own(backend)
    assert span.attributes["otlp.attempts"] == 3
    assert "503" in str(span.attributes["otlp.last_failure"])


async def test_the_last_spans_are_sent_before_the_service_ends(tmp_path: Path, backend: Backend) -> None:
    async with Service(tmp_path, traced(backend.http_endpoint)) as service:
        await post(service, Signal.LOGS)
        await service.settled(lambda s: s.books(Signal.LOGS).sent == 1, "delivered")
        assert await service.terminate() == 0
    assert [span.name for span in own(backend)] == ["export logs"]


@pytest.mark.parametrize("on", [True, False])
async def test_the_sdk_is_loaded_only_when_there_are_own_spans(tmp_path: Path, backend: Backend, on: bool) -> None:
    settings = traced(backend.http_endpoint) | {"tracing": {"enabled": on}}
    async with Service(tmp_path, settings, {"PYTHONPROFILEIMPORTTIME": "1"}) as service:
        await post(service, Signal.LOGS, traceparent=CALLER)
    assert ("opentelemetry.sdk.trace" in service.log) is on


def caller(number: int, flags: str = "01") -> tuple[str, tuple[str, str]]:
    """A traceparent, and the link to its span."""
    trace, span = f"{number:032x}", f"{number:016x}"
    return f"00-{trace}-{span}-{flags}", (trace, span)


@pytest.mark.parametrize(
    ("storage", "engine", "acknowledge"),
    [("disk", "grpcio", "stored"), ("memory", "grpcio", "stored"), ("disk", "native", "delivered")],
)
async def test_a_batch_is_linked_to_the_clients_whose_requests_are_in_it(
    tmp_path: Path, backend: Backend, storage: str, engine: str, acknowledge: str
) -> None:
    (first, link), (second, other), (unsampled, _) = caller(1), caller(2), caller(3, "00")
    settings = traced(backend.http_endpoint) | {
        "queue": {"storage": storage, "acknowledge": acknowledge, "directory": str(tmp_path / "queue")},
        "server": {"host": "127.0.0.1", "grpc_engine": engine},
    }
    settings["exporter"] |= {"batch_size": 6, "batch_timeout": "1h"}
    async with Service(tmp_path, settings) as service:
        async with asyncio.TaskGroup() as clients:
            for traceparent in (first, first, second, unsampled):
                clients.create_task(post(service, Signal.TRACES, traceparent=traceparent))
            clients.create_task(call(service, one_item(Signal.TRACES), (("traceparent", second),)))
            clients.create_task(post(service, Signal.TRACES))
        await backend.received(lambda b: bool(own(b, "export")))
    [batch] = own(backend, "export")
    assert sorted(batch.links) == [link, other]
    assert batch.attributes["otlp.items"] == 6
    assert "otlp.links_left_out" not in batch.attributes


async def test_a_batch_is_linked_to_128_clients_at_most_and_says_how_many_there_were_besides(
    tmp_path: Path, backend: Backend
) -> None:
    settings = traced(backend.http_endpoint)
    settings["exporter"] |= {"batch_size": 130, "batch_timeout": "1h"}
    async with Service(tmp_path, settings) as service:
        for number in range(1, 131):
            await post(service, Signal.LOGS, traceparent=caller(number)[0])
        await backend.received(lambda b: bool(own(b, "export")))
    [batch] = own(backend, "export")
    assert batch.links == tuple(caller(number)[1] for number in range(1, 129))
    assert batch.attributes["otlp.links_left_out"] == 2


async def test_what_is_sent_apart_keeps_its_links(tmp_path: Path, backend: Backend) -> None:
    settings = traced(backend.http_endpoint)
    settings["exporter"] |= {"batch_size": 2, "batch_timeout": "1h"}
    backend.script(Http(400))
    async with Service(tmp_path, settings) as service:
        for number in (1, 2):
            await post(service, Signal.LOGS, traceparent=caller(number)[0])
        await backend.received(lambda b: len(own(b, "export")) == 3)
    assert [batch.links for batch in own(backend, "export")] == [
        (caller(1)[1], caller(2)[1]),
        (caller(1)[1],),
        (caller(2)[1],),
    ]


async def test_what_a_start_finds_is_linked_to_nobody(tmp_path: Path) -> None:
    backend = Backend()
    service = Service(tmp_path, traced(backend.http_endpoint))
    await service.start()
    try:
        await post(service, Signal.LOGS, traceparent=caller(1)[0])
        service.kill()
        async with backend, service:
            await backend.received(lambda b: bool(own(b, "export")))
    finally:
        service.kill()
    assert own(backend, "export")[0].links == ()


async def test_a_traceparent_that_is_none_makes_no_link_and_harms_nobody(tmp_path: Path, backend: Backend) -> None:
    good, _ = caller(1)
    hostile = [
        "",
        "-",
        "00",
        good.upper().replace("-01", "-0A"),
        good.replace("00-", "ff-"),
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
        f"{good}-more",
        good[:-1],
        good * 100,
        f"00-{'g' * 32}-{'1' * 16}-01",
    ]
    async with Service(tmp_path, traced(backend.http_endpoint)) as service:
        for traceparent in hostile:
            await post(service, Signal.LOGS, traceparent=traceparent)
            await call(service, one_item(Signal.TRACES), (("traceparent", traceparent),))
        await post(service, Signal.LOGS, *(("traceparent", caller(number)[0]) for number in (1, 2)))
        await service.settled(lambda s: s.books(Signal.LOGS).sent == len(hostile) + 1, "delivered")
        await service.settled(lambda s: s.books(Signal.TRACES).sent == len(hostile), "delivered")
    spans = own(backend)
    assert spans
    assert {str(span.name) for span in spans} == {"export logs", "export traces"}
    assert all(span.links == () for span in spans)


async def test_who_gets_back_what_it_sent_is_not_asked_to_tell_of_it_for_ever(tmp_path: Path, backend: Backend) -> None:
    """A collector that sends the service's own spans to the service once more."""
    async with Service(tmp_path, traced(backend.http_endpoint)) as service:
        await post(service, Signal.LOGS, traceparent=CALLER)
        await backend.received(lambda b: len(own(b)) == 2)
        before = len(backend.taken)
        [spans] = [request.body for request in backend.taken if b"gateway" in request.body]
        await call(service, spans, ())
        # What comes back is a batch like others, and has one span; that of its own is not told of.
        await backend.received(lambda b: len(own(b, "export traces")) == 1)
        await service.settled(lambda s: s.books(Signal.TRACES).sent == 2, "delivered")
    assert len(backend.taken) == before + 2


async def test_what_is_logged_about_a_batch_leads_to_its_span_and_is_told_once_in_a_minute(
    tmp_path: Path, backend: Backend
) -> None:
    attempts = count()

    def every_other(received: Received) -> Answer:
        return Http(503) if received.signal is Signal.LOGS and next(attempts) % 2 == 0 else Success()

    backend.otherwise = every_other
    service = Service(tmp_path, traced(backend.http_endpoint))
    async with service:
        for sent in (1, 2, 3):
            await post(service, Signal.LOGS)
            await service.settled(lambda s, sent=sent: s.books(Signal.LOGS).sent == sent, "delivered")
        await backend.received(lambda b: len(own(b, "export")) == 3)
    lines = [line for line in map(json.loads, service.log.splitlines()) if line["event"] != "setting_doubtful"]
    # The first of each at once, and at the end the last, with how many there were in between.
    now = ["ready", "destination_failing", "destination_well"]
    at_the_end = ["leaving", "closing", "emptying", "destination_failing", "destination_well", "stopped"]
    assert [line["event"] for line in lines] == now + at_the_end
    first, last = (line for line in lines if line["event"] == "destination_failing")
    assert ("more_like_it" in first, last["more_like_it"]) == (False, 1)
    assert first["fields"].keys() == {"what", "reason", "wait_seconds"}
    spans = {span.span_id: span for span in own(backend, "export")}
    for line in (first, last):
        assert spans[line["span_id"]].attributes["otlp.last_failure"] == line["fields"]["reason"]
    assert len({first["span_id"], last["span_id"]}) == 2
    ready = lines[0]
    assert ready["fields"] == {
        "grpc_port": service.grpc_port,
        "http_port": service.port,
        "admin_port": service.admin_port,
        "version": importlib.metadata.version("otlp-service"),
    }
    assert "trace_id" not in ready
