"""What SIGTERM does: leave, close, empty, and give an account that adds up."""

import asyncio
import os
import re
import resource
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import grpc
import pytest

from app.core.request import Signal
from tests.support.accounts import accounts
from tests.support.backend import Backend
from tests.support.load import Load, identities, spans_request
from tests.support.patience import PATIENCE
from tests.support.raw_http import RawClient, post
from tests.support.service import SOON, Service


def handles_sigterm(pid: int) -> bool:
    caught = re.findall(r"SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught[0], 16) & 1 << (signal.SIGTERM - 1))


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_sigterm_under_load_drops_nothing_and_its_numbers_add_up(tmp_path: Path, engine: str) -> None:
    async with Backend() as backend:
        settings = {"exporter": {"endpoint": backend.http_endpoint}, "shutdown": {"delay": "300ms"}}
        service = Service(tmp_path, settings | {"server": {"grpc_engine": engine}})
        async with service, Load(service.http_url, service.grpc_target) as load:
            await load.until_acknowledged(2000)
            assert await service.terminate() == 0
        arrived = Counter(identities(request.body for request in backend.taken))
        assert load.acknowledged <= arrived.keys()
        assert max(arrived.values()) == 1
        figures = accounts(service.log)[-1]
        assert figures == {
            "accepted": len(arrived), "recovered": 0, "delivered": len(arrived), "dropped": 0, "dead": 0, "left": 0
        }  # fmt: skip


async def test_draining_is_not_ready_but_live_and_accepts_until_the_delay_is_over_and_sends_clients_on(
    tmp_path: Path,
) -> None:
    async with Backend() as backend:
        service = Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint}, "shutdown": {"delay": "1500ms"}})
        async with (
            service,
            Load(service.http_url, None, clients=1) as load,
            RawClient(service.port) as kept,
        ):
            await load.until_acknowledged(20)
            assert not (await kept.ask(post(spans_request(1_000_001, 1)))).last
            assert (await service.metrics()).total("otlp_service_ready") == 1
            service.signal(signal.SIGTERM)

            async def left() -> bool:
                return (await service.ask("/health/ready"))[0] == 503

            await service.until(left, "not ready")
            assert (await service.ask("/health/live"))[0] == 200
            assert (await service.metrics()).total("otlp_service_ready") == 0
            answer = await kept.ask(post(spans_request(1_000_002, 1)))
            assert (answer.status, answer.last) == (200, True)
            await load.until_acknowledged(len(load.acknowledged) + 100)
            assert await service.wait() == 0


async def test_with_the_collector_away_a_drain_ends_in_time_and_leaves_all_on_disk(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    service = Service(tmp_path, {"exporter": {"endpoint": endpoint}, "shutdown": {"grace": "1s"}})
    async with service:
        async with Load(service.http_url, None) as load:
            await load.until_acknowledged(2000)
        assert await service.terminate() == 0
        figures = accounts(service.log)[-1]
        assert figures["left"] == figures["accepted"] >= 2000
        assert figures["delivered"] == figures["dropped"] == 0
        async with backend:
            await service.start()
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
    assert load.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_a_second_signal_ends_at_once_and_loses_nothing_on_disk(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    service = Service(tmp_path, {"exporter": {"endpoint": endpoint}, "shutdown": {"grace": "5m"}})
    async with service:
        async with Load(service.http_url, None) as load:
            await load.until_acknowledged(500)
        service.signal(signal.SIGTERM)

        async def emptying() -> bool:
            return "emptying" in service.log

        await service.until(emptying, "emptying")
        service.signal(signal.SIGTERM)
        assert await service.wait() == 128 + signal.SIGTERM
        async with backend:
            await service.start()
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
    assert load.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_who_waits_for_delivery_when_the_service_ends_is_told_to_come_back(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    settings = {
        "exporter": {"endpoint": endpoint, "retry": SOON},
        "queue": {"directory": str(tmp_path / "queue"), "acknowledge": "delivered"},
        "shutdown": {"delay": "0s", "grace": "2s"},
    }
    service = Service(tmp_path, settings)
    async with service, grpc.aio.insecure_channel(service.grpc_target) as channel, aiohttp.ClientSession() as session:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(Signal.TRACES.method)
        by_grpc = asyncio.ensure_future(call(spans_request(1, 10), timeout=PATIENCE))
        headers = {"Content-Type": "application/x-protobuf"}
        by_http = asyncio.create_task(
            session.post(f"{service.http_url}/v1/traces", data=spans_request(11, 10), headers=headers)
        )
        await service.settled(lambda s: s.books(Signal.TRACES).queued == 20, "both wait")
        service.signal(signal.SIGTERM)
        answer = await by_http
        assert (answer.status, answer.headers["Retry-After"] in {"1", "2"}) == (503, True)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await by_grpc
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "google.rpc.retryinfo-bin" in dict(refusal.value.trailing_metadata())
        assert await service.wait() == 0
    assert accounts(service.log)[-1]["left"] == 20


async def test_a_service_may_open_as_many_files_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    service = Service(tmp_path, {"exporter": {"protocol": "console"}, "server": {"max_connections": hard}})
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))  # a process has that of who starts it
    try:
        async with service:
            assert resource.prlimit(service.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert f"but the system allows {hard}; raise that limit" in service.log


async def test_a_signal_while_it_starts_ends_it_with_success(tmp_path: Path) -> None:
    service = Service(tmp_path, {"exporter": {"protocol": "console"}})
    service.spawn()

    async def handled() -> bool:
        return handles_sigterm(service.pid)

    await service.until(handled, "a handler")
    assert not await service.ready(), "it must still be starting for this to mean anything"
    assert await service.terminate() == 0
    assert "Traceback" not in service.log


async def test_a_second_instance_that_cannot_start_leaves_the_first_ones_address(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    console = {"exporter": {"protocol": "console"}, "queue": {"directory": str(tmp_path / "queue")}}
    async with Service(tmp_path, console):
        address = tmp_path / f"otlp-service-{os.geteuid()}.address"
        written = address.read_text()
        second = Service(tmp_path / "second", console, {"TMPDIR": str(tmp_path)})
        second.spawn()
        assert await second.wait() == 1
        assert "is held by another process" in second.log
        assert address.read_text() == written


@pytest.mark.parametrize("transport", ["http", "grpc"])
async def test_answering_only_after_delivery_waits_for_the_collector(tmp_path: Path, transport: str) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    settings = {
        "exporter": {"endpoint": endpoint, "retry": SOON},
        "queue": {"directory": str(tmp_path / "queue"), "acknowledge": "delivered"},
    }
    async with Service(tmp_path, settings) as service:
        http, grpc = (service.http_url, None) if transport == "http" else (None, service.grpc_target)
        async with Load(http, grpc, clients=1) as load:
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 20, "it waits in the queue")
            assert not load.acknowledged
            async with backend:
                await load.until_acknowledged(20)
                await load.stop()
                await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
    assert set(range(1, 21)) <= set(identities(request.body for request in backend.taken))
