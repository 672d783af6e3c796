"""What a browser is told before it lets a page send, and with each answer."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from app.core.clock import SystemClock
from app.core.request import Signal
from app.health import Health
from app.receivers.auth import Doorkeeper
from app.receivers.http import HttpReceiver
from app.settings import AuthSettings, ServerSettings
from app.telemetry.metrics import Metrics
from tests.support.payload import JSON_SPAN
from tests.support.sink import Sink

JSON = {"content-type": "application/json"}
ORIGINS = ["https://app.example", "https://*.shop.example", "http://localhost:*", "https://port.example:443"]
WELCOME = [
    "https://app.example",
    "https://a.b.shop.example",
    "http://localhost:3000",
    "HTTPS://APP.example",
    "https://port.example",
]
STRANGERS = ["https://app.example.evil", "http://app.example", "https://xapp.example", "https://shop.example", "null"]
STRANGERS += ["https://appxexample", "https://evil.example/.shop.example", "http://localhost:1@evil.example", "*"]
OTLP = "accept, authorization, content-encoding, content-type, traceparent, tracestate, x-api-key"


@pytest.fixture
def cors() -> dict[str, object]:
    return {"allowed_origins": ORIGINS, "allowed_headers": ["X-Tenant"]}


@pytest.fixture
async def client(sink: Sink, cors: dict[str, object]) -> AsyncIterator[aiohttp.ClientSession]:
    settings = ServerSettings.model_validate({"host": "127.0.0.1", "port": 0, "cors": cors})
    health, metrics = Health("0", SystemClock()), Metrics("0")
    doorkeeper = Doorkeeper(AuthSettings(api_keys=["web:sesame"]), metrics)
    async with (
        HttpReceiver(settings, sink, metrics, health, doorkeeper=doorkeeper) as receiver,
        aiohttp.ClientSession(f"http://127.0.0.1:{receiver.port}") as client,
    ):
        yield client


def allowed(headers: Mapping[str, str]) -> dict[str, str]:
    """What an answer says to browsers."""
    return {name.lower(): text for name, text in headers.items() if name.lower().startswith("access-control-")}


async def preflight(client: aiohttp.ClientSession, origin: str) -> tuple[int, Mapping[str, str]]:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-other",
    }
    async with client.options("/v1/traces", headers=asked) as reply:
        return reply.status, reply.headers.copy()


@pytest.mark.parametrize("origin", WELCOME)
async def test_a_page_of_a_site_that_is_allowed_may_send(
    client: aiohttp.ClientSession, sink: Sink, origin: str
) -> None:
    status, headers = await preflight(client, origin)
    assert (status, headers["vary"]) == (204, "origin")
    assert allowed(headers) == {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "retry-after",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": f"{OTLP}, x-tenant",
        "access-control-max-age": "7200",
    }
    shown = JSON | {"origin": origin, "x-api-key": "sesame"}
    async with client.post("/v1/traces", data=JSON_SPAN, headers=shown) as reply:
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, origin)
        assert reply.headers["vary"] == "origin"
    assert sink.items(Signal.TRACES) == 1


async def test_a_page_may_read_a_refusal_too(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/traces", data=b"{", headers=JSON | {"origin": WELCOME[0]}) as reply:
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (401, WELCOME[0])


@pytest.mark.parametrize("origin", STRANGERS)
async def test_a_page_of_another_site_is_not_told_that_it_may(client: aiohttp.ClientSession, origin: str) -> None:
    status, headers = await preflight(client, origin)
    assert (status, allowed(headers)) == (405, {})
    async with client.post("/v1/traces", data=JSON_SPAN, headers=JSON | {"origin": origin}) as reply:
        assert (allowed(reply.headers), reply.headers["vary"]) == ({}, "origin")


async def test_who_is_no_page_is_told_nothing(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/traces", data=JSON_SPAN, headers=JSON | {"x-api-key": "sesame"}) as reply:
        assert (reply.status, allowed(reply.headers)) == (200, {})
        assert "vary" not in reply.headers


@pytest.mark.parametrize("cors", [{"allowed_origins": ["*"], "allowed_headers": ["*"]}])
async def test_any_site_and_any_header_may_be_allowed(client: aiohttp.ClientSession) -> None:
    asked = "access-control-request-headers"
    status, headers = await preflight(client, "https://anything.example")
    assert (status, headers["access-control-allow-origin"]) == (204, "https://anything.example")
    assert headers["access-control-allow-headers"] == "content-type,x-other"
    for wanted in ({}, {asked: "x\xff"}, {asked: "<script>"}, {asked: "x" * 5000}):
        async with client.options("/v1/traces", headers={"origin": "https://anything.example", **wanted}) as reply:
            assert reply.headers["access-control-allow-headers"].startswith(OTLP)


@pytest.mark.parametrize("cors", [{}])
async def test_unless_sites_are_allowed_no_browser_is_answered(client: aiohttp.ClientSession) -> None:
    status, headers = await preflight(client, WELCOME[0])
    assert (status, allowed(headers)) == (405, {})
    async with client.post(
        "/v1/traces", data=b"", headers=JSON | {"origin": WELCOME[0], "x-api-key": "sesame"}
    ) as reply:
        assert allowed(reply.headers) == {}
        assert "vary" not in reply.headers
