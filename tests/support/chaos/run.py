"""Runs faults: each by itself, again and again, or some at once as chance has it."""

import random
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.support.chaos.fault import Fault, Protocol
from tests.support.chaos.laboratory import Laboratory
from tests.support.chaos.report import Row

__all__ = ["PROTOCOLS", "storm", "try_fault"]

PROTOCOLS: Final[tuple[Protocol, ...]] = ("http/protobuf", "grpc")
_LONGEST: Final = 2.5

Tell = Callable[[str], object]


async def try_fault(
    fault: type[Fault],
    times: int,
    *,
    seed: int,
    protocol: Protocol,
    directory: Path | None = None,
    hurried: bool = False,
) -> Row:
    """Inflict a fault so many times on one service, and judge. What the laboratory raises is in the row, too."""
    row = Row(fault.name)
    with ExitStack() as stack:
        place = directory or Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        stack.enter_context(_told(row, seed, protocol))
        lab = Laboratory(place, seed=seed, protocol=protocol, engine=fault.engine, hurried=hurried)
        async with lab:
            for _ in range(times):
                row.trials.append(await lab.suffer(fault()))
            row.verdicts.append(await lab.settle())
            row.between += lab.between
            row.astray += lab.wrong
    return row


async def storm(
    faults: Sequence[type[Fault]],
    seconds: float,
    *,
    seed: int,
    protocol: Protocol | None = None,
    directory: Path | None = None,
    tell: Tell = lambda _: None,
) -> Row:
    """For so many seconds, inflict one to three faults at once for a moment, those that go together; and judge.

    Without `protocol` the seed chooses that, too. What the laboratory raises is in the row.
    """
    row = Row("several at once")
    spoken = random.Random(seed).choice(PROTOCOLS) if protocol is None else protocol
    with ExitStack() as stack:
        place = directory or Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        stack.enter_context(_told(row, seed, spoken))
        async with Laboratory(place, seed=seed, protocol=spoken, resend=True) as lab:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                chosen = choose(faults, lab.random)
                trial = await lab.suffer(*(fault() for fault in chosen), hold=lab.random.uniform(0.1, _LONGEST))
                row.trials.append(trial)
                tell(f"{' + '.join(trial.faults)}: well again after {trial.recovered:.1f} s")
            row.verdicts.append(await lab.settle())
            row.between += lab.between
            row.astray += lab.wrong
    return row


@contextmanager
def _told(row: Row, seed: int, protocol: Protocol) -> Iterator[None]:
    """Keep what is raised as something that is wrong, with the seed that leads there again."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, what came before it is reported
        where = f"trial {len(row.trials) + 1} of seed {seed}, exporter's protocol {protocol}"
        row.raised.append(f"{where}: {''.join(traceback.format_exception(error))}")


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
