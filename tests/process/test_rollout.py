"""Two instances behind one address, each replaced in turn under load, as Kubernetes does it.

An instance that is to go gets SIGTERM, is not ready any more, and stops being an endpoint only later; a new one is an
endpoint as soon as it is ready. What clients may see of it is in docs/reliability.md.
"""

import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.balancer import Balancer
from tests.support.go import GoLoad
from tests.support.load import Load, identities
from tests.support.nginx import Nginx
from tests.support.node import NodeLoad
from tests.support.sdk_load import SdkLoad
from tests.support.service import SOON, Service

pytestmark = pytest.mark.alone

TAKEN = {"200", "OK"}
LATER = {"503", "UNAVAILABLE", "CANCELLED"}
LATE = 2
"""How many connections of each transport are led to an instance that has had its SIGTERM."""


class Fleet:
    """Instances with a volume each behind `balancer`, two at first. None is left in the end, and nothing in them."""

    def __init__(
        self, directory: Path, balancer: Balancer | Nginx, endpoint: str, *, grace: int = 10, handoff: bool = False
    ) -> None:
        self._directory = directory
        self._balancer = balancer
        self._settings = {
            "exporter": {"endpoint": endpoint, "retry": SOON},
            "shutdown": {"delay": "3s", "grace": f"{grace}s", "handoff": balancer.http_url if handoff else None},
        }
        self.all: list[Service] = []
        self.running: list[Service] = []

    async def __aenter__(self) -> Self:
        try:
            for _ in range(2):
                await self.add()
        except BaseException:
            self._kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for service in self.running:
                    service.signal(signal.SIGINT)  # without the delay
                assert {await service.wait() for service in self.running} == {0}
        finally:
            self._kill()

    async def add(self) -> None:
        """Start another one."""
        directory = self._directory / f"instance-{len(self.all)}"
        directory.mkdir()
        service = Service(directory, self._settings)
        self.all.append(service)
        await self.start(service)

    async def start(self, service: Service) -> None:
        """Start `service`, on what is on its volume, and lead clients to it when it is ready."""
        await service.start()
        self._balancer.add(service)
        self.running.append(service)

    async def end(self, service: Service) -> None:
        """End `service`, to which clients are still led when it has had its SIGTERM."""
        service.signal(signal.SIGTERM)

        async def not_ready() -> bool:
            return (await service.ask("/health/ready"))[0] == 503

        await service.until(not_ready, "not ready")
        assert (await service.ask("/health/live"))[0] == 200
        before = {transport: self._balancer.led_to(service, transport) for transport in ("http", "grpc")}

        async def late() -> bool:
            return all(self._balancer.led_to(service, transport) >= count + LATE for transport, count in before.items())

        await service.until(late, "connections after SIGTERM")
        self._balancer.remove(service)
        self.running.remove(service)
        assert await service.wait() == 0

    async def delivered(self) -> None:
        """Return when the destination has everything."""
        for service in self.running:
            await service.settled(lambda scrape: scrape.books(Signal.TRACES).queued == 0, "all is delivered")

    def _kill(self) -> None:
        for service in self.all:
            service.kill()


