"""Twice what the service can take: it goes on at full speed, says "later" where it must, and keeps what it said yes to.

scripts/overload does it for a minute.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.overload import KINDS, complaints, most_of, settled_memory, table
from tests.support.flood import SPANS, Plan, Result, flood
from tests.support.overload import Level, Report, overload
from tests.support.service import Service
from tests.support.tally import Tally

pytestmark = pytest.mark.alone

MIB = 1 << 20
ROOT = Path(__file__).parents[2]


async def test_a_processor_that_is_all_taken_serves_as_many_as_ever(tmp_path: Path) -> None:
    report = await overload(tmp_path, "processor", 20.0, probe=1.0, levels=(0.4,))
    assert (report.lost, report.repeated) == (0, 0)
    assert report.asked > 2
    assert report.flood.unsent > 0, "clients had no request left to send it with"
    assert report.flood.answers.keys() == {"200", "OK"}, "they wait for their turn, and none is refused or broken"
    assert report.thrift > 0.8, "in CPU time, because other processes may take what they like of the clock's"
    assert report.recovered is not None, "whoever comes afterwards is served at once"
    memory = settled_memory(report)
    assert memory is not None
    value, later = memory
    assert most_of(later) <= 1.15 * value, "flat from ten seconds on"


def test_a_full_queue_refuses_what_the_destination_does_not_take_and_keeps_that_busy() -> None:
    """What else it has to do, flat memory, goodput and recovery, the script ends with 1 for."""
    command = [sys.executable, "-m", "scripts.overload", "--kind", "queue", "--seconds", "20", "--probe", "2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert re.search(r"\n\| refused as .* \| [\d,]+ \([\d,]+ 503, [\d,]+ UNAVAILABLE\), 0 \|\n", ended.stdout)
    assert re.search(r"\n\| memory after ten seconds; .* \| \d+, \d+ \([+-]\d+ %\), \d+ MiB \|\n", ended.stdout)
    assert re.search(r"\n\| acknowledged requests lost, delivered twice \| 0 of [\d,]+, 0 \|\n", ended.stdout)


async def test_two_thousand_calls_at_once_are_served_in_their_turn(tmp_path: Path) -> None:
    async with Tally() as tally:
        async with Service(tmp_path, {"exporter": {"endpoint": tally.endpoint}}) as service:
            plan = Plan(service.port, service.grpc_port, 0, 150, 16, None, 1.0, 0)
            clients = await flood(tmp_path, plan)
            assert clients.answers.keys() == {"OK"}, clients.answers
        assert set(clients.acknowledged) == tally.arrived.keys()


def well() -> Report:
    """What a minute comes to in which all is as it has to be: 400 requests a second are possible, 840 are wanted."""
    return Report(
        levels=[Level(50, 4000.0), Level(100, 8000.0)],
        overloaded=Level(1000, 7800.0),
        flood=Result(
            seconds=60.0,
            sent=30_000,
            unsent=20_400,
            answers={"200": 23_400, "503": 6600},
            latencies=[0.411, 19.6, 21.0],
        ),
        memory=[(at / 4, 80 * MIB) for at in range(240)],
        ordinary=[(at / 10, 1.6 if at < 10 else 0.01, "OK") for at in range(-20, 30)],
        acknowledged=30_000,
        file_bytes=16 * MIB,
    )


def spoilt(how: Callable[[Report], object]) -> list[str]:
    report = well()
    how(report)
    return list(complaints(report))


def test_what_clients_wanted_is_what_they_sent_and_what_they_could_not() -> None:
    report = well()
    assert report.wanted == (30_000 + 20_400) / 60 * SPANS
    assert (report.asked, report.goodput) == (2.1, 0.975)
    assert list(complaints(report)) == []


def test_what_came_of_both_kinds_is_told_in_one_table() -> None:
    short = well()
    short.memory = short.memory[:20]
    short.ordinary = [(0.1, 2.0, "OK")]
    rows = [line.split(" | ") for line in table({"processor": well(), "queue": short}).splitlines()]
    assert {len(row) for row in rows} == {3}
    assert rows[0][1] == "the processor is all taken"
    assert rows[0][2] == "the destination takes 2 MiB a second, and the queue is full |"
    told = {row[0].removeprefix("| "): [row[1], row[2].removesuffix(" |")] for row in rows[2:]}
    assert told == {
        "possible, items a second": ["8,000 (100 connections; 4,000 for 50)"] * 2,
        "asked for": ["2.10 times that: 30,000 requests sent, 20,400 that found no client free"] * 2,
        "acknowledged, items a second": ["7,800, 98 % of what is possible"] * 2,
        "items for each second of CPU": ["100 % of the best before"] * 2,
        "refused as 503 or UNAVAILABLE, without a hint": ["6,600 (6,600 503), 0"] * 2,
        "broken connections, other answers": ["0"] * 2,
        "success took, half of them, 99 of 100": ["411 ms, 19.6 s"] * 2,
        "memory after ten seconds; 95 of 100 later samples; the most": ["80, 80 (+0 %), 80 MiB", "too short to tell"],
        "the queue's file": ["16 MiB"] * 2,
        "after it, all ordinary requests are acknowledged at once": ["from 2.5 s on", "never"],
        "acknowledged requests lost, delivered twice": ["0 of 30,000, 0"] * 2,
    }
    assert list(KINDS) == ["processor", "queue"]


def test_the_docs_have_the_rows_of_the_table() -> None:
    docs = (ROOT / "docs" / "reliability.md").read_text()
    heads = [line.split(" | ")[0] for line in table({"processor": well(), "queue": well()}).splitlines()]
    assert [head for head in heads[2:] if f"\n{head} | " not in docs] == []


def test_the_service_has_recovered_when_the_last_request_that_was_late_was_answered() -> None:
    report = well()
    assert report.recovered == pytest.approx(0.9 + 1.6)
    report.ordinary.append((0.2, 0.1, "503"))
    assert report.recovered == pytest.approx(0.9 + 1.6)
    report.ordinary = [(at, 0.9, "OK") for at in (0.1, 0.2)]
    assert report.recovered == 0
    report.ordinary.append((0.3, 0.01, "503"))
    assert report.recovered is None


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        (lambda report: setattr(report, "lost", 1), "1 acknowledged requests were lost"),
        (lambda report: setattr(report, "repeated", 2), "2 requests were delivered twice"),
        (lambda report: setattr(report.flood, "unsent", 15_000), "clients wanted 1.88 times what is possible"),
        (lambda report: report.flood.answers.update({"500": 1, "given up": 2}), "clients met 500, given up"),
        (lambda report: setattr(report.flood, "without_hint", 1), "1 refusals did not say when to come back"),
        (lambda report: setattr(report.overloaded, "rate", 6000.0), "75% of what is possible was acknowledged"),
        (
            lambda report: report.memory.extend([(59.9, 93 * MIB)] * 20),
            "memory had 80 MiB after ten seconds, and 93 MiB later",
        ),
        (lambda report: report.ordinary.append((2.95, 1.7, "OK")), "were not acknowledged at once any more"),
        (lambda report: report.ordinary.extend([(6.0, 1.5, "OK"), (7.6, 0.1, "OK")]), "at once only after 7.5 s"),
    ],
)
def test_a_single_thing_that_is_not_as_it_has_to_be_fails_the_script(
    how: Callable[[Report], object], complaint: str
) -> None:
    (told,) = spoilt(how)
    assert complaint in told
