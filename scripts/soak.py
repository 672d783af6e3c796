"""Load the service for a while, with a destination that goes away now and then, and see that nothing grows."""

import argparse
import asyncio
import csv
import os
import platform
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

from app.settings.units import format_duration, parse_duration
from tests.support.soak import Report, Sample, soak, trends
from tests.support.soak_chart import draw

LONGEST, FASTEST = 24 * 3600.0, 20_000.0
LOOKS = 300
"""How many samples are taken, unless they would be closer than half a second."""


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
    print(
        f"{report.acknowledged} items acknowledged, {report.lost} of them lost, {report.delivered} delivered; "
        f"{report.refused} requests refused"
    )
    found = trends(report.samples, report.period)
    for trend in found:
        print(
            f"{trend.name}: at least {trend.mean:,.1f}, rose by {trend.rise:,.1f}, may by {trend.allowed:,.1f}"
            f"{'' if trend.flat else ': NOT FLAT'}"
        )
    if not found:
        print("too short to tell whether anything grows")
    good = report.acknowledged > 0 and not report.lost and all(trend.flat for trend in found)
    print("flat, and nothing was lost" if good and found else "nothing was lost" if good else "FAILED")
    return 0 if good else 1


def told(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"


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
