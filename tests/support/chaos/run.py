"""Runs faults: each by itself, again and again, or some at once as chance has it."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.support.chaos.fault import Fault
from tests.support.chaos.laboratory import Laboratory, Protocol
from tests.support.chaos.report import Row

__all__ = ["PROTOCOLS", "storm", "try_fault"]

PROTOCOLS: Final[tuple[Protocol, ...]] = ("http/protobuf", "grpc")
_LONGEST: Final = 1.5

Tell = Callable[[str], object]


async def try_fault(
    fault: type[Fault], times: int, *, seed: int, protocol: Protocol, directory: Path | None = None
) -> Row:
    """Inflict a fault so many times on one service, and judge."""
    with ExitStack() as stack:
        place = directory or Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        row = Row(fault.name)
        async with Laboratory(place, seed=seed, protocol=protocol) as lab:
            for _ in range(times):
                row.trials.append(await lab.suffer(fault()))
            row.verdicts.append(await lab.settle())
    return row


async def storm(
    faults: Sequence[type[Fault]],
    seconds: float,
    *,
    seed: int,
    protocol: Protocol,
    directory: Path | None = None,
    tell: Tell = lambda _: None,
) -> Row:
    """For so many seconds, inflict one to three faults at once for a moment, those that go together; and judge."""
    with ExitStack() as stack:
        place = directory or Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        row = Row("several at once")
        async with Laboratory(place, seed=seed, protocol=protocol, resend=True) as lab:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                chosen = choose(faults, lab.random)
                trial = await lab.suffer(*(fault() for fault in chosen), hold=lab.random.uniform(0.1, _LONGEST))
                row.trials.append(trial)
                tell(f"{' + '.join(trial.faults)}: well again after {trial.recovered:.1f} s")
            row.verdicts.append(await lab.settle())
    return row


def choose(faults: Sequence[type[Fault]], chance: random.Random) -> list[type[Fault]]:
    """One to three faults that have nothing in common."""
    chosen: list[type[Fault]] = []
    touched: set[str] = set()
    for fault in chance.sample(faults, len(faults)):
        if not touched & fault.touches:
            chosen.append(fault)
            touched |= fault.touches
        if len(chosen) == 3:
            break
    return chosen[: chance.randint(1, len(chosen))]
