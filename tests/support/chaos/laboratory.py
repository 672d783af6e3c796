"""The service between clients and a destination that keep account, and everything that may go wrong around it.

    async with Laboratory(directory, seed=7) as lab:
        trial = await lab.suffer(Killed())
        verdict = await lab.settle()

A trial tells what was seen meanwhile, the verdict what became of all that was sent.
"""

import asyncio
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from app.core.request import Signal
from app.health import DEAD_LETTERS
from tests.support.backend import Backend
from tests.support.cgroup import MemoryCgroup, find_memory_cgroup
from tests.support.chaos.clients import Answer, Clients, Seen
from tests.support.chaos.fault import Engine, Fault, Protocol
from tests.support.chaos.figures import Figures
from tests.support.chaos.judges import CHANNEL_BACKOFF, wrong_answers, wrong_books, wrong_endings, wrong_health
from tests.support.chaos.kubelet import NOT_LIVE, Kubelet
from tests.support.chaos.machine import Machine
from tests.support.chaos.numbered import altered, numbers
from tests.support.chaos.oracle import Delivery, Stretch, Verdict, judge
from tests.support.exchange import Success
from tests.support.faults import Faults
from tests.support.patience import PATIENCE
from tests.support.service import SOON, Service
from tests.support.volume import Volume, can_mount

__all__ = ["Laboratory", "Protocol", "Trial"]

_MEMORY_LIMIT: Final = 256 << 20
_EXPORT_TIMEOUT: Final = 1.0
_COMMIT: Final = 1.0
"""Within so many seconds after an answer was heard, that is on the disk, unless a fault is there."""
_READ_LATE: Final = 0.5
"""How much later than it was sent the destination may see what it was sent, as it shares a loop with all clients."""
_PROGRAM: Final = (sys.executable, "-m", "tests.support.chaos.program")
_HURRIED_NOT_LIVE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a fault, or of some at once."""

    faults: tuple[str, ...]
    shown: frozenset[str]
    """Those that could be seen to be there."""
    began: float
    over: float
    """When the fault began and when all was well again, in seconds of `time.monotonic`."""
    acknowledged: int
    """Items, from the fault's beginning until the service was well again."""
    seen: Counter[Seen]
    """What came of requests meanwhile."""
    details: Counter[str]
    """What was said where it was not "acknowledged"."""
    endings: tuple[int, ...]
    """The codes with which the service ended."""
    recovered: float
    """Seconds from the end of the fault until both transports took requests again, and something was delivered."""
    live: Counter[str]
    """What ``/health/live`` answered, by status."""
    ready: Counter[str]
    """What ``/health/ready`` answered, by status."""
    notes: frozenset[str]
    figures: Figures
    """What the metrics showed."""
    wrong: tuple[str, ...]
    """What should not have been."""


