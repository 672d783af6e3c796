"""In a container of 256 MiB no flood ends the service: it says "later", and keeps what it said yes to."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.cgroup import MemoryCgroup
from tests.support.load import Load, identities, spans_request
from tests.support.service import SOON, Service

pytestmark = [pytest.mark.needs("cgroup"), pytest.mark.alone]

MIB = 1 << 20
LIMIT = 256 * MIB
CLIENTS = 12  # of each transport, plain and gzipped: 48 connections with 6 MiB each


def large_requests() -> bytes:
    """What makes each request of a load 6 MiB large: spans of the number 0."""
    return spans_request(0, 1000) * (6 * MIB // len(spans_request(0, 1000)))


async def test_a_flood_of_large_requests_without_a_collector_is_an_honest_later(tmp_path: Path) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    settings = {"exporter": {"endpoint": endpoint, "retry": SOON}}
    ballast = large_requests()
    with MemoryCgroup(LIMIT) as cgroup:
        async with Service(tmp_path, settings, cgroup=cgroup) as service:
            floods = [
                Load(
                    service.http_url,
                    service.grpc_target,
                    clients=CLIENTS,
                    spans=1,
                    first=1 + number * 1_000_000,
                    ballast=ballast,
                    gzipped=gzipped,
                )
                for number, gzipped in enumerate((False, True))
            ]
            async with AsyncExitStack() as stack:
                for flood in floods:
                    await stack.enter_async_context(flood)
                for flood in floods:
                    await flood.until_answers("200", 1)
                    await flood.until_answers("OK", 3)
                    await flood.until_answers("503", 20)
                    await flood.until_answers("UNAVAILABLE", 20)

                async def noted() -> bool:
                    status, body = await service.ask("/health/ready")
                    assert status == 200, "short of memory is not unready"
                    return "memory is short" in body

                await service.until(noted, "the note about the memory")
            for flood in floods:
                assert set(flood.answers) == {"200", "OK", "503", "UNAVAILABLE"}
                assert flood.without_hint == []

            async with Load(service.http_url, service.grpc_target, clients=1, first=900_000_000) as later:
                await later.until_answers("200", 20)
                await later.until_answers("OK", 20)

            async with backend:
                await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        assert cgroup.oom_kills == 0
    arrived = set(identities(request.body for request in backend.taken))
    for load in (*floods, later):
        assert load.acknowledged <= arrived
