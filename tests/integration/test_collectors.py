"""Real collectors behind: what was sent is found again in what they pass on."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.collector import Collector, Otelcol, Rotel
from tests.support.items import items_of
from tests.support.leaves import leaves
from tests.support.patience import PATIENCE
from tests.support.sdk import TRANSPORTS, Sdk
from tests.support.service import Service
from tests.support.telemetry import RESOURCE, VIEWS, Counting, record_logs, record_metrics, record_spans

COLLECTORS = [
    pytest.param(Otelcol, marks=pytest.mark.needs("otelcol"), id="OpenTelemetry Collector"),
    pytest.param(Rotel, marks=pytest.mark.needs("rotel"), id="rotel"),
]


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


def towards(collector: Collector, protocol: str) -> dict[str, dict[str, object]]:
    endpoint = collector.grpc_url if protocol == "grpc" else collector.http_url
    return {"exporter": {"endpoint": endpoint, "protocol": protocol, "retry": {"initial_interval": "100ms"}}}


async def send_from_everywhere(service: Service) -> dict[Signal, list[bytes]]:
    """All three signals from a client of each transport; returns what was acknowledged."""
    sent: dict[Signal, list[bytes]] = {signal: [] for signal in Signal}
    for transport in TRANSPORTS:
        client = Sdk(
            transport,
            http_url=service.http_url,
            grpc_target=service.grpc_target,
            resource=RESOURCE.merge(Resource({"client": transport})),
            ids=Counting(),
            views=VIEWS,
        )
        async with client as sdk:
            record_spans(sdk.tracers)
            record_metrics(sdk.meters)
            record_logs(sdk.loggers)
        for signal in Signal:
            sent[signal] += sdk.sent[signal]
    return sent


def count(signal: Signal, bodies: Iterable[bytes]) -> int:
    return sum(1 for body in bodies for _ in items_of(signal, body))


async def everything_is_found_again(service: Service, backend: Backend, sent: dict[Signal, list[bytes]]) -> None:
    expected = {signal: count(signal, sent[signal]) for signal in Signal}
    await service.settled(
        lambda scrape: all(scrape.books(signal).sent == expected[signal] for signal in Signal), "delivered"
    )
    await backend.received(
        lambda backend: all(len(backend.items(signal)) >= expected[signal] for signal in Signal), timeout=PATIENCE
    )
    for signal in Signal:
        passed_on = [request.body for request in backend.taken if request.signal is signal]
        assert leaves(signal, passed_on) == leaves(signal, sent[signal])


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("kind", COLLECTORS)
async def test_a_collector_passes_on_everything_that_was_sent(
    tmp_path: Path, backend: Backend, kind: type[Otelcol | Rotel], protocol: str
) -> None:
    async with (
        kind(tmp_path, backend.http_endpoint) as collector,
        Service(tmp_path, towards(collector, protocol)) as service,
    ):
        sent = await send_from_everywhere(service)
        await everything_is_found_again(service, backend, sent)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("kind", COLLECTORS)
async def test_what_came_while_the_collector_was_down_is_found_behind_it(
    tmp_path: Path, backend: Backend, kind: type[Otelcol | Rotel], protocol: str
) -> None:
    collector = kind(tmp_path, backend.http_endpoint)
    async with Service(tmp_path, towards(collector, protocol)) as service:
        sent = await send_from_everywhere(service)
        books = await service.law()
        assert all(books.books(signal).sent == 0 for signal in Signal)
        async with collector:
            await everything_is_found_again(service, backend, sent)
