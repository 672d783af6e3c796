"""What a service that ends has left goes to its siblings, so that its directory may go with it."""

import asyncio
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from app.core.instance import HEADER
from app.core.request import Signal
from tests.support.accounts import accounts
from tests.support.backend import Backend
from tests.support.collector import Otelcol
from tests.support.exchange import Answer, Hang, Http, Received, Success
from tests.support.load import Load, identities
from tests.support.patience import PATIENCE
from tests.support.relay import Relay
from tests.support.service import SOON, Service

GRACE = 10


def make(directory: Path, name: str, endpoint: str) -> Service:
    """A service in a directory of its own, with `endpoint` as its destination."""
    (directory / name).mkdir()
    return Service(directory / name, {"exporter": {"endpoint": endpoint, "retry": SOON, "batch_timeout": "50ms"}})


def hand_to(service: Service, sibling: str, grace: float = GRACE) -> None:
    service.configure({"shutdown": {"delay": "0s", "grace": f"{grace}s", "handoff": sibling}})


def away(backend: Backend) -> str:
    """Where `backend` listens when it does."""
    return backend.http_endpoint


def lose(service: Service) -> None:
    """What becomes of a pod's emptyDir."""
    shutil.rmtree(service.directory / "queue")


@pytest.mark.needs("otelcol")
async def test_one_of_two_is_rolled_while_the_collector_is_away_and_nothing_is_lost(tmp_path: Path) -> None:
    async with Backend() as backend:
        collector = Otelcol(tmp_path, backend.http_endpoint)
        first = make(tmp_path, "first", collector.http_url)
        second = make(tmp_path, "second", collector.http_url)
        hand_to(first, second.http_url)
        async with second:
            async with (
                first,
                Load(first.http_url, first.grpc_target) as rolled,
                Load(second.http_url, second.grpc_target, first=1_000_001) as other,
            ):
                await rolled.until_acknowledged(2000)
                assert await first.terminate() == 0
                await rolled.stop()
                await other.until_acknowledged(2000)
                await other.stop()
            lose(first)
            figures = accounts(first.log)[-1]
            assert figures["handed"] == figures["accepted"] >= 2000
            assert figures["delivered"] == figures["left"] == figures["dropped"] == 0
            assert (await second.law()).total("otlp_receiver_refused_items_total") == 0
            async with collector:
                await second.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
                acknowledged = rolled.acknowledged | other.acknowledged
                await backend.received(
                    lambda b: acknowledged <= set(identities(request.body for request in b.taken)), timeout=PATIENCE
                )


async def test_siblings_are_rolled_one_after_the_other_and_hand_on_what_they_were_handed(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = away(backend)
    first, second = make(tmp_path, "first", endpoint), make(tmp_path, "second", endpoint)
    hand_to(first, second.http_url)
    hand_to(second, first.http_url)
    async with first, second:
        async with Load(first.http_url, first.grpc_target) as load:
            await load.until_acknowledged(1000)
        for leaving in (first, second, first):
            assert await leaving.terminate() == 0
            assert accounts(leaving.log)[-1]["left"] == 0
            lose(leaving)
            await leaving.start()
        async with backend:
            await second.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
    arrived = Counter(identities(request.body for request in backend.taken))
    assert load.acknowledged <= arrived.keys()
    assert max(arrived.values()) == 1, "no hand-off was cut"


async def test_what_a_destination_takes_is_delivered_and_not_handed_off(tmp_path: Path) -> None:
    async with Backend() as backend, Backend() as sibling:
        service = make(tmp_path, "service", backend.http_endpoint)
        hand_to(service, sibling.http_endpoint)
        async with service:
            async with Load(service.http_url, service.grpc_target) as load:
                await load.until_acknowledged(2000)
            assert await service.terminate() == 0
        figures = accounts(service.log)[-1]
        assert figures["delivered"] == figures["accepted"]
        assert figures["handed"] == figures["left"] == 0
        assert sibling.requests == []


async def test_a_destination_that_hangs_leaves_half_of_the_grace_to_the_siblings(tmp_path: Path) -> None:
    async with Backend() as backend, Backend() as sibling:
        backend.otherwise = Hang()
        service = make(tmp_path, "service", backend.http_endpoint)
        hand_to(service, sibling.http_endpoint, grace=6)
        async with service:
            async with Load(service.http_url, None) as load:
                await load.until_acknowledged(500)
            began = time.monotonic()
            assert await service.terminate() == 0
            assert time.monotonic() - began >= 3
        assert load.acknowledged <= set(identities(request.body for request in sibling.taken))
        assert accounts(service.log)[-1]["left"] == 0


async def test_a_sibling_that_closes_itself_is_asked_again_and_sees_who_sends(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = away(backend)
    async with Backend() as sibling:
        sibling.script(Http(503, headers={"Retry-After": "1"}), Http(503))
        service = make(tmp_path, "service", endpoint)
        hand_to(service, sibling.http_endpoint)
        async with service:
            async with Load(service.http_url, None, clients=1) as load:
                await load.until_acknowledged(100)
            assert await service.terminate() == 0
        assert load.acknowledged <= set(identities(request.body for request in sibling.taken))
        assert len({received.headers[HEADER] for received in sibling.requests}) == 1
        assert accounts(service.log)[-1]["left"] == 0


async def test_without_a_sibling_a_drain_ends_in_time_and_leaves_all_on_disk(tmp_path: Path) -> None:
    backend, sibling = Backend(), Backend()
    async with backend, sibling:
        endpoint, nobody = away(backend), away(sibling)
    service = make(tmp_path, "service", endpoint)
    hand_to(service, nobody, grace=2)
    async with service:
        async with Load(service.http_url, None) as load:
            await load.until_acknowledged(500)
        assert await service.terminate() == 0
        figures = accounts(service.log)[-1]
        assert figures["left"] == figures["accepted"] >= 500
        async with backend:
            await service.start()
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
    assert load.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_a_way_that_leads_back_here_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = away(backend)
    service = make(tmp_path, "service", endpoint)
    async with Relay(service.port) as relay:  # as a Service may lead to a pod for a moment after it began to end
        hand_to(service, f"http://127.0.0.1:{relay.port}", grace=2)
        async with service:
            async with Load(service.http_url, None) as load:
                await load.until_acknowledged(500)
            assert await service.terminate() == 0
            assert relay.sent > 0
            assert accounts(service.log)[-1]["left"] == accounts(service.log)[-1]["accepted"]
            assert "the service is shutting down" in service.log
            async with backend:
                await service.start()
                await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
    assert load.acknowledged <= set(identities(request.body for request in backend.taken))


async def test_the_law_holds_in_every_scrape_while_things_are_handed_off(tmp_path: Path) -> None:
    gate = asyncio.Event()

    def slowly(_: Received) -> Answer:
        return Success() if gate.is_set() else Http(503)

    backend = Backend()
    async with backend:
        endpoint = away(backend)
    async with Backend() as sibling:
        sibling.otherwise = slowly
        service = make(tmp_path, "service", endpoint)
        hand_to(service, sibling.http_endpoint)
        async with service:
            async with Load(service.http_url, None) as load:
                await load.until_acknowledged(1000)
            ending = asyncio.create_task(service.terminate())
            await sibling.received(lambda b: len(b.requests) >= 2)
            assert (await service.law()).books(Signal.TRACES).sent == 0
            gate.set()
            assert await ending == 0
        assert accounts(service.log)[-1]["handed"] == accounts(service.log)[-1]["accepted"]
