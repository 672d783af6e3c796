"""Power cuts under a service that is under load: what was acknowledged arrives, every time."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.lives import unexplained
from tests.support.load import Load, identities
from tests.support.process import until
from tests.support.service import SOON, Service
from tests.support.volume import Volume

__all__ = ["Report", "cut_power"]

_APART = 1 << 32  # the numbers of the spans of one round and of the next
_UNSYNCED = 1 << 20


@dataclass(slots=True)
class Report:
    """What came of the rounds until now."""

    rounds: int = 0
    acknowledged: set[int] = field(default_factory=set)
    unacknowledged: set[int] = field(default_factory=set)
    arrived: Counter[int] = field(default_factory=Counter)
    unexplained: set[int] = field(default_factory=set)
    """What arrived more than once though no cut explains it."""
    answers: Counter[str] = field(default_factory=Counter)
    endings: Counter[int] = field(default_factory=Counter)
    """How often the service ended with each exit code when its disk was gone."""
    lost_unsynced: int = 0
    """How often a cut took what had been written beside the queue and not synced: it must, or nothing is shown."""

    @property
    def lost(self) -> set[int]:
        """What was acknowledged and did not arrive."""
        return self.acknowledged - self.arrived.keys()

    @property
    def invented(self) -> set[int]:
        """What arrived and was never sent."""
        return self.arrived.keys() - self.acknowledged - self.unacknowledged

    @property
    def repeated(self) -> int:
        """How many spans arrived more than once, which is allowed where their delivery had not been noted yet."""
        return sum(times > 1 for times in self.arrived.values())

    def __str__(self) -> str:
        return (
            f"{self.rounds} cuts: {len(self.acknowledged)} spans acknowledged, {len(self.lost)} of them lost, "
            f"{self.repeated} delivered more than once, {len(self.unexplained)} of these for no reason; "
            f"{len(self.unacknowledged)} not acknowledged; "
            f"unsynced neighbours lost {self.lost_unsynced} times; answers {dict(self.answers)}; "
            f"exit codes {dict(self.endings)}"
        )


async def cut_power(
    directory: Path, rounds: int, seed: int, tell: Callable[[Report], object] = lambda _: None
) -> Report:
    """Cut the power `rounds` times, at moments that `seed` chooses; `tell` is called after each.

    In every other round the destination is away while the load runs, so that the queue grows.
    """
    moments, report = random.Random(seed), Report()
    with Volume(directory) as volume:
        async with Backend() as backend:
            settings: dict[str, dict[str, Any]] = {
                "exporter": {"endpoint": backend.http_endpoint, "retry": SOON},
                "queue": {"directory": str(volume.path / "queue"), "max_bytes": "96MiB"},
            }
            service = Service(directory, settings)
            try:
                for _ in range(rounds):
                    await _round(service, volume, backend, moments, report)
                    tell(report)
                await service.terminate()
            finally:
                service.kill()
    return report


async def _round(service: Service, volume: Volume, backend: Backend, moments: random.Random, report: Report) -> None:
    if report.rounds % 2:
        await backend.stop()
    if report.rounds == 0:
        await service.start()
    clients = moments.choice((1, 2, 4, 8))
    spans = moments.choice((1, 20, 200))
    first = 1 + report.rounds * _APART
    async with Load(service.http_url, service.grpc_target, clients=clients, spans=spans, first=first) as load:
        await load.until_acknowledged(moments.randrange(1, 300) * spans)
        unsynced = volume.path / f"unsynced-{report.rounds}"
        unsynced.write_bytes(b"x" * _UNSYNCED)
        volume.cut()
        while service.returncode is None:  # it ends by itself, because its disk fails
            await load.until_more_answers()
    report.endings[service.returncode] += 1
    report.answers.update(load.answers)
    report.acknowledged |= load.acknowledged
    report.unacknowledged |= load.unacknowledged

    volume.power_on()
    report.lost_unsynced += not unsynced.exists() or unsynced.stat().st_size < _UNSYNCED
    unsynced.unlink(missing_ok=True)
    await backend.start()
    await service.start()

    async def delivered() -> bool:
        return (await service.law()).books(Signal.TRACES).queued == 0

    await until(delivered, "all that was kept is delivered")
    report.arrived = Counter(identities(request.body for request in backend.taken))
    report.unexplained = unexplained(backend.taken)
    report.rounds += 1
