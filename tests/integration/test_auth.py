"""API keys and quotas over real sockets, on both transports."""

import json
from collections.abc import AsyncIterator

import aiohttp
import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from app.core.errors import PartlyRejected, Retryable
from app.core.request import Signal
from app.health import Health
from app.receivers.auth import Doorkeeper
from app.receivers.grpc import GrpcReceiver
from app.receivers.http import HttpReceiver
from app.settings import AuthSettings, ServerSettings
from app.telemetry.metrics import Metrics
from tests.support.patience import PATIENCE
from tests.support.payload import spans
from tests.support.sink import Sink

Code = grpc.StatusCode
PROTOBUF = {"content-type": "application/x-protobuf"}
SHOWN = [("authorization", "Bearer sesame"), ("x-api-key", "sesame")]
NOT_SHOWN = [("authorization", "Bearer wrong"), ("authorization", "Basic sesame"), ("x-api-key", "wrong"), ("x-a", "b")]
SLOW = {"items_per_second": 0.001, "burst": "1000s"}
"""One item is saved up, and the next takes long."""


@pytest.fixture
def doorkeeper(metrics: Metrics) -> Doorkeeper:
    keys = ["web:sesame", "slow:patience"]
    return Doorkeeper(AuthSettings.model_validate({"api_keys": keys, "quotas": {"slow": SLOW}}), metrics)


@pytest.fixture
async def client(
    sink: Sink, metrics: Metrics, health: Health, doorkeeper: Doorkeeper
) -> AsyncIterator[aiohttp.ClientSession]:
    settings = ServerSettings(host="127.0.0.1", port=0)
    async with (
        HttpReceiver(settings, sink, metrics, health, doorkeeper=doorkeeper) as receiver,
        aiohttp.ClientSession(f"http://127.0.0.1:{receiver.port}") as client,
    ):
        yield client


@pytest.fixture
async def channel(
    sink: Sink, metrics: Metrics, health: Health, doorkeeper: Doorkeeper
) -> AsyncIterator[grpc.aio.Channel]:
    settings = ServerSettings(host="127.0.0.1", grpc_port=0)
    async with (
        GrpcReceiver(settings, sink, metrics, health, doorkeeper=doorkeeper) as receiver,
        grpc.aio.insecure_channel(f"127.0.0.1:{receiver.port}") as channel,
    ):
        yield channel


