"""Measure the service beside its peers, and what a span costs when things grow."""

import argparse
import asyncio
import os
import platform
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from tests.support.bench.chart import draw
from tests.support.bench.compare import SIZES, compare, stand
from tests.support.bench.gateways import OURS, PEERS, Gateway
from tests.support.bench.growth import by_clients, by_depth, by_outage, by_size
from tests.support.bench.json_door import at_the_json_door
from tests.support.bench.latency import acknowledging, sync_milliseconds
from tests.support.bench.load import find_h2load
from tests.support.bench.page import put_into, write
from tests.support.bench.results import Results

T = TypeVar("T")
_DOCS, _BUILD = Path("docs"), Path("build/bench")
_PAGE, _CHART = "performance.md", "performance.svg"
_JSON, _START, _PEERS, _LATENCY = "json", "start", "peers", "latency"
_SIZES, _CLIENTS, _OUTAGES, _BACKLOG = "sizes", "clients", "outages", "backlog"
_PARTS = (_JSON, _START, _PEERS, _LATENCY, _SIZES, _CLIENTS, _OUTAGES, _BACKLOG)
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes."""

    rounds: int
    seconds: float
    """For which clients send, each time."""
    starts: int
    idle_seconds: float
    latency_seconds: float
    sizes: tuple[int, ...]
    clients: tuple[int, ...]
    growth_seconds: float
    deepest: float
    """GiB of backlog."""
    steps: int
    fill_seconds: float
    outages: tuple[float, ...]
    before: float
    json_items: int
    bound_seconds: float
    """After which nothing is measured any more."""


WHOLE = Plan(
    rounds=3,
    seconds=4,
    starts=3,
    idle_seconds=20,
    latency_seconds=30,
    sizes=(1, 8, 64, 512, 2048, 8192),
    clients=(1, 4, 16, 100, 500),
    growth_seconds=2.5,
    deepest=10,
    steps=5,
    fill_seconds=600,
    outages=(0, 10, 30, 120),
    before=5,
    json_items=3000,
    bound_seconds=3000,
)
QUICK = Plan(
    rounds=1,
    seconds=0.8,
    starts=1,
    idle_seconds=4,
    latency_seconds=4,
    sizes=(1, 512, 8192),
    clients=(16, 500),
    growth_seconds=0.8,
    deepest=0.5,
    steps=2,
    fill_seconds=15,
    outages=(0, 4),
    before=1,
    json_items=1000,
    bound_seconds=280,
)


class Bench:
    """One run; each part that fails, or for which there is no time, is left out, and said so."""

    def __init__(self, plan: Plan, directory: Path, results: Results, only: Sequence[str]) -> None:
        self._plan = plan
        self._only = only
        self._directory = directory
        self._results = results
        self._end = asyncio.get_running_loop().time() + plan.bound_seconds

    async def run(self) -> None:
        plan, found, directory = self._plan, self._results, self._directory
        gateways = self._present()
        if self._only:
            half, most = sync_milliseconds(directory)
            found.machine["Disk"] = f"an fdatasync of 170 kB takes {half:.1f} ms, 99 % are within {most:.1f} ms"
        await self._part(_JSON, at_the_json_door(SIZES, plan.json_items), found.json)
        await self._part(_START, stand(directory, gateways, plan.starts, plan.idle_seconds), found.standing)
        await self._part(_PEERS, compare(directory, gateways, plan.rounds, plan.seconds), found.cells)
        await self._part(_LATENCY, acknowledging(directory / "latency", plan.latency_seconds), found.latencies)
        await self._part(_SIZES, by_size(directory / "sizes", plan.sizes, plan.growth_seconds), found.sizes)
        await self._part(_CLIENTS, by_clients(directory / "clients", plan.clients, plan.growth_seconds), found.clients)
        await self._part(_OUTAGES, by_outage(directory / "outages", plan.outages, plan.before), found.outages)
        depth = by_depth(directory / "depth", plan.deepest * _GIB, plan.steps, plan.fill_seconds)
        await self._part(_BACKLOG, depth, found.depths)
        found.depths.sort(key=lambda depth: depth.bytes)

    def _present(self) -> list[Gateway]:
        present = []
        for gateway in (*OURS, *PEERS):
            if reason := gateway.missing():
                self._leave_out(f"{gateway.name}: {reason}")
            else:
                present.append(gateway)
        peers = {peer.name.partition(",")[0]: peer.version() for peer in present if peer in PEERS}
        self._results.machine["Peers"] = ", ".join(f"{name} {number}" for name, number in peers.items()) or "none"
        return present

    async def _part(self, name: str, measuring: AsyncIterator[T], found: list[T]) -> None:
        """Measure a part; what was found until it failed, or the time was over, is worth telling all the same."""
        if name not in self._only:
            return
        _say(f"— {name}")
        found.clear()
        try:
            async with asyncio.timeout_at(self._end):
                async for each in measuring:
                    _say(str(each))
                    found.append(each)
        except TimeoutError:
            self._leave_out(f"{name}, what is missing: {self._plan.bound_seconds / 60:.0f} minutes were over")
        except Exception as error:  # noqa: BLE001 - as above
            self._leave_out(f"{name}, what is missing: {type(error).__name__}: {error}")

    def _leave_out(self, what: str) -> None:
        self._results.left_out.append(what)
        _say(f"LEFT OUT: {what}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than five minutes, and into build/bench")
    parser.add_argument(
        "--only", nargs="*", choices=_PARTS, help="measure these anew, and take the rest from the run before"
    )
    options = parser.parse_args()
    if find_h2load() is None:
        print("h2load is missing (Debian: apt-get install nghttp2-client)", file=sys.stderr)
        return 2
    plan, into, command = (QUICK, _BUILD, "scripts/bench --quick") if options.quick else (WHOLE, _DOCS, "scripts/bench")
    _BUILD.mkdir(parents=True, exist_ok=True)
    kept = _BUILD / ("quick.json" if options.quick else "results.json")
    results = Results() if options.only is None else Results.from_json(kept.read_text())
    only = _PARTS if options.only is None else options.only
    if options.only is None:
        results.machine, results.command = _machine(), command
    elif only:  # the page says that not all of it is of one run; date and load are those of the last
        results.machine, results.command = _machine(), f"{results.command}, then --only {' '.join(only)}"
    results.left_out = [what for what in results.left_out if what.partition(",")[0] in {*_PARTS} - {*only}]
    with tempfile.TemporaryDirectory(prefix="otlp-service-bench-") as directory:
        asyncio.run(_run(plan, Path(directory), results, only))
    kept.write_text(results.to_json())
    (into / _PAGE).write_text(put_into((_DOCS / _PAGE).read_text(), write(results)))
    if results.cells:
        (into / _CHART).write_text(draw(results))
    for complaint in results.complaints():
        print(f"NOT AS IT SHOULD BE: {complaint}")
    print(f"{into / _PAGE} and {into / _CHART} have it all")
    return 1 if any(cell.lost for cell in results.cells if cell.gateway in {ours.name for ours in OURS}) else 0


async def _run(plan: Plan, directory: Path, results: Results, only: Sequence[str]) -> None:
    await Bench(plan, directory, results, only).run()


def _say(line: str) -> None:
    print(line, flush=True)


def _machine() -> dict[str, str]:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    libraries = ("grpcio", "pygrpc-native", "protobuf", "uvicorn", "lmdb")
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d}",
        "Machine": f"{os.cpu_count()} cores, {found[1] if found else platform.machine()}, Linux {platform.release()}",
        "Other work": f"a load average of {os.getloadavg()[0]:.1f} when it began",
        "Python": f"{platform.python_version()}; {', '.join(f'{name} {version(name)}' for name in libraries)}",
    }


if __name__ == "__main__":
    sys.exit(main())
