"""Ask the service for twice what it can take, and see what clients met, what it cost, and what arrived."""

import argparse
import asyncio
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.support.overload import KINDS, WELL, Report, overload

_MIB = 1 << 20
_WARM_UP_SECONDS = 10
_LATER = {"503", "UNAVAILABLE"}
_GROWTH = 1.15
_SOON_SECONDS = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long each kind lasts (60)")
    parser.add_argument("--probe", type=float, default=5, help="for how long what is possible is measured, thrice (5)")
    parser.add_argument("--kind", choices=KINDS, help="one of them alone")
    options = parser.parse_args()
    wrong = []
    for kind in KINDS if options.kind is None else [options.kind]:
        print(f"{kind}:", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            report = asyncio.run(
                overload(
                    Path(directory),
                    kind,
                    options.seconds,
                    probe=options.probe,
                    http_clients=800,
                    grpc_clients=200,
                    tell=lambda line: print(f"  {line}", flush=True),
                )
            )
        for line in told(report):
            print(f"  {line}")
        wrong += [f"{kind}: {complaint}" for complaint in complaints(report)]
    for complaint in wrong:
        print(f"FAILED: {complaint}")
    return 1 if wrong else 0


def settled_memory(report: Report) -> tuple[float, list[int]] | None:
    """The memory after the first ten seconds, which is the median of five, and each sample from then on, by size.

    None: too short.
    """
    first = report.memory_between(_WARM_UP_SECONDS, _WARM_UP_SECONDS + 5)
    later = report.memory_between(_WARM_UP_SECONDS, math.inf)
    return (median(first), sorted(later)) if len(later) > len(first) > 0 else None


def most_of(sizes: list[int]) -> int:
    """What 95 of 100 do not exceed."""
    return sizes[int(0.95 * (len(sizes) - 1))]


def told(report: Report) -> Iterator[str]:
    flood, most = report.flood, report.most
    yield f"possible, with {report.processors:.2g} of a processor: {most.rate:.0f} items/s, for {most.clients} clients"
    yield (
        f"wanted: {report.wanted:.0f} items/s, {report.asked:.2f} times that "
        f"({flood.sent} requests sent, {flood.unsent} that found no client free)"
    )
    yield f"acknowledged: {report.overloaded.rate:.0f} items/s, {report.goodput:.0%} of what is possible"
    yield f"with {report.thrift:.0%} of the items for each second of CPU"
    refused = sum(report.refused.values())
    yield f"refused: {refused} requests ({report.refused}), {flood.without_hint} of them without a hint"
    if (memory := settled_memory(report)) is None:
        yield "memory: too short to tell"
    else:
        value, later = memory
        yield (
            f"memory: {value / _MIB:.0f} MiB after ten seconds, from then on {later[0] / _MIB:.0f} to "
            f"{later[-1] / _MIB:.0f} MiB; 95 of 100 samples have {most_of(later) / _MIB:.0f} MiB at most "
            f"({most_of(later) / value - 1:+.0%})"
        )
    yield f"the queue's file: {report.file_bytes / _MIB:.0f} MiB"
    took = sorted(took for at, took, _ in report.ordinary if at >= 0)
    since = "never" if report.recovered is None else f"from {report.recovered:.1f} s on"
    yield (
        f"right after it, ordinary requests: acknowledged at once {since}; "
        f"{1000 * median(took):.0f} ms (half), {1000 * took[-1]:.0f} ms (all)"
    )
    yield f"{report.acknowledged} requests acknowledged, {report.lost} lost, {report.repeated} delivered twice"


def complaints(report: Report) -> Iterator[str]:
    """What was not as it has to be."""
    if report.lost:
        yield f"{report.lost} acknowledged requests were lost"
    if report.asked < 2:
        yield f"clients wanted {report.asked:.2f} times what is possible, and not twice that"
    if wrong := report.flood.answers.keys() - WELL - _LATER:
        yield f"clients met {', '.join(sorted(wrong))}"
    if report.flood.without_hint:
        yield f"{report.flood.without_hint} refusals did not say when to come back"
    if report.goodput < 0.8:
        yield f"{report.goodput:.0%} of what is possible was acknowledged, and not 80 %"
    if (memory := settled_memory(report)) is not None:
        value, later = memory
        if most_of(later) > _GROWTH * value:
            yield f"memory had {value / _MIB:.0f} MiB after ten seconds, and {most_of(later) / _MIB:.0f} MiB later"
    if report.recovered is None:
        yield "ordinary requests were not acknowledged at once any more"
    elif report.recovered > _SOON_SECONDS:
        yield f"ordinary requests were acknowledged at once only after {report.recovered:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
