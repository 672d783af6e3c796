"""Load the service for a while, with a destination that goes away now and then, and see that nothing grows."""

import argparse
import asyncio
import csv
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean

from app.settings.units import format_duration, parse_duration
from tests.support.soak import MAX_BYTES, Report, Sample, Trend, judged_seconds, soak, trends
from tests.support.soak_chart import draw

LONGEST, FASTEST = 24 * 3600.0, 20_000.0
LOOKS = 300
"""How many samples are taken, unless they would be closer than half a second."""
_MIB = 1 << 20
FIGURES = {
    "memory_bytes": ("memory (RssAnon + RssShmem)", "MiB", _MIB),
    "descriptors": ("descriptors", "", 1),
    "threads": ("threads", "", 1),
    "file_bytes": ("the queue's file, for a backlog as large as the largest", "MiB", _MIB),
    "used_bytes": ("what is taken of it without a backlog", "MiB", _MIB),
    "p50_ms": ("from a request to its success, median", "ms", 1),
}
"""What each is called, its unit, and what one of that is."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--duration", type=duration, default="10m", help="how long (10m); a day at most")
    parser.add_argument("--rate", type=rate, default=2000, help="items a second (2000); 20000 at most")
    parser.add_argument(
        "--directory", type=Path, default=Path("build/soak"), help="for soak.csv and soak.svg (build/soak)"
    )
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    interval = max(0.5, options.duration / LOOKS)
    table = options.directory / "soak.csv"
    with tempfile.TemporaryDirectory() as directory, table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
        writer.writeheader()

        def tell(sample: Sample) -> None:
            writer.writerow(asdict(sample))
            file.flush()

        report = asyncio.run(soak(Path(directory), options.duration, options.rate, interval, tell))
    picture = draw(
        report.samples,
        f"otlp-service for {told(options.duration)}, {options.rate:,.0f} items a second",
        "Three signals over both protocols. Where it is grey, the destination is away. "
        f"Python {platform.python_version()}, {os.cpu_count()} cores.",
    )
    (options.directory / "soak.svg").write_text(picture)
    return judge(report)


def judge(report: Report) -> int:
    """Tell what came of it; returns the exit code."""
    found, seconds = trends(report.samples, report.period), judged_seconds(report.samples, report.period)
    if found:
        print(table(found, report.samples[-1].seconds - seconds, seconds))
    else:
        print("too short to tell whether anything grows")
    print(
        f"\n{report.acknowledged:,} items acknowledged, {report.lost:,} lost, {report.repeated:,} delivered twice; "
        f"{report.failed.total():,} requests refused or failed; {cpu(report.samples):.0f} % of one core"
    )
    wrong = list(complaints(report))
    for complaint in wrong:
        print(f"FAILED: {complaint}")
    if not wrong:
        print("flat, and nothing was lost" if found else "nothing was lost")
    return 1 if wrong else 0


def complaints(report: Report) -> Iterator[str]:
    """What was not as it has to be."""
    if not report.acknowledged:
        yield "nothing was acknowledged"
    if report.lost:
        yield f"{report.lost} items that were acknowledged are lost"
    if report.repeated:
        yield f"{report.repeated} times an item arrived again, for which there is no reason"
    if report.dropped:
        yield f"{report.dropped} items were dropped or refused for good"
    for met, times in report.failed.items():
        yield f"{times} requests were not acknowledged: {met}"
    if (largest := max(sample.file_bytes for sample in report.samples)) > MAX_BYTES:
        yield f"the queue's file had {largest} bytes, and may have {MAX_BYTES}"
    seconds = judged_seconds(report.samples, report.period)
    for trend in trends(report.samples, report.period):
        if not trend.flat:
            _, unit, size = FIGURES[trend.name]
            yield (
                f"{trend.name} is not flat: it rose by {trend.rise / size:.2f} {unit} in {told(seconds)}, "
                f"from {trend.level / size:.2f}, and may by {trend.allowed / size:.2f}".replace("  ", " ")
            )


def table(found: Sequence[Trend], warm_up: float, seconds: float) -> str:
    """What docs/reliability.md has of it."""
    lines = [
        f"| | after {told(warm_up)} | change in the {told(seconds)} since then | may rise by |",
        "| --- | --- | --- | --- |",
    ]
    for trend in found:
        name, unit, size = FIGURES[trend.name]
        level, rise, allowed = (
            f"{value / size:{sign}.{2 if size > 1 else 1}f} {unit}".rstrip()
            for value, sign in ((trend.level, ""), (trend.rise, "+"), (trend.allowed, ""))
        )
        lines.append(f"| {name} | {level} | {rise} | {allowed} |")
    return "\n".join(lines)


def cpu(samples: Sequence[Sample]) -> float:
    return fmean(sample.cpu_percent for sample in samples)


def told(seconds: float) -> str:
    minutes = round(seconds / 60, 1)
    return f"{seconds:.0f} seconds" if seconds < 60 else "a minute" if minutes == 1 else f"{minutes:g} minutes"


def duration(text: str) -> float:
    seconds = parse_duration(text)
    if not 2 <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text}: from 2s to {format_duration(LONGEST)}")
    return seconds


def rate(text: str) -> float:
    items = float(text)
    if not 1 <= items <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text}: from 1 to {FASTEST:.0f} items a second")
    return items


if __name__ == "__main__":
    sys.exit(main())
