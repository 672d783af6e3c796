"""The ways in, for real: the routes of the manifests as nginx and Envoy have them, before a running service.

How a controller translates them is ours here (tests/support/manifests/routes.py), what the proxies do is theirs.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio
from grpc_health.v1.health_pb2 import HealthCheckRequest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.command import command
from tests.support.exchange import Http
from tests.support.load import spans_request
from tests.support.manifests.objects import Render
from tests.support.manifests.render import kustomize
from tests.support.manifests.routes import gateway_routes, ingress_routes, istio_routes, upstreams
from tests.support.ports import free_port
from tests.support.proxies import Envoy, RoutingNginx
from tests.support.relay import Relay
from tests.support.service import Service

pytestmark = [
    pytest.mark.needs("nginx"),
    pytest.mark.needs("envoy"),
    pytest.mark.asyncio(loop_scope="module"),  # of the ways in, which several tests go by
]

HTTP, GRPC, METRICS = 8080, 4317, 9090
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PRIVATE = ("/", "/health/live", "/health/ready", "/health/startup", "/metrics", "/queue", "/v1", "/v1/tracesx")
PROTOBUF = {"Content-Type": "application/x-protobuf"}
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Way:
    """Where a client goes to, and what went on behind."""

    http_port: int
    grpc_port: int
    certificates: Certificates
    connections: Callable[[], int]
    """How many there were to the service."""

    @property
    def http_url(self) -> str:
        return f"https://localhost:{self.http_port}"

    def channel(self) -> grpc.aio.Channel:
        trusted = grpc.ssl_channel_credentials(self.certificates.ca_file.read_bytes())
        return grpc.aio.secure_channel(f"localhost:{self.grpc_port}", trusted)

    def session(self) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=self.certificates.ca_file)
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


@asynccontextmanager
async def opened(kind: str, directory: Path, http: int, grpc_port: int, render: Render) -> AsyncIterator[Way]:
    """A public way of one kind to what has these ports."""
    certificates = Certificates(directory)
    met = 0

    def counted(port: int) -> Callable[[], int]:
        def destination() -> int:
            nonlocal met
            met += 1
            return port

        return destination

    async with AsyncExitStack() as stack:
        relays = {HTTP: Relay(counted(http)), GRPC: Relay(counted(grpc_port))}
        to = {own: (await stack.enter_async_context(relay)).port for own, relay in relays.items()}
        first, second = free_port(), free_port()
        ports = (first, second) if kind == "gateway" else (first, first)
        proxy: RoutingNginx | Envoy
        if kind == "ingress":
            proxy = RoutingNginx(directory, first, ingress_routes(render), to, certificates)
        elif kind == "gateway":
            listeners = {first: gateway_routes(render, "otlp-http"), second: gateway_routes(render, "otlp-grpc")}
            proxy = Envoy(directory, listeners, upstreams(render), to, certificates)
        else:
            listeners = {first: istio_routes(render, 443, "otlp-service")}
            proxy = Envoy(directory, listeners, upstreams(render), to, certificates)
        await stack.enter_async_context(proxy)
        yield Way(*ports, certificates, lambda: met)


@pytest_asyncio.fixture(params=["ingress", "gateway", "istio"], scope="module", loop_scope="module")
async def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Way]:
    """A public way to a running service, with a destination behind."""
    directory = tmp_path_factory.mktemp(request.param)
    async with Backend() as backend:
        settings = {"exporter": {"endpoint": backend.http_endpoint}}
        async with (
            Service(directory, settings) as service,
            opened(request.param, directory, service.port, service.grpc_port, kustomize(request.param)) as way,
        ):
            yield way


async def test_the_sdk_sends_over_both_protocols(way: Way, tmp_path: Path) -> None:
    authority = str(way.certificates.ca_file)
    ports = {"http/protobuf": way.http_port, "http/json": way.http_port, "grpc": way.grpc_port}

    async def send(protocol: str, signal: Signal) -> None:
        where = ("--protocol", protocol, "--endpoint", f"https://localhost:{ports[protocol]}", "--ca-file", authority)
        sent = await command(tmp_path, "send", "--signal", signal.value, *where)
        assert sent.code == 0, sent
        assert "10 accepted, 0 refused" in sent.output

    for signal in Signal:  # three processes at a time
        await asyncio.gather(*(send(protocol, signal) for protocol in ports))


async def test_fifteen_mebibytes_come_through(way: Way) -> None:
    body = spans_request(1, 15 * MEBIBYTE * 1000 // len(spans_request(1, 1000)))
    assert 14 * MEBIBYTE < len(body) < 16 * MEBIBYTE
    async with way.session() as session, way.channel() as channel:
        async with session.post(f"{way.http_url}/v1/traces", data=BytesIO(body), headers=PROTOBUF) as answer:
            assert answer.status == 200, await answer.text()
        await channel.unary_unary(EXPORT)(body)


async def test_what_is_not_otlp_is_not_public(way: Way) -> None:
    before = way.connections()
    async with way.session() as session:
        for path in PRIVATE:
            async with session.get(way.http_url + path) as answer:
                assert answer.status == 404, path
    async with way.channel() as channel:
        for method in (
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(method)(HealthCheckRequest().SerializeToString())
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED, method
    assert way.connections() == before


async def export_often(way: Way, times: int) -> None:
    """One client over each protocol, request after request."""
    body = spans_request(1, 1)
    async with way.session() as session, way.channel() as channel:
        for _ in range(times):
            async with session.post(f"{way.http_url}/v1/traces", data=body, headers=PROTOBUF) as answer:
                assert answer.status == 200
            await channel.unary_unary(EXPORT)(body)


async def test_four_hundred_requests_need_a_few_connections(way: Way) -> None:
    needed = []
    # nginx drops an idle connection on which a frame of HTTP/2's own comes late, as some do on a busy machine. What a
    # route does to connections it does each time.
    while len(needed) < 3 and min(needed, default=5) > 4:
        before = way.connections()
        await export_often(way, 200)
        needed.append(way.connections() - before)
    assert min(needed) <= 4, needed


async def test_a_bound_of_two_requests_for_a_connection_would_be_seen(tmp_path: Path) -> None:
    render = deepcopy(kustomize("istio"))
    (rule,) = render.kind("DestinationRule")
    rule["spec"]["trafficPolicy"]["connectionPool"]["http"]["maxRequestsPerConnection"] = 2
    async with Backend() as backend, opened("istio", tmp_path, *ports_of(backend), render) as way:
        await export_often(way, 20)
        assert way.connections() == 20


@pytest.mark.parametrize("kind", ["ingress", "gateway", "istio"])
async def test_an_honest_later_is_passed_on_once_and_ejects_nobody(kind: str, tmp_path: Path) -> None:
    async with (
        Backend() as backend,
        opened(kind, tmp_path, *ports_of(backend), kustomize(kind)) as way,
        way.session() as session,
    ):
        for number in range(1, 21):
            backend.script(Http(503, headers={"Retry-After": "7"}))
            body = spans_request(number, 1)
            async with session.post(f"{way.http_url}/v1/traces", data=body, headers=PROTOBUF) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
            assert len(backend.requests) == number
        async with session.post(f"{way.http_url}/v1/traces", data=spans_request(21, 1), headers=PROTOBUF) as answer:
            assert answer.status == 200


def ports_of(backend: Backend) -> tuple[int, int]:
    return int(backend.http_endpoint.rpartition(":")[2]), int(backend.grpc_endpoint.rpartition(":")[2])


async def test_inside_the_mesh_each_port_leads_to_its_own(tmp_path: Path) -> None:
    async with Backend() as backend:
        settings = {"exporter": {"endpoint": backend.http_endpoint}}
        async with Service(tmp_path, settings) as service:
            render = kustomize("istio")
            ports = {number: free_port() for number in (HTTP, 4318, GRPC, METRICS)}
            listeners = {free: istio_routes(render, number) for number, free in ports.items()}
            to = {HTTP: service.port, GRPC: service.grpc_port, METRICS: service.admin_port}
            async with Envoy(tmp_path, listeners, upstreams(render), to, None):

                async def send(number: int, protocol: str) -> None:
                    where = ("--protocol", protocol, "--endpoint", f"http://127.0.0.1:{ports[number]}")
                    sent = await command(tmp_path, "send", *where)
                    assert (sent.code, "10 accepted" in sent.output) == (0, True), sent

                await asyncio.gather(send(HTTP, "http/protobuf"), send(4318, "http/protobuf"), send(GRPC, "grpc"))
                metrics = f"http://127.0.0.1:{ports[METRICS]}/metrics"
                async with aiohttp.ClientSession() as session, session.get(metrics) as answer:
                    assert "otlp_receiver_accepted_items_total" in await answer.text()
