"""Real clients in front, a scripted destination behind: what arrives is what was sent."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import aiohttp
import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.items import items_of
from tests.support.sdk import TRANSPORTS, Sdk, Transport
from tests.support.service import Service
from tests.support.telemetry import (
    DATA_POINTS,
    LOG_RECORDS,
    RESOURCE,
    SPANS,
    VIEWS,
    Counting,
    expected_logs,
    expected_metrics,
    expected_traces,
    record_logs,
    record_metrics,
    record_spans,
)

PROTOCOLS = ("http/protobuf", "grpc")


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


def towards(backend: Backend, protocol: str = "http/protobuf") -> dict[str, dict[str, object]]:
    """Settings of a service that sends one batch after the other, so that order is kept."""
    endpoint = backend.grpc_endpoint if protocol == "grpc" else backend.http_endpoint
    return {"exporter": {"endpoint": endpoint, "protocol": protocol, "concurrency": 1, "batch_timeout": "50ms"}}


def sdk_for(service: Service, transport: Transport, resource: Resource = RESOURCE) -> Sdk:
    return Sdk(
        transport,
        http_url=service.http_url,
        grpc_target=service.grpc_target,
        resource=resource,
        ids=Counting(),
        views=VIEWS,
    )


def count(signal: Signal, bodies: Iterable[bytes]) -> int:
    return sum(1 for body in bodies for _ in items_of(signal, body))


def taken(backend: Backend, signal: Signal) -> bytes:
    return b"".join(request.body for request in backend.taken if request.signal is signal)


def without_times(resource: ResourceMetrics, since: int) -> ResourceMetrics:
    """The same but for the times, of which it is asserted that they lie between `since` and now."""
    now = time.time_ns()
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            [point] = getattr(metric, str(metric.WhichOneof("data"))).data_points
            assert since <= point.time_unix_nano <= now
            assert point.start_time_unix_nano == 0 or since <= point.start_time_unix_nano <= point.time_unix_nano
            point.ClearField("start_time_unix_nano")
            point.ClearField("time_unix_nano")
    return resource


@pytest.mark.parametrize(
    ("transport", "protocol"), [(transport, PROTOCOLS[n % 2]) for n, transport in enumerate(TRANSPORTS)]
)
async def test_what_an_sdk_sends_arrives_field_by_field_and_byte_for_byte(
    tmp_path: Path, backend: Backend, transport: Transport, protocol: str
) -> None:
    since = time.time_ns()
    async with Service(tmp_path, towards(backend, protocol)) as service:
        async with sdk_for(service, transport) as sdk:
            record_spans(sdk.tracers)
            record_metrics(sdk.meters)
            record_logs(sdk.loggers)
        sent = {signal: count(signal, sdk.sent[signal]) for signal in Signal}
        assert sent == {Signal.TRACES: SPANS, Signal.METRICS: DATA_POINTS, Signal.LOGS: LOG_RECORDS}
        scrape = await service.settled(
            lambda scrape: all(scrape.books(signal).sent == sent[signal] for signal in Signal), "delivered"
        )
        for signal in Signal:
            over = transport.partition("+")[0]
            accepted = scrape.total("otlp_receiver_accepted_items_total", signal=signal.value, transport=over)
            assert accepted == sent[signal]
            assert taken(backend, signal) == b"".join(sdk.sent[signal])

    traces = ExportTraceServiceRequest.FromString(taken(backend, Signal.TRACES))
    assert list(traces.resource_spans) == expected_traces()
    metrics = ExportMetricsServiceRequest.FromString(taken(backend, Signal.METRICS))
    assert [without_times(resource, since) for resource in metrics.resource_metrics] == expected_metrics()
    logs = ExportLogsServiceRequest.FromString(taken(backend, Signal.LOGS))
    assert list(logs.resource_logs) == expected_logs()


async def test_clients_of_both_transports_share_batches_and_each_request_stays_as_it_was(
    tmp_path: Path, backend: Backend
) -> None:
    rounds = 20
    async with Service(tmp_path, towards(backend)) as service:
        clients = [sdk_for(service, over, Resource({"service.name": f"{over} client"})) for over in TRANSPORTS]

        async def send(sdk: Sdk) -> None:
            async with sdk:
                for _ in range(rounds):
                    record_spans(sdk.tracers)
                    record_logs(sdk.loggers)
                    await sdk.flush()

        await asyncio.gather(*map(send, clients))
        await service.settled(
            lambda scrape: (
                scrape.books(Signal.TRACES).sent == rounds * SPANS * len(clients)
                and scrape.books(Signal.LOGS).sent == rounds * LOG_RECORDS * len(clients)
            ),
            "delivered",
        )
    for signal in (Signal.TRACES, Signal.LOGS):
        bodies = [body for sdk in clients for body in sdk.sent[signal]]
        assert len(bodies) == rounds * len(clients)
        arrived = taken(backend, signal)
        assert len(arrived) == sum(map(len, bodies))
        assert all(arrived.count(body) >= bodies.count(body) for body in bodies)
        assert len([request for request in backend.taken if request.signal is signal]) < len(bodies)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a protobuf message, on the wire."""

    def varint(value: int) -> bytes:
        low, rest = value & 0x7F, value >> 7
        return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])

    return varint(number << 3 | 2) + varint(len(payload)) + payload


