"""Replace both of two instances in turn under load, in each way and behind each balancer, and see what clients lose."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.rollout import BALANCERS, SDKS, WAYS, Rollout, Way, missing, roll

LONGEST_SECONDS = 300.0
"""What takes longer has failed; it takes a tenth of that."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/rollout", description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="how often each way behind each balancer (3)")
    parser.add_argument("--only", default="", metavar="WORD", help="what has this word in its way and balancer")
    parser.add_argument("--sdk", choices=SDKS, help="one of them alone, beside clients without an SDK")
    options = parser.parse_args()
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # that it tries again is what it is here for
    lacking = missing()
    for name in lacking:
        print(f"left out: {name}, which is not here")
    sdks = [name for name in SDKS if name not in lacking and options.sdk in {None, name}]
    cases = [
        (way, balancer)
        for balancer in BALANCERS
        for way in WAYS
        if balancer not in lacking and options.only in f"{way.name}, {balancer}"
    ]
    rollouts = {case: asyncio.run(run(*case, options.times, sdks)) for case in cases}
    if rollouts:
        print(f"\n{table(rollouts)}\n\n{told(rollouts)}\n")
    wrong = [line for case, rollout in rollouts.items() for line in complaints(*case, rollout)]
    for line in wrong:
        print(f"FAILED: {line}")
    if not rollouts:
        print("FAILED: there is nothing to do")
    return 1 if wrong or not rollouts else 0


async def run(way: Way, balancer: str, times: int, sdks: Sequence[str]) -> Rollout:
    """Replace both, `times` over; the figures of all of them together."""
    total = Rollout([], 0)
    for _ in range(times):
        with tempfile.TemporaryDirectory() as directory:
            async with asyncio.timeout(LONGEST_SECONDS):
                total.merge(await roll(way, balancer, Path(directory), sdks))
        print(time.strftime("%H:%M:%S"), f"{way.name}, {balancer}", flush=True)
    return total


def table(rollouts: Mapping[tuple[Way, str], Rollout]) -> str:
    """What docs/reliability.md has of it: how many exports each client made, and how many it would have to repeat."""
    clients = list(dict.fromkeys(row.client for rollout in rollouts.values() for row in rollout.rows))
    columns = [[f"{way.name}, {balancer}" for way, balancer in rollouts], ["---"] * len(rollouts)]
    for client in clients:
        found = [next(row for row in rollout.rows if row.client == client) for rollout in rollouts.values()]
        columns.append([f"{row.exports:,}{f' ({row.again:,})' if row.again else ''}" for row in found])
    heads = ["exports (to send again)", "---", *clients]
    return "\n".join(f"| {' | '.join([head, *cells])} |" for head, cells in zip(heads, columns, strict=True))


def told(rollouts: Mapping[tuple[Way, str], Rollout]) -> str:
    """What came of all of it together."""
    rows = [row for rollout in rollouts.values() for row in rollout.rows]
    exports, failed, acknowledged, lost, repeated = (
        sum(figures)
        for figures in zip(
            *((row.exports, len(row.failed), row.acknowledged, row.lost, row.repeated) for row in rows), strict=True
        )
    )
    again = sum(rollout.accepted_again for rollout in rollouts.values())
    refused = sum(rollout.refused for rollout in rollouts.values())
    return (
        f"Of {exports:,} exports {failed:,} failed that need not. Of {acknowledged:,} spans that were acknowledged "
        f"{lost:,} are lost. Spans came again {repeated:,} times, and were accepted again {again:,} times, because a "
        f"client sent them again or a hand-off was cut. {refused:,} connections were refused."
    )


def complaints(way: Way, balancer: str, rollout: Rollout) -> Iterator[str]:
    where = f"{way.name}, {balancer}"
    if rollout.refused:
        yield f"{where}: {rollout.refused} connections were led to an instance that refused them"
    if rollout.accepted_again < 0:
        yield f"{where}: {-rollout.accepted_again} spans arrived that no instance says it accepted"
    repeated = sum(row.repeated for row in rollout.rows)
    if repeated > max(0, rollout.accepted_again):
        yield f"{where}: spans came again {repeated} times, and were accepted again {rollout.accepted_again} times"
    for row in rollout.rows:
        if not row.acknowledged:
            yield f"{where}, {row.client}: nothing was taken"
        if row.lost:
            yield f"{where}, {row.client}: {row.lost} spans that were acknowledged are lost"
        if row.repeated and row.client.startswith("raw") and not way.handoff:
            yield f"{where}, {row.client}: spans came again {row.repeated} times, and it sends nothing again"
        if row.without_hint:
            yield f"{where}, {row.client}: {row.without_hint} refusals did not say when to come back"
        for error, times in Counter(row.failed).items():
            yield f"{where}, {row.client}: {times} exports failed: {error}"


if __name__ == "__main__":
    sys.exit(main())
