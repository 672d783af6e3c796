"""Break everything around the service, and see that nothing which was acknowledged is lost."""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.chaos.catalogue import FAULTS, LONG, THREADS
from tests.support.chaos.fault import Fault, Protocol
from tests.support.chaos.needs import missing
from tests.support.chaos.process_faults import Killed
from tests.support.chaos.report import Row, tables
from tests.support.chaos.run import PROTOCOLS, storm, try_fault

TIMES = 4
KILLS = 5
"""How many times more often the service is killed than other faults are tried."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="chooses moments and faults (any)")  # noqa: S311
    parser.add_argument(
        "--times",
        type=int,
        default=TIMES,
        help="how often each fault by itself, kill -9 five times as often (4; 0: not at all)",
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="how long several at once (5; 0: not at all)")
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose name has this word in it")
    parser.add_argument("--report", type=Path, metavar="FILE", help="where the tables go, too")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    faults = [fault for fault in FAULTS + LONG + THREADS if options.only in fault.name]
    for fault in list(faults):
        if lacking := missing(fault):
            print(f"left out: {fault.name}, which needs {', '.join(lacking)}")
            faults.remove(fault)
    began = time.monotonic()
    rows = asyncio.run(run(faults, options.seed, options.times, options.minutes))
    text = tables(rows)
    if options.report is not None:
        options.report.write_text(text + "\n")
    wrong = [line for row in rows for line in row.wrong()]
    print(text, *wrong, sep="\n")
    print(f"after {(time.monotonic() - began) / 60:.1f} minutes:")
    good = bool(rows) and not wrong
    print("nothing that was acknowledged was lost" if good else f"FAILED; --seed {options.seed} repeats it")
    return 0 if good else 1


async def run(faults: Sequence[type[Fault]], seed: int, times: int, minutes: float) -> list[Row]:
    """Each fault over both protocols of the exporter, then several at once."""
    rows = []
    for fault in faults if times else ():
        row = Row(fault.name)
        for protocol, each in tries(fault, times).items():
            row.merge(await try_fault(fault, each, seed=seed, protocol=protocol, hurried=fault in THREADS))
        rows.append(row)
        say(row)
    if minutes:
        row = Row("several at once")
        short = [fault for fault in faults if fault in FAULTS]
        for protocol in PROTOCOLS:
            row.merge(await storm(short, minutes * 60 / 2, seed=seed, protocol=protocol, tell=print))
        rows.append(row)
        say(row)
    return rows


def tries(fault: type[Fault], times: int) -> dict[Protocol, int]:
    """How often a fault is tried with each of the exporter's protocols, where most are tried `times` times."""
    if fault in LONG:
        return {PROTOCOLS[0]: 1}
    if fault in THREADS:
        return dict.fromkeys(PROTOCOLS if fault.protocol is None else [fault.protocol], 1)
    wanted = times * KILLS if fault is Killed else times
    return dict.fromkeys(PROTOCOLS, -(-wanted // len(PROTOCOLS)))


def say(row: Row) -> None:
    print(time.strftime("%H:%M:%S"), " | ".join(row.account() + row.sight()[1:] + row.word()[1:]), flush=True)
    for line in row.wrong():
        print("   ", line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
