"""Ask the service for twice what it can take, and see what clients met, what it cost, and what arrived."""

import argparse
import asyncio
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from tests.support.overload import KINDS, WELL, Report, overload

_MIB = 1 << 20
_WARM_UP_SECONDS = 10
_LATER = {"503", "UNAVAILABLE"}
_GROWTH = 1.15
_SOON_SECONDS = 5.0
_HEADS = {
    "processor": "the processor is all taken",
    "queue": "the destination takes 2 MiB a second, and the queue is full",
}
_ROWS = (
    "possible, items a second",
    "asked for",
    "acknowledged, items a second",
    "items for each second of CPU",
    "refused as 503 or UNAVAILABLE, without a hint",
    "broken connections, other answers",
    "success took, half of them, 99 of 100",
    "memory after ten seconds; 95 of 100 later samples; the most",
    "the queue's file",
    "after it, all ordinary requests are acknowledged at once",
    "acknowledged requests lost, delivered twice",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long each kind lasts (60)")
    parser.add_argument("--probe", type=float, default=5, help="for how long what is possible is measured, thrice (5)")
    parser.add_argument("--kind", choices=KINDS, help="one of them alone")
    options = parser.parse_args()
    wrong = []
    reports: dict[str, Report] = {}
    for kind in KINDS if options.kind is None else [options.kind]:
        print(f"{kind}:", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            reports[kind] = asyncio.run(
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
        wrong += [f"{kind}: {complaint}" for complaint in complaints(reports[kind])]
    print(f"\n{table(reports)}\n")
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


def table(reports: Mapping[str, Report]) -> str:
    """What docs/reliability.md has of it."""
    columns = [[_HEADS[kind], "---", *_cells(report)] for kind, report in reports.items()]
    lines = zip(["", "---", *_ROWS], *columns, strict=True)
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def _cells(report: Report) -> Iterator[str]:
    flood, most = report.flood, report.most
    less = [f"{level.rate:,.0f} for {level.clients}" for level in report.levels if level is not most]
    yield f"{most.rate:,.0f} ({'; '.join([f'{most.clients} connections', *less])})"
    unsent = f", {flood.unsent:,} that found no client free" if flood.unsent else ""
    yield f"{report.asked:.2f} times that: {flood.sent:,} requests sent{unsent}"
    yield f"{report.overloaded.rate:,.0f}, {report.goodput:.0%} of what is possible".replace("%", " %")
    yield f"{100 * report.thrift:.0f} % of the best before"
    later = {answer: times for answer, times in report.refused.items() if answer in _LATER}
    said = f" ({', '.join(f'{times:,} {answer}' for answer, times in sorted(later.items()))})" if later else ""
    yield f"{sum(later.values()):,}{said}, {flood.without_hint:,}"
    yield ", ".join(f"{times:,} {answer}" for answer, times in report.refused.items() if answer not in _LATER) or "0"
    half, most_of_them, _ = flood.latencies
    yield f"{_time(half)}, {_time(most_of_them)}"
    if (memory := settled_memory(report)) is None:
        yield "too short to tell"
    else:
        value, later_sizes = memory
        most_size = most_of(later_sizes)
        grown = 100 * (most_size / value - 1)
        sizes = f"{value / _MIB:.0f}, {most_size / _MIB:.0f} ({grown:+.0f} %), {later_sizes[-1] / _MIB:.0f}"
        yield f"{sizes} MiB"
    yield f"{report.file_bytes / _MIB:.0f} MiB"
    match report.recovered:
        case None:
            yield "never"
        case 0:
            yield "from the first on"
        case seconds:
            yield f"from {seconds:.1f} s on"
    yield f"{report.lost} of {report.acknowledged:,}, {report.repeated}"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def complaints(report: Report) -> Iterator[str]:
    """What was not as it has to be."""
    if report.lost:
        yield f"{report.lost} acknowledged requests were lost"
    if report.repeated:
        yield f"{report.repeated} requests were delivered twice, for which there is no reason"
    if report.asked < 2:
        yield f"clients wanted {report.asked:.2f} times what is possible, and not twice that"
    if wrong := report.flood.answers.keys() - WELL - _LATER:
        yield f"clients met {', '.join(sorted(wrong))}"
    if report.flood.without_hint:
        yield f"{report.flood.without_hint} refusals did not say when to come back"
    if report.goodput < 0.8:
        yield f"{report.goodput:.0%} of what is possible was acknowledged, and not 80 %"
    yield from _cost(report)


def _cost(report: Report) -> Iterator[str]:
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