async def export(channel: grpc.aio.Channel, body: bytes, *metadata: tuple[str, str]) -> grpc.aio.AioRpcError | None:
    """Why a call failed; None if it did not."""
    try:
        await channel.unary_unary(Signal.TRACES.method)(body, timeout=PATIENCE, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error
    return None


def taken(metrics: Metrics, key: str) -> float | None:
    return metrics.registry.get_sample_value("otlp_auth_items_total", {"key": key, "signal": "traces"})


@pytest.mark.parametrize("shown", SHOWN)
async def test_over_http_who_shows_a_key_may_send(
    client: aiohttp.ClientSession, sink: Sink, metrics: Metrics, shown: tuple[str, str]
) -> None:
    async with client.post("/v1/traces", data=spans(3), headers=PROTOBUF | dict([shown])) as reply:
        assert reply.status == 200
    assert (sink.items(Signal.TRACES), taken(metrics, "web")) == (3, 3)


@pytest.mark.parametrize("shown", NOT_SHOWN)
async def test_over_http_who_shows_none_is_turned_away_before_the_request_is_looked_at(
    client: aiohttp.ClientSession, sink: Sink, metrics: Metrics, shown: tuple[str, str]
) -> None:
    for headers, body in ((PROTOBUF, b"\xff"), ({"content-type": "application/json"}, b"{"), ({}, b"")):
        async with client.post("/v1/traces", data=body, headers=headers | dict([shown])) as reply:
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert "retry-after" not in reply.headers
            answer = await reply.read()
    async with client.post("/v1/traces", data=b"{", headers={"content-type": "application/json"}) as reply:
        assert json.loads(await reply.read())["code"] == Code.UNAUTHENTICATED.value[0]
    assert Status.FromString(answer).code == Code.UNAUTHENTICATED.value[0]
    assert not sink.requests
    labels = {"signal": "traces", "transport": "http", "code": "401"}
    assert metrics.registry.get_sample_value("otlp_receiver_requests_total", labels) == 4


async def test_health_needs_no_key(client: aiohttp.ClientSession, channel: grpc.aio.Channel) -> None:
    async with client.get("/health/ready") as reply:
        assert reply.status == 200
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    answer = await check(HealthCheckRequest(), timeout=PATIENCE)
    assert answer.status == HealthCheckResponse.SERVING


@pytest.mark.parametrize("shown", SHOWN)
async def test_over_grpc_who_shows_a_key_may_send(
    channel: grpc.aio.Channel, sink: Sink, metrics: Metrics, shown: tuple[str, str]
) -> None:
    assert await export(channel, spans(3), shown) is None
    assert (sink.items(Signal.TRACES), taken(metrics, "web")) == (3, 3)


@pytest.mark.parametrize("shown", NOT_SHOWN)
async def test_over_grpc_who_shows_none_is_turned_away_before_the_message_is_looked_at(
    channel: grpc.aio.Channel, sink: Sink, shown: tuple[str, str]
) -> None:
    for body in (b"\xff", spans(1)):
        error = await export(channel, body, shown)
        assert error is not None
        assert error.code() is Code.UNAUTHENTICATED
        assert "key" in (error.details() or "").lower()
        assert "google.rpc.retryinfo-bin" not in dict(error.trailing_metadata())
    assert not sink.requests


async def test_over_http_who_has_sent_too_much_is_told_when_to_come_back(
    client: aiohttp.ClientSession, sink: Sink
) -> None:
    headers = PROTOBUF | {"x-api-key": "patience"}
    async with client.post("/v1/traces", data=spans(3), headers=headers) as reply:
        assert reply.status == 200
    async with client.post("/v1/traces", data=spans(3), headers=headers) as reply:
        assert (reply.status, reply.headers["retry-after"]) == (429, "3")
        assert Status.FromString(await reply.read()).code == Code.RESOURCE_EXHAUSTED.value[0]
    async with client.post("/v1/traces", data=spans(3), headers=PROTOBUF | {"x-api-key": "sesame"}) as reply:
        assert reply.status == 200
    assert sink.items(Signal.TRACES) == 6


async def test_over_grpc_who_has_sent_too_much_is_told_when_to_come_back(channel: grpc.aio.Channel) -> None:
    shown = ("x-api-key", "patience")
    assert await export(channel, spans(3), shown) is None
    error = await export(channel, spans(3), shown)
    assert error is not None
    assert error.code() is Code.RESOURCE_EXHAUSTED
    info = RetryInfo.FromString(dict(error.trailing_metadata())["google.rpc.retryinfo-bin"])  # type: ignore[arg-type]
    assert info.retry_delay.ToSeconds() == 3
    assert "more than 0.001 items a second" in (error.details() or "")


async def test_what_was_not_taken_costs_nothing(client: aiohttp.ClientSession, sink: Sink, metrics: Metrics) -> None:
    headers = PROTOBUF | {"x-api-key": "patience"}
    for error, status in ((Retryable("full", reason="queue_full"), 503), (None, 200)):
        sink.error = error
        async with client.post("/v1/traces", data=spans(3), headers=headers) as reply:
            assert reply.status == status
    assert taken(metrics, "slow") == 3


async def test_of_a_request_that_was_taken_in_part_the_part_is_counted(
    client: aiohttp.ClientSession, sink: Sink, metrics: Metrics
) -> None:
    sink.error = PartlyRejected("one was bad", items=1)
    async with client.post("/v1/traces", data=spans(3), headers=PROTOBUF | {"x-api-key": "sesame"}) as reply:
        assert reply.status == 200
    assert taken(metrics, "web") == 2
