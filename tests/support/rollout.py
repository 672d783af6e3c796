"""Instances of the service behind one address, replaced in turn under load as Kubernetes does it, and what came of it.

An instance that is to go gets SIGTERM, is not ready any more, and stops being an endpoint only later; a new one is an
endpoint as soon as it is ready.
"""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from app.core.request import Signal
from tests.support.accounts import accounts
from tests.support.backend import Backend
from tests.support.balancer import Balancer
from tests.support.go import GoLoad, find_go_client
from tests.support.load import Load, identities
from tests.support.nginx import Nginx, find_nginx
from tests.support.node import NodeLoad, find_node
from tests.support.sdk_load import SdkLoad
from tests.support.sdk_process import SdkProcess
from tests.support.service import SOON, Service

__all__ = ["BALANCERS", "SDKS", "WAYS", "Rollout", "Row", "Way", "missing", "roll"]

BALANCERS: Final = ("TCP", "nginx")
"""One knows connections and not requests, as a Service does; the other is an ingress."""
SDKS: Final = ("Python", "Node.js", "Go")
_FIND: Final[Mapping[str, Callable[[], object]]] = {"nginx": find_nginx, "Node.js": find_node, "Go": find_go_client}

_TAKEN: Final = {"200", "OK"}
_LATER: Final = {"503", "UNAVAILABLE", "CANCELLED"}
_NEVER_TRIED_AGAIN: Final = ("Error: 1 CANCELLED", "Error: 14 UNAVAILABLE")
"""What the SDK for Node.js gives up over gRPC: it tries nothing again, not even what it may."""

_LATE = 2
"""How many connections of each transport are led to an instance that has had its SIGTERM."""
_APART = 100_000_000
"""How far apart the numbers of two clients are."""


