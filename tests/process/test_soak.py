"""scripts/soak, from the point at which its virtual environment is made: a short one, and its word on a long one."""

import csv
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from math import nan
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scripts.soak import complaints, judge, table, told
from tests.support.process import Process
from tests.support.soak import MAX_BYTES, Report, Sample, slope, trends
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


def samples(seconds: Iterable[int] = range(2, 602, 2), **changes: Callable[[int], float]) -> list[Sample]:
    """What a soak of ten minutes sees, which goes through an outage each minute; `changes` are added to what is flat.

    An outage has effects of its own for half a minute, and there is noise.
    """
    dice = random.Random(11)
    seen = []
    for second in seconds:
        phase = second % 60
        away, after = phase >= 50, 0 < phase < 30
        figures: dict[str, float] = {
            "memory_bytes": 60 * MIB + dice.gauss(0, MIB / 16) + (10 * MIB if away or after else 0),
            "descriptors": 31 if away else 38 + (phase % 10 == 4),
            "threads": 16 - (second < 100),
            "file_bytes": 14 * MIB,
            "used_bytes": dice.uniform(0, MIB / 4) + (10 * MIB if away else 0),
            "peak_bytes": 12 * MIB,
            "p50_ms": dice.uniform(1.6, 2.4) + (5 if dice.random() < 0.1 else 0),
        }
        for name, change in changes.items():
            figures[name] += change(second)
        whole = {name: round(value) for name, value in figures.items() if name != "p50_ms"}
        seen.append(
            Sample(
                seconds=second,
                **whole,
                queued_items=100,
                p50_ms=figures["p50_ms"],
                p99_ms=10.0,
                cpu_percent=20.0,
                accepted_per_second=2000.0,
                delivered_per_second=2000.0,
                failed=0,
                away=away,
            )
        )
    return seen


def points(picture: str) -> set[int]:
    """How many points the lines of a picture have."""
    lines = ET.fromstring(picture).findall(f".//{SVG}polyline")  # noqa: S314 - it is our own
    assert len(lines) == 10
    return {len(line.attrib["points"].split()) for line in lines}


def report(seen: list[Sample]) -> Report:
    return Report(period=30, acknowledged=1, samples=seen)


def no_answer(_: int) -> float:
    return nan


