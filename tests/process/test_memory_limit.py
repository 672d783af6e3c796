"""In a container of 256 MiB no flood ends the service: it says "later", and keeps what it said yes to."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from io import BytesIO
from itertools import count
from pathlib import Path

import aiohttp
import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.cgroup import MemoryCgroup
from tests.support.load import Load, identities, spans_request
from tests.support.patience import PATIENCE
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


async def test_a_flood_of_requests_in_json_with_wide_characters_is_taken_or_may_come_later(tmp_path: Path) -> None:
    """One character beyond the Basic Multilingual Plane makes all of a text four bytes wide."""
    span = '{"spanId":"0000000000000000","name":"%s😀"}' % ("x" * 1000)
    ballast = f",{span}" * (4 * MIB // len(span.encode()) - 10)
    answers: Counter[int] = Counter()
    acknowledged: set[int] = set()
    numbers = count(1)

    async def flood(url: str) -> None:
        async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
            while answers[200] < CLIENTS:
                number = next(numbers)
                body = f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"spanId":"{number:016x}"}}{ballast}]}}]}}]}}'
                async with session.post(url, data=BytesIO(body.encode())) as answer:
                    await answer.read()
                    assert answer.status == 200 or "Retry-After" in answer.headers, answer
                    answers[answer.status] += 1
                    if answer.status == 200:
                        acknowledged.add(number)

    with MemoryCgroup(LIMIT) as cgroup:
        async with Backend() as backend:
            settings = {"exporter": {"endpoint": backend.http_endpoint}}
            async with Service(tmp_path, settings, cgroup=cgroup) as service, asyncio.timeout(PATIENCE):
                url = service.http_url + Signal.TRACES.path
                await asyncio.gather(*[flood(url) for _ in range(CLIENTS)])
                await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
        assert cgroup.oom_kills == 0
    assert set(answers) <= {200, 503}
    assert acknowledged <= set(identities(request.body for request in backend.taken))