class Clients:
    """Raw ones that keep their connections, raw ones that make one for each request, and the SDK for Python."""

    def __init__(self, balancer: Balancer | Nginx) -> None:
        http, grpc = balancer.http_url, balancer.grpc_target
        self.lasting = Load(http, grpc, clients=2, spans=10, first=1_000_000)
        self.fresh = Load(http, grpc, clients=1, spans=10, first=2_000_000, lasting=False)
        self.sdks = SdkLoad(http, grpc, first=3_000_000)

    async def __aenter__(self) -> Self:
        for load in (self.lasting, self.fresh, self.sdks):
            await load.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return when what is under way is answered."""
        if error is None:
            await self.lasting.finish()
            await self.fresh.finish()
        for load in (self.lasting, self.fresh, self.sdks):
            await load.__aexit__(kind, error, trace)

    @property
    def acknowledged(self) -> set[int]:
        return self.lasting.acknowledged | self.fresh.acknowledged | self.sdks.acknowledged

    def check(self) -> None:
        """No SDK gave up; who was refused may try again, and was told when, but for what crossed GOAWAY."""
        assert self.sdks.given_up == []
        for load in (self.lasting, self.fresh):
            assert load.answers.keys() <= TAKEN | LATER, load.answers
            assert set(load.without_hint) <= {"CANCELLED CANCELLED"}


def arrived(backend: Backend) -> set[int]:
    """What the destination took; nothing of it twice, for no instance ended in the middle of something."""
    numbers = identities(request.body for request in backend.taken)
    assert len(numbers) == len(set(numbers))
    return set(numbers)


@pytest.fixture
async def balancer() -> AsyncIterator[Balancer]:
    """It has led no client to an endpoint that refused it."""
    async with Balancer() as balancer:
        yield balancer
    assert balancer.refused == 0


@pytest.fixture
async def away() -> Backend:
    """A destination that is away until it is entered."""
    async with Backend() as backend:
        return backend


async def test_each_is_replaced_under_load_and_no_sdk_gives_up_and_nothing_is_lost(
    tmp_path: Path, balancer: Balancer
) -> None:
    async with Backend() as backend:
        async with Fleet(tmp_path, balancer, backend.http_endpoint) as fleet, Clients(balancer) as clients:
            for old in fleet.all[:2]:
                await fleet.add()
                await fleet.end(old)
        clients.check()
        assert clients.acknowledged <= arrived(backend)


@pytest.mark.parametrize(
    ("sdk", "gives_up"),
    [
        pytest.param(GoLoad, set(), marks=pytest.mark.needs("go client"), id="go"),
        # Over gRPC it tries nothing again, not even what it may: what crosses GOAWAY or is told "later" is lost to it.
        pytest.param(
            NodeLoad, {"Error: 1 CANCELLED", "Error: 14 UNAVAILABLE"}, marks=pytest.mark.needs("node"), id="node"
        ),
    ],
)
async def test_one_is_replaced_and_an_sdk_of_another_language_gives_up_nothing_but_what_it_never_tries_again(
    tmp_path: Path, balancer: Balancer, sdk: type[GoLoad | NodeLoad], gives_up: set[str]
) -> None:
    async with Backend() as backend:
        async with (
            Fleet(tmp_path, balancer, backend.http_endpoint) as fleet,
            Clients(balancer) as clients,
            sdk(tmp_path / "http", balancer.http_url, "http/protobuf", first=4_000_000) as http,
            sdk(tmp_path / "grpc", f"http://{balancer.grpc_target}", "grpc", first=6_000_000) as grpc,
        ):
            await fleet.add()
            await fleet.end(fleet.all[0])
        clients.check()
        assert http.given_up == []
        assert {error[: error.index(":", len("Error:"))] for error in grpc.given_up} <= gives_up
        assert clients.acknowledged | http.acknowledged | grpc.acknowledged <= arrived(backend)


@pytest.mark.needs("nginx")
async def test_behind_nginx_one_is_replaced_and_no_sdk_gives_up_and_nothing_is_lost(tmp_path: Path) -> None:
    async with Backend() as backend, Nginx(tmp_path) as nginx:
        async with (
            Fleet(tmp_path, nginx, backend.http_endpoint) as fleet,
            Load(nginx.http_url, nginx.grpc_target, clients=2, first=1_000_000) as raw,
            SdkLoad(nginx.http_url, nginx.grpc_target, first=3_000_000) as sdks,
        ):
            await fleet.add()
            await fleet.end(fleet.all[0])
        assert nginx.refused == 0
        assert sdks.given_up == []
        assert raw.acknowledged | sdks.acknowledged <= arrived(backend)


async def test_with_the_collector_away_each_hands_its_backlog_to_the_others_and_its_volume_may_go(
    tmp_path: Path, balancer: Balancer, away: Backend
) -> None:
    async with Fleet(tmp_path, balancer, away.http_endpoint, handoff=True) as fleet:
        async with Clients(balancer) as clients:
            for old in fleet.all[:2]:
                await fleet.add()
                await fleet.end(old)
                shutil.rmtree(old.directory / "queue")
        async with away:
            await fleet.delivered()
    clients.check()
    assert clients.acknowledged <= arrived(away)


async def test_with_a_volume_each_the_other_one_covers_the_gap_and_a_backlog_comes_back(
    tmp_path: Path, balancer: Balancer, away: Backend
) -> None:
    async with Fleet(tmp_path, balancer, away.http_endpoint, grace=1) as fleet:
        async with Clients(balancer) as clients:
            for service in fleet.all:
                await fleet.end(service)
                await fleet.start(service)
        async with away:
            await fleet.delivered()
    clients.check()
    assert clients.acknowledged <= arrived(away)
