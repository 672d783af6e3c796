"""Cut the power under the service, again and again, and see that every acknowledged span arrives."""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.support.power_cut import cut_power
from tests.support.volume import can_mount


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/power-cut", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often (20)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="chooses the moments (any)")  # noqa: S311
    options = parser.parse_args()
    if not can_mount():
        print("power-cut: needs root, loop devices and mkfs.ext4", file=sys.stderr)
        return 2
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        report = asyncio.run(
            cut_power(Path(directory), options.rounds, options.seed, lambda report: print(report, flush=True))
        )
    good = not (report.lost or report.invented or report.unexplained) and report.lost_unsynced == report.rounds
    print("every acknowledged span arrived" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
