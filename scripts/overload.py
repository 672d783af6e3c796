"""Ask the service for twice what it can take, and see what clients met, what it cost, and what arrived."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.support.overload import KINDS, Report, overload

_MIB = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long each kind lasts (60)")
    parser.add_argument("--kind", choices=KINDS, help="one of them alone")
    options = parser.parse_args()
    complaints = []
    for kind in KINDS if options.kind is None else [options.kind]:
        print(f"{kind}:", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            report = asyncio.run(
                overload(
                    Path(directory),
                    kind,
                    options.seconds,
                    probe=10,
                    http_clients=800,
                    grpc_clients=200,
                    tell=lambda line: print(f"  {line}", flush=True),
                )
            )
        _tell(report, options.seconds)
        complaints += [f"{kind}: {complaint}" for complaint in _complaints(report, options.seconds)]
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    return 1 if complaints else 0


def _by_sixths(report: Report, seconds: float) -> list[float]:
    """Memory in each sixth of the time, the median: it swings with what is under way, and must not climb."""
    return [median(report.memory_between(n * seconds / 6, (n + 1) * seconds / 6)) for n in range(6)]


def _tell(report: Report, seconds: float) -> None:
    print(f"  asked for {report.asked:.1f} times what is possible; {report.goodput:.0%} of that was done")
    print(f"  of the CPU time {report.thrift:.0%} would have done for it with few clients")
    medians = " ".join(f"{size / _MIB:.0f}" for size in _by_sixths(report, seconds))
    print(f"  memory in each sixth of the time: {medians} MiB (median)")
    steady = report.memory_between(seconds / 6, seconds)
    print(f"  after the first of them {min(steady) / _MIB:.0f} to {max(steady) / _MIB:.0f} MiB")
    print(f"  the queue's file: {report.file_bytes / _MIB:.0f} MiB")
    print(f"  {report.acknowledged} requests acknowledged, {report.lost} lost, {report.repeated} delivered twice")


def _complaints(report: Report, seconds: float) -> Iterator[str]:
    _, second, *later = _by_sixths(report, seconds)
    if report.lost:
        yield f"{report.lost} acknowledged requests were lost"
    if wrong := report.flood.answers.keys() - {"200", "OK", "503", "UNAVAILABLE"}:
        yield f"clients met {', '.join(sorted(wrong))}"
    if report.flood.without_hint:
        yield f"{report.flood.without_hint} refusals did not say when to come back"
    if report.goodput < 0.8:
        yield "less than 80 % of what is possible was done"
    if max(later) > 1.15 * second:
        yield f"memory grew from {second / _MIB:.0f} to {max(later) / _MIB:.0f} MiB"
    if report.after.answers.keys() - {"200", "OK"}:
        yield f"it had not recovered: {report.after.answers}"


if __name__ == "__main__":
    sys.exit(main())