class Laboratory:
    """Runs from entering to leaving. `protocol` is the exporter's, `engine` that of OTLP/gRPC.

    `resend` has clients send again what failed.

    Where it is `hurried`, a service that is stuck is killed for it after seconds, and not after most of a minute.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        protocol: Protocol = "http/protobuf",
        engine: Engine = "grpcio",
        resend: bool = False,
        hurried: bool = False,
    ) -> None:
        self._directory = directory
        self.protocol: Protocol = protocol
        self._engine = engine
        self._resend = resend
        self._hurried = hurried
        self.seed = seed
        self.random = random.Random(f"{seed}, {protocol}")  # so that both protocols do not see the same storm
        # Ports that no outgoing connection gets while it is away.
        self.backend = Backend(breaks_calls=True)
        self.stretches: list[Stretch] = []
        self.between: Counter[Seen] = Counter()
        """What came of requests before, between and after trials."""
        self.wrong: list[str] = []
        """What should not have been then, and in the books at the end."""
        self._past: tuple[Fault, ...] = ()
        """The faults of the last trial, and when it was over: what clients asked until then they may still be told."""
        self._past_until = 0.0
        self._judged = 0
        """How many answers to clients were looked at."""
        self._lasting: set[str] = set()
        """The notes that stay until the end."""
        self.damaged: set[int] = set()
        """What was in pages that a fault destroyed."""
        self.more_than_memory = 4000
        """So many items are more than the service keeps in memory."""
        self._lifetimes = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.cgroup = stack.enter_context(MemoryCgroup(_MEMORY_LIMIT)) if find_memory_cgroup() else None
            self.disk = stack.enter_context(Volume(self._directory)) if can_mount() else None
            self.faults = Faults(self._directory) if shutil.which("gcc") else None
            self.machine = stack.enter_context(Machine(self._directory)) if shutil.which("gcc") else None
            await stack.enter_async_context(self.backend)
            self.queue = (self._directory if self.disk is None else self.disk.path) / "queue"
            self.service = self._make_service()
            stack.callback(self.service.kill)
            await self.service.start()
            not_live = _HURRIED_NOT_LIVE if self._hurried else NOT_LIVE
            self.kubelet = await stack.enter_async_context(Kubelet(self.service, not_live))
            self.clients = await stack.enter_async_context(
                Clients(self.service.http_url, self.service.grpc_target, resend=self._resend)
            )
            self._lifetimes = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._lifetimes.__aexit__(kind, error, trace)

    def _make_service(self) -> Service:
        backend = self.backend
        settings: dict[str, dict[str, Any]] = {
            "server": {"grpc_engine": self._engine},
            "exporter": {
                "endpoint": backend.http_endpoint if self.protocol == "http/protobuf" else backend.grpc_endpoint,
                "protocol": self.protocol,
                "timeout": f"{_EXPORT_TIMEOUT}s",
                "retry": SOON,
            },
            # A third of it for each signal: what waits is on the disk alone very soon.
            "queue": {
                "directory": str(self.queue),
                "max_bytes": "96MiB",
                "memory_bytes": "600KiB",
                "wait": "100ms",
            },
            "shutdown": {"delay": "300ms", "grace": "5s"},
        }
        environment: dict[str, str] = {}
        for library in (self.faults, self.machine):
            if library is not None:
                preload = f"{environment.get('LD_PRELOAD', '')} {library.environment['LD_PRELOAD']}"
                environment |= library.environment | {"LD_PRELOAD": preload.strip()}
        program = (*_PROGRAM, "hurried" if self._hurried else "usual")
        return Service(self._directory, settings, environment, self.cgroup, program)

    def restore_patience(self) -> None:
        """Have clients wait for their answers again as long as it takes."""
        self.clients.patience = PATIENCE

    async def suffer(self, *faults: Fault, hold: float | None = None) -> Trial:
        """Inflict, wait until they show (or for `hold` seconds), relieve, and wait until all is well again."""
        try:
            return await self._suffer(*faults, hold=hold)
        except Exception as error:
            error.add_note(f"with {' + '.join(map(str, faults))}, of seed {self.seed}")
            raise

    async def _suffer(self, *faults: Fault, hold: float | None) -> Trial:
        await self.clients.until_all_served("before a fault")
        self._judge_between()
        lives = len(self.kubelet.lives)
        acknowledged, began = len(self.clients.acknowledged), time.monotonic()
        self.kubelet.fresh()
        # First those that need most of the rest to be whole while they are inflicted.
        for fault in sorted(faults, key=lambda fault: len(fault.touches), reverse=True):
            fault.prepare(self)
            await fault.inflict(self)
        shown = await self._show(faults, hold)
        # All at once, since one may wait for what another holds up.
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(fault.relieve(self))
        relieved, delivered = time.monotonic(), len(self.backend.taken)
        await self.kubelet.until_up()
        await self.backend.received(lambda backend: len(backend.taken) > delivered, timeout=PATIENCE)
        await self.clients.until_all_served(f"after {', '.join(map(str, faults))}")
        recovered = time.monotonic()
        # What the faults before have left behind may show once more, such as the error that a gRPC channel repeats.
        lasting = {*self._lasting, *(note for fault in self._past for note in fault.notes)}
        self._past, self._past_until = faults, recovered + CHANNEL_BACKOFF
        self._lasting |= {DEAD_LETTERS for fault in faults if "dead" in fault.notes}
        await self.kubelet.until_well(self._lasting)
        met_lives = self.kubelet.lives[lives - 1 :]
        # A process that can keep nothing any more delivers to its last moment.
        over = max([relieved, *(life.ended for life in met_lives if life.ended is not None)]) + _READ_LATE
        self.stretches += [
            Stretch(fault.repeats, began, over, _EXPORT_TIMEOUT + _COMMIT) for fault in faults if fault.repeats
        ]
        met = self._fresh_answers()
        observed = self.kubelet.fresh()
        endings = tuple(life.code for life in met_lives if life.code is not None)
        return Trial(
            faults=tuple(map(str, faults)),
            shown=frozenset(map(str, shown)),
            began=began,
            over=recovered,
            acknowledged=len(self.clients.acknowledged) - acknowledged,
            seen=Counter(answer.seen for answer in met),
            details=Counter(answer.detail for answer in met if answer.seen is not Seen.TAKEN),
            endings=endings,
            recovered=recovered - relieved,
            live=Counter(probe.live for probe in observed.probes),
            ready=Counter(probe.ready for probe in observed.probes),
            notes=frozenset(observed.notes),
            figures=observed.figures,
            wrong=(
                *wrong_answers(faults, met, self.kubelet.was_up),
                *wrong_endings(faults, endings),
                *wrong_health(faults, lasting, observed.probes),
                *observed.unbalanced,
            ),
        )

    async def _show(self, faults: Sequence[Fault], hold: float | None) -> list[Fault]:
        """Wait until faults show, or for `hold` seconds; returns those that have shown."""
        looks = [asyncio.create_task(fault.shows(self)) for fault in faults]
        try:
            if hold is None:
                await asyncio.gather(*looks)
            else:
                await asyncio.sleep(hold)
            return [fault for fault, look in zip(faults, looks, strict=True) if look.done() and look.result() is None]
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    async def settle(self) -> Verdict:
        """Stop the clients, have all that is kept delivered, drain the service, and judge."""
        await self.clients.finish()
        self._judge_between()
        self.backend.otherwise = Success()
        await self.backend.start()
        await self.kubelet.until_up()
        # Not with the kubelet: what ends now must end well.
        async with self.kubelet.held():
            await asyncio.to_thread(self._replay)
            scrape = await self.service.settled(
                lambda s: all((books := s.books(signal)).queued + books.dead == 0 for signal in Signal),
                "all that was kept is delivered",
            )
            code = await self.service.terminate()
        assert code == 0, f"the drain ended with {code}"
        assert " 0 dead, 0 left on disk" in self.service.log.splitlines()[-1], self.service.log[-2000:]
        unheard = {id(received) for received in self.backend.unheard}
        deliveries = [
            Delivery(
                taken.signal,
                numbers(taken.signal, taken.body),
                taken.at,
                altered(taken.signal, taken.body),
                id(taken) in unheard,
            )
            for taken in self.backend.taken
        ]
        if len(self.kubelet.lives) == 1:  # one that was started again has forgotten what it counted before
            self.wrong += wrong_books(scrape, deliveries, self.clients.resent)
        return judge(
            sent=self.clients.signals,
            acknowledged=self.clients.acknowledged,
            resent=self.clients.resent,
            deliveries=deliveries,
            stretches=self.stretches,
            damaged=self.damaged,
        )

    def _replay(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.service.admin_port, timeout=PATIENCE)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/queue/dead/replay", '{"all": true}', headers)
            answer = connection.getresponse()
            assert answer.status == 200, (answer.status, answer.read())
        finally:
            connection.close()

    def _fresh_answers(self) -> list[Answer]:
        """What clients were answered since the last time."""
        fresh = self.clients.answers[self._judged :]
        self._judged += len(fresh)
        return fresh

    def _judge_between(self) -> None:
        """Where there is no fault everything is acknowledged."""
        fresh = self._fresh_answers()
        self.between.update(answer.seen for answer in fresh)
        late = [answer for answer in fresh if answer.asked <= self._past_until]
        others = [answer for answer in fresh if answer.asked > self._past_until]
        after = " + ".join(map(str, self._past))
        self.wrong += [f"after {after}: {what}" for what in wrong_answers(self._past, late, self.kubelet.was_up)]
        self.wrong += [f"without a fault, {what}" for what in wrong_answers([], others, self.kubelet.was_up)]