UNKNOWN = field(1000, b"from a later version")
FROM_A_LATER_VERSION = UNKNOWN + field(1, UNKNOWN + field(2, UNKNOWN + field(2, UNKNOWN + field(5, b"a span"))))


@pytest.mark.parametrize("over", ["grpc", "http"])
async def test_fields_of_a_later_version_of_otlp_arrive_as_they_were(
    tmp_path: Path, backend: Backend, over: str
) -> None:
    async with Service(tmp_path, towards(backend)) as service:
        if over == "grpc":
            async with grpc.aio.insecure_channel(service.grpc_target) as channel:
                export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(Signal.TRACES.method)
                await export(FROM_A_LATER_VERSION)
        else:
            async with (
                aiohttp.ClientSession(headers={"Content-Type": "application/x-protobuf"}) as session,
                session.post(service.http_url + Signal.TRACES.path, data=FROM_A_LATER_VERSION) as answer,
            ):
                assert answer.status == 200
        await backend.received(lambda backend: len(backend.taken) == 1)
        await service.settled(lambda scrape: scrape.books(Signal.TRACES).sent == 1, "delivered")
    assert taken(backend, Signal.TRACES) == FROM_A_LATER_VERSION
    assert [span.name for span in backend.spans()] == ["a span"]


async def test_json_arrives_as_the_protobuf_that_it_stands_for(tmp_path: Path, backend: Backend) -> None:
    request = ExportTraceServiceRequest(resource_spans=expected_traces())
    document = MessageToDict(request, use_integers_for_enums=True)
    spans = [span for scope in document["resourceSpans"][0]["scopeSpans"] for span in scope["spans"]]
    originals = [span for scope in request.resource_spans[0].scope_spans for span in scope.spans]
    for span, original in zip(spans, originals, strict=True):  # OTLP's own rule: ids are hexadecimal
        span |= {"traceId": original.trace_id.hex(), "spanId": original.span_id.hex()}
        span |= {"parentSpanId": original.parent_span_id.hex()}
        for link, its_original in zip(span.get("links", []), original.links, strict=True):
            link |= {"traceId": its_original.trace_id.hex(), "spanId": its_original.span_id.hex()}
    async with Service(tmp_path, towards(backend)) as service:
        async with (
            aiohttp.ClientSession() as session,
            session.post(service.http_url + Signal.TRACES.path, json=document) as answer,
        ):
            assert (answer.status, answer.content_type, await answer.json()) == (200, "application/json", {})
        await service.settled(lambda scrape: scrape.books(Signal.TRACES).sent == SPANS, "delivered")
    assert ExportTraceServiceRequest.FromString(taken(backend, Signal.TRACES)) == request


async def test_an_sdk_needs_no_more_than_the_standard_variables(
    tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Service(tmp_path, towards(backend)) as service:

        def send(name: str, exporter: GrpcSpanExporter | HttpSpanExporter) -> None:
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            provider.get_tracer("test").start_span(name).end()
            provider.shutdown()

        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{service.grpc_target}")
        await asyncio.to_thread(send, "over grpc", GrpcSpanExporter())
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", service.http_url)
        await asyncio.to_thread(send, "over http", HttpSpanExporter())
        await service.settled(lambda scrape: scrape.books(Signal.TRACES).sent == 2, "delivered")
    assert {span.name for span in backend.spans()} == {"over grpc", "over http"}
