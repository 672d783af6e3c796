"""scripts/soak, from the point at which its virtual environment is made: a short one, and its word on a long one."""

import csv
import os
import sys
from collections.abc import Callable, Iterable
from math import nan
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scripts.soak import judge
from tests.support.process import Process
from tests.support.soak import JUDGED, Report, Sample, trends
from tests.support.soak_chart import draw

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
MIB = 1 << 20


def script(directory: Path, *arguments: str) -> Process:
    command = (sys.executable, "-m", "scripts.soak", "--directory", str(directory / "soak"), *arguments)
    process = Process(command, directory, os.environ | {"PYTHONPATH": str(ROOT)})
    process.spawn()
    return process


def samples(
    seconds: Iterable[int] = range(2, 602, 2), memory: Callable[[int], float] = lambda _: 60 * MIB, p50_ms: float = 2.0
) -> list[Sample]:
    """What a soak of ten minutes sees, which goes through an outage each minute."""
    return [
        Sample(
            seconds=second,
            memory_bytes=round(memory(second)),
            descriptors=30 + second // 10 % 3,
            threads=13,
            file_bytes=20 * MIB,
            used_bytes=MIB,
            queued_items=100,
            p50_ms=p50_ms,
            p99_ms=10.0,
            cpu_percent=20.0,
            accepted_per_second=2000.0,
            delivered_per_second=2000.0,
            refused=0,
            away=second % 60 >= 50,
        )
        for second in seconds
    ]


def points(picture: str) -> set[int]:
    """How many points the lines of a picture have."""
    lines = ET.fromstring(picture).findall(f".//{SVG}polyline")  # noqa: S314 - it is our own
    assert len(lines) == 10
    return {len(line.attrib["points"].split()) for line in lines}


def report(seen: list[Sample], lost: int = 0) -> Report:
    return Report(period=30, acknowledged=1, samples=seen, lost=lost)


async def test_a_short_soak_loses_nothing_and_leaves_a_table_and_a_picture(tmp_path: Path) -> None:
    process = script(tmp_path, "--duration", "4s", "--rate", "1000")
    try:
        assert await process.wait() == 0, process.log
    finally:
        process.kill()
    assert " 0 of them lost" in process.output
    assert "too short to tell" in process.output
    with (tmp_path / "soak" / "soak.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 5
    assert max(float(row["accepted_per_second"]) for row in rows) > 0
    assert all(int(row["memory_bytes"]) > 10 * MIB for row in rows)
    assert {row["away"] for row in rows} == {"True", "False"}
    assert points((tmp_path / "soak" / "soak.svg").read_text()) == {len(rows)}


@pytest.mark.parametrize("wrong", [("--duration", "2d"), ("--duration", "soon"), ("--rate", "0")])
async def test_a_soak_is_bounded(tmp_path: Path, wrong: tuple[str, str]) -> None:
    process = script(tmp_path, *wrong)
    assert await process.wait() == 2
    assert wrong[0] in process.log


def test_what_stays_within_its_bounds_is_flat(capsys: pytest.CaptureFixture[str]) -> None:
    seen = samples(memory=lambda second: 60 * MIB + (20 * MIB if second % 60 >= 50 else 0))
    assert [trend.name for trend in trends(seen, 30)] == [*JUDGED]
    assert judge(report(seen)) == 0
    assert "flat, and nothing was lost" in capsys.readouterr().out


def test_what_grows_while_it_warms_up_and_no_more_is_flat() -> None:
    assert judge(report(samples(memory=lambda second: 60 * MIB + MIB * min(second, 100)))) == 0


def test_what_goes_on_growing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(report(samples(memory=lambda second: 60 * MIB + 20_000 * second))) == 1
    told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if "NOT FLAT" in line]
    assert told == ["memory_bytes"]


def test_a_lost_item_fails_the_longest_soak_and_the_shortest(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(report(samples(), lost=1)) == 1
    assert judge(report(samples(range(1, 6)), lost=1)) == 1
    assert capsys.readouterr().out.count("FAILED") == 2


def test_a_soak_in_which_nothing_was_taken_fails() -> None:
    assert judge(Report(30, samples(p50_ms=nan))) == 1


def test_a_moment_without_an_answer_is_a_gap_in_the_picture_and_in_the_figures() -> None:
    seen = samples()
    seen[200:203] = samples(range(402, 408, 2), p50_ms=nan)
    assert [trend for trend in trends(seen, 30) if not trend.flat] == []
    assert points(draw(seen, "A <soak> & more", "of ten minutes")) == {297, 300}


def test_a_picture_of_nothing_that_happened_is_a_picture() -> None:
    assert points(draw(samples([1], p50_ms=nan), "one", "sample")) == {0, 1}