async def test_a_short_soak_loses_nothing_and_leaves_a_table_and_a_picture(tmp_path: Path) -> None:
    process = script(tmp_path, "--duration", "4s", "--rate", "1000")
    try:
        assert await process.wait() == 0, process.log
    finally:
        process.kill()
    assert " items acknowledged, 0 lost, 0 delivered twice; 0 requests refused or failed; " in process.output
    assert "too short to tell" in process.output
    with (tmp_path / "soak" / "soak.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 5
    assert max(float(row["accepted_per_second"]) for row in rows) > 0
    assert all(int(row["memory_bytes"]) > 10 * MIB for row in rows)
    assert {row["away"] for row in rows} == {"True", "False"}
    assert int(rows[-1]["peak_bytes"]) >= max(int(row["used_bytes"]) for row in rows) > 0
    assert points((tmp_path / "soak" / "soak.svg").read_text()) == {len(rows)}


@pytest.mark.parametrize("wrong", [("--duration", "2d"), ("--duration", "soon"), ("--rate", "0")])
async def test_a_soak_is_bounded(tmp_path: Path, wrong: tuple[str, str]) -> None:
    process = script(tmp_path, *wrong)
    assert await process.wait() == 2
    assert wrong[0] in process.log


# What is flat, and what is not.


def test_what_goes_up_and_down_with_outages_and_has_noise_is_flat(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(report(samples())) == 0
    out = capsys.readouterr().out
    assert out.startswith("| | after 2.4 minutes | change in the 7.6 minutes since then | may rise by |\n| --- |")
    assert "\n| descriptors | 31.0 | +0.0 | 0.0 |\n" in out
    assert out.endswith("\nflat, and nothing was lost\n")


def test_the_docs_have_the_rows_of_the_table() -> None:
    docs = (ROOT / "docs" / "reliability.md").read_text()
    heads = [line.split(" | ")[0] for line in table(trends(samples(), 30), 120, 480).splitlines()]
    assert [head for head in heads[2:] if f"\n{head} | " not in docs] == []


def test_what_grows_while_it_warms_up_and_no_more_is_flat() -> None:
    grows = samples(memory_bytes=lambda second: MIB * min(second, 110), threads=lambda second: -(second < 110))
    assert list(complaints(report(grows))) == []


def test_a_file_that_grows_with_the_largest_backlog_is_flat() -> None:
    def larger_by(size: int) -> Callable[[int], float]:
        return lambda second: size / 4 * (second > 300)

    larger = samples(peak_bytes=larger_by(12 * MIB), file_bytes=larger_by(14 * MIB))
    assert list(complaints(report(larger))) == []
    assert len(list(complaints(report(samples(file_bytes=larger_by(14 * MIB)))))) == 1, "it does not reuse its pages"


def test_what_falls_is_flat() -> None:
    falling = samples(**dict.fromkeys(LEAKS, lambda second: -second / 300))
    assert list(complaints(report(falling))) == []


def one_every(seconds: int) -> Callable[[int], float]:
    return lambda second: second // seconds


def a_second(size: float) -> Callable[[int], float]:
    return lambda second: size * second


LEAKS = {
    "memory_bytes": a_second(2000),
    "descriptors": one_every(240),
    "threads": one_every(240),
    "file_bytes": a_second(2000),
    "used_bytes": a_second(2000),
    "p50_ms": a_second(0.002),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_told_by_its_name_and_nothing_else_is(name: str) -> None:
    (complaint,) = complaints(report(samples(**{name: LEAKS[name]})))
    assert complaint.startswith(f"{name} is not flat: it rose by ")


@pytest.mark.parametrize("name", ["descriptors", "threads"])
@pytest.mark.parametrize("at", [181, 300, 539])
def test_one_more_in_the_end_than_at_first_is_not_flat(name: str, at: int) -> None:
    found = trends(samples(**{name: lambda second: second >= at}), 30)
    assert [(trend.name, trend.rise) for trend in found if not trend.flat] == [(name, 1)]


def test_what_is_not_flat_says_how_much_it_rose_and_might() -> None:
    (complaint,) = complaints(report(samples(descriptors=one_every(240))))
    assert complaint == "descriptors is not flat: it rose by 2.00 in 7.6 minutes, from 31.00, and may by 0.00"
    (complaint,) = complaints(report(samples(memory_bytes=lambda second: second * 0.0025 * MIB)))
    assert complaint.endswith(" MiB in 7.6 minutes, from 60.27, and may by 0.76")


def test_a_longer_soak_has_to_be_as_flat_in_all_its_time() -> None:
    hour = samples(range(12, 3612, 12), memory_bytes=lambda second: 500 * second)
    (trend,) = [trend for trend in trends(hour, 5) if not trend.flat]
    assert (trend.name, round(trend.allowed / MIB, 1)) == ("memory_bytes", 1.2), "two of a hundred, however long"


def test_the_slope_does_not_mind_a_few_points_that_are_far_off() -> None:
    line = [(float(at), 3.0 * at) for at in range(40)]
    line[::5] = [(at, 1e9) for at, _ in line[::5]]
    assert slope(line) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"acknowledged": 0}, "nothing was acknowledged"),
        ({"lost": 1}, "1 items that were acknowledged are lost"),
        ({"repeated": 2}, "2 times an item arrived again, for which there is no reason"),
        ({"dropped": 3}, "3 items were dropped or refused for good"),
        ({"failed": Counter({"503": 4})}, "4 requests were not acknowledged: 503"),
    ],
)
def test_a_single_thing_that_is_not_as_it_has_to_be_fails_the_longest_soak_and_the_shortest(
    how: dict[str, object], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for seen in samples(), samples(range(1, 6)):
        spoilt = report(seen)
        for name, value in how.items():
            setattr(spoilt, name, value)
        assert judge(spoilt) == 1
        assert capsys.readouterr().out.endswith(f"\nFAILED: {complaint}\n")


def test_a_file_above_its_bound_fails_the_shortest_soak() -> None:
    (complaint,) = complaints(report(samples(range(1, 6), file_bytes=lambda _: MAX_BYTES)))
    assert complaint.startswith("the queue's file had ")


def test_time_is_told_in_round_figures() -> None:
    assert [told(seconds) for seconds in (9.6, 60, 481.2, 600)] == ["10 seconds", "a minute", "8 minutes", "10 minutes"]


def test_a_moment_without_an_answer_is_a_gap_in_the_picture_and_in_the_figures() -> None:
    seen = samples()
    seen[200:203] = samples(range(402, 408, 2), p50_ms=no_answer)
    assert [trend for trend in trends(seen, 30) if not trend.flat] == []
    assert points(draw(seen, "A <soak> & more", "of ten minutes")) == {297, 300}


def test_a_picture_of_nothing_that_happened_is_a_picture() -> None:
    assert points(draw(samples([1], p50_ms=no_answer), "one", "sample")) == {0, 1}