class _Fleet:
    """Instances with a volume each behind `balancer`, two at first. None is left in the end, and nothing in them."""

    def __init__(
        self, directory: Path, balancer: Balancer | Nginx, endpoint: str, *, grace: int = 10, handoff: bool = False
    ) -> None:
        self._directory = directory
        self._balancer = balancer
        self._settings: dict[str, dict[str, Any]] = {
            "exporter": {"endpoint": endpoint, "retry": SOON},
            "shutdown": {"delay": "2s", "grace": f"{grace}s", "handoff": balancer.http_url if handoff else None},
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
            return all(
                self._balancer.led_to(service, transport) >= count + _LATE for transport, count in before.items()
            )

        await service.until(late, "connections after SIGTERM")
        self._balancer.remove(service)
        self.running.remove(service)
        assert await service.wait() == 0

    async def delivered(self) -> None:
        """Return when the destination has everything."""
        for service in self.running:
            await service.settled(lambda scrape: scrape.books(Signal.TRACES).queued == 0, "all is delivered")

    def accepted(self) -> int:
        """How many spans clients had accepted, as the instances said when they ended; a hand-off is none of theirs."""
        figures = [account for service in self.all for account in accounts(service.log)]
        return sum(account["accepted"] - account.get("handed", 0) for account in figures)

    def _kill(self) -> None:
        for service in self.all:
            service.kill()


@dataclass(frozen=True, slots=True)
class Way:
    """How instances are replaced: a new one is added before an old one ends, but for where that is started `again`."""

    name: str
    away: bool = False
    """The destination is away until the last was replaced."""
    handoff: bool = False
    """What is left goes to the others, and the volume with its instance."""
    again: bool = False
    """The same instance is started again, on its volume."""

    async def replace(self, fleet: _Fleet) -> None:
        """Replace both of a new fleet, one after the other."""
        for old in fleet.all[:2]:
            if not self.again:
                await fleet.add()
            await fleet.end(old)
            if self.handoff:
                await asyncio.to_thread(shutil.rmtree, old.directory / "queue")
            if self.again:
                await fleet.start(old)


WAYS: Final = (
    Way("new ones"),
    Way("new ones, collector away, handed off", away=True, handoff=True),
    Way("a volume each, collector away", away=True, again=True),
)


@dataclass(slots=True)
class Row:
    """What became of one client's exports."""

    client: str
    exports: int = 0
    again: int = 0
    """Those that met a "later", of a client that sends nothing again though it may."""
    failed: list[str] = field(default_factory=list)
    """For each other that failed for good, what it said."""
    without_hint: int = 0
    """Refusals that did not say when to come back, but for those of calls that crossed GOAWAY."""
    acknowledged: int = 0
    """Spans."""
    lost: int = 0
    """Spans that were acknowledged and did not arrive."""
    repeated: int = 0
    """How many times a span arrived again."""

    def merge(self, other: "Row") -> None:
        """Add what became of the same client's exports at another time."""
        self.exports += other.exports
        self.again += other.again
        self.failed += other.failed
        self.without_hint += other.without_hint
        self.acknowledged += other.acknowledged
        self.lost += other.lost
        self.repeated += other.repeated


@dataclass(slots=True)
class Rollout:
    """What came of replacing both instances."""

    rows: list[Row]
    refused: int
    """Connections that were led to an instance which did not listen."""
    accepted_again: int = 0
    """How many times an instance accepted a span that it or another had accepted: its client sent it again, or a
    hand-off was cut. As often it may arrive again; whatever else does was delivered twice by the service itself."""

    def merge(self, other: "Rollout") -> None:
        """Add what came of doing it once more, with the same clients."""
        self.refused += other.refused
        self.accepted_again += other.accepted_again
        self.rows = self.rows or [Row(row.client) for row in other.rows]
        for own, others in zip(self.rows, other.rows, strict=True):
            own.merge(others)


_Sender = Load | SdkLoad | SdkProcess


class _Clients:
    """Under way from entering to leaving, each over one transport, with numbers of its own.

    Raw ones try nothing again: some keep their connections, some make one for each request. `sdks` are there besides.
    """

    def __init__(self, sdks: Collection[str], balancer: Balancer | Nginx, directory: Path) -> None:
        http, grpc = balancer.http_url, balancer.grpc_target
        make: dict[str, Callable[[int], _Sender]] = {
            "raw, HTTP": lambda first: Load(http, None, clients=2, spans=10, first=first),
            "raw, gRPC": lambda first: Load(None, grpc, clients=2, spans=10, first=first),
            "raw, HTTP, fresh": lambda first: Load(http, None, clients=1, spans=10, first=first, lasting=False),
            "raw, gRPC, fresh": lambda first: Load(None, grpc, clients=1, spans=10, first=first, lasting=False),
        }
        for sdk in sdks:
            for name, endpoint, protocol in ("HTTP", http, "http/protobuf"), ("gRPC", f"http://{grpc}", "grpc"):
                make[f"{sdk}, {name}"] = partial(_start_sdk, sdk, directory, endpoint, protocol)
        self._senders = {name: sender(turn * _APART) for turn, (name, sender) in enumerate(make.items(), 1)}
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for sender in self._senders.values():
                await stack.enter_async_context(sender)
            self._running = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return when what is under way is answered."""
        if error is None:
            await asyncio.gather(*(sender.finish() for sender in self._senders.values() if isinstance(sender, Load)))
        await self._running.__aexit__(kind, error, trace)

    def rows(self, arrived: Counter[int]) -> list[Row]:
        """Compare with how often each number arrived."""
        repeated: Counter[int] = Counter()
        for number, times in arrived.items():
            repeated[number // _APART] += times - 1
        rows = []
        for turn, (name, sender) in enumerate(self._senders.items(), 1):
            row = _raw(name, sender) if isinstance(sender, Load) else _sdk(name, sender)
            row.acknowledged = len(sender.acknowledged)
            row.lost = len(sender.acknowledged - arrived.keys())
            row.repeated = repeated[turn]
            rows.append(row)
        return rows


def _start_sdk(sdk: str, directory: Path, endpoint: str, protocol: str, first: int) -> SdkLoad | SdkProcess:
    if sdk == "Python":
        return SdkLoad(endpoint, protocol, first=first)
    own = directory / f"{sdk}-{protocol.partition('/')[0]}"
    return (NodeLoad if sdk == "Node.js" else GoLoad)(own, endpoint, protocol, first=first)


def _raw(name: str, load: Load) -> Row:
    return Row(
        name,
        exports=sum(load.answers.values()),
        again=sum(times for answer, times in load.answers.items() if answer in _LATER),
        failed=[
            answer for answer, times in load.answers.items() if answer not in _TAKEN | _LATER for _ in range(times)
        ],
        without_hint=sum(told != "CANCELLED CANCELLED" for told in load.without_hint),
    )


def _sdk(name: str, sdk: SdkLoad | SdkProcess) -> Row:
    errors = sdk.given_up
    never = [error for error in errors if name == "Node.js, gRPC" and error.startswith(_NEVER_TRIED_AGAIN)]
    return Row(name, exports=sdk.exports, again=len(never), failed=[error for error in errors if error not in never])


def missing() -> list[str]:
    """Which balancers and SDKs are not here."""
    return [name for name, find in _FIND.items() if not find()]


async def roll(way: Way, balancer: str, directory: Path, sdks: Collection[str] = ("Python",)) -> Rollout:
    """Replace both instances in a `way` behind a `balancer`, one after the other, while clients send."""
    backend = Backend()
    async with backend, Balancer() if balancer == "TCP" else Nginx(directory) as front:
        if way.away:
            await backend.stop()
        fleet = _Fleet(directory, front, backend.http_endpoint, grace=1 if way.again else 10, handoff=way.handoff)
        async with fleet:
            async with _Clients(sdks, front, directory) as clients:
                await way.replace(fleet)
            await backend.start()
            await fleet.delivered()
        arrived = Counter(identities(request.body for request in backend.taken))
        return Rollout(clients.rows(arrived), front.refused, fleet.accepted() - len(arrived))
