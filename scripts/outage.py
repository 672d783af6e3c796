"""Let the destination be away while more is sent than the queue holds, and come back; see what that costs and loses."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.support.outage import Report, outage

_MIB = 1 << 20
_BATCH_BYTES = 3584 << 10  # the default
_CONCURRENCY = 10  # as well


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/outage", description=__doc__)
    parser.add_argument("--bound", type=int, default=512, help="MiB of the queue's file (512)")
    parser.add_argument("--sent", type=int, default=2100, help="MiB that clients send (2100)")
    options = parser.parse_args()
    bound = options.bound * _MIB
    with tempfile.TemporaryDirectory() as directory:
        sending = outage(
            Path(directory),
            bound,
            options.sent * _MIB,
            batch_bytes=_BATCH_BYTES,
            tell=lambda line: print(line, flush=True),
        )
        report = asyncio.run(sending)
    _tell(report)
    complaints = list(_complaints(report, bound))
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    return 1 if complaints else 0


def _say(line: str) -> None:
    print(line, flush=True)


def _full_at(report: Report) -> float:
    """When the file had nine tenths of its largest size."""
    largest = max(size for _, size in report.file)
    return next(at for at, size in report.file if size > 0.9 * largest)


def _memory(report: Report) -> list[int]:
    return [size for at, size in report.memory if _full_at(report) <= at <= report.back_at]


def _tell(report: Report) -> None:
    away, drain = report.back_at, report.empty_at - report.back_at
    full, flat = _full_at(report), _memory(report)
    print(
        f"away for {away:.1f} s, full after {full:.1f} s; the file had {max(s for _, s in report.file) / _MIB:.0f} MiB"
    )
    print(f"memory from then on: {min(flat) / _MIB:.0f} to {max(flat) / _MIB:.0f} MiB")
    print(f"in all: {max(size for _, size in report.memory) / _MIB:.0f} MiB at most")
    print(f"empty {drain:.1f} s after it came back: {report.kept_bytes / _MIB / drain:.0f} MiB/s")
    print("requests under way at the destination, by quarters of a second:", end="")
    print("".join(f" {report.at_once(n / 4, (n + 1) / 4)}" for n in range(int(4 * drain) + 1)))
    print(f"the first of them: {' '.join(str(n) for _, n, _ in report.in_flight[:30])}")
    print(
        f"batches out of their turn by {report.displaced} places at most; lost {report.lost}, twice {report.repeated}"
    )


def _complaints(report: Report, bound: int) -> Iterator[str]:
    flat = _memory(report)
    if report.lost or report.repeated:
        yield f"{report.lost} requests lost, {report.repeated} delivered twice"
    if wrong := report.clients.answers.keys() - {"200", "OK", "503", "UNAVAILABLE"}:
        yield f"clients met {', '.join(sorted(wrong))}"
    if report.clients.without_hint:
        yield f"{report.clients.without_hint} refusals did not say when to come back"
    if max(size for _, size in report.file) > bound:
        yield "the file was larger than its bound"
    early, late = median(flat[: len(flat) // 4]), median(flat[-(len(flat) // 4) :])
    if late > 1.15 * early:
        yield f"memory grew from {early / _MIB:.0f} to {late / _MIB:.0f} MiB"
    if report.displaced > 2 * _CONCURRENCY:
        yield f"a batch was {report.displaced} places out of its turn"
    if any(under_way > 2**taken for _, under_way, taken in report.in_flight):
        yield "more came at once than successes allow"


if __name__ == "__main__":
    sys.exit(main())
