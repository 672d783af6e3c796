"""What work on the event loop costs, in a process of its own: coverage and the allocator's past would count here."""

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, ParamSpec, TypeVar

from tests.support.peak import peak_growth
from tests.support.turns import longest_turn

__all__ = ["Cost", "cost_of"]

P = ParamSpec("P")
T = TypeVar("T")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Cost(Generic[T]):
    """What the work came to, and what it took."""

    result: T | Exception
    growth: int
    """Bytes of memory above what was there when it began, at the most."""
    longest_turn: float
    """The most CPU seconds between two turns of the loop."""


def cost_of(work: Callable[P, Awaitable[T]], *arguments: P.args, **keywords: P.kwargs) -> Cost[T]:
    """Run `work`, a function of a module, in a fresh process."""
    uncovered = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.cost"],
        input=pickle.dumps((work, arguments, keywords)),
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        env=uncovered,
        check=True,
    )
    cost: Cost[T] = pickle.loads(done.stdout)  # noqa: S301 - our own process wrote it
    return cost


def _main() -> None:
    work, arguments, keywords = pickle.load(sys.stdin.buffer)  # noqa: S301 - the test wrote it
    with peak_growth() as peak:
        result, turn = asyncio.run(_measure(work, arguments, keywords))
    sys.stdout.buffer.write(pickle.dumps(Cost(result, peak.growth, turn)))


async def _measure(
    work: Callable[..., Awaitable[T]], arguments: tuple[object, ...], keywords: dict[str, object]
) -> tuple[T | Exception, float]:
    return await longest_turn(work(*arguments, **keywords))


if __name__ == "__main__":
    from tests.support import cost  # so that what is pickled is of the module that the test knows

    cost._main()
