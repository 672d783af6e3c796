"""Twice what the service can take: it goes on at full speed, says "later" where it must, and keeps what it said yes to.

scripts/overload does it for a minute.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.overload import complaints, told
from tests.support.flood import SPANS, Plan, Result, flood
from tests.support.overload import Level, Report, overload
from tests.support.service import Service
from tests.support.tally import Tally

pytestmark = pytest.mark.alone

MIB = 1 << 20
ROOT = Path(__file__).parents[2]


async def test_a_processor_that_is_all_taken_serves_as_many_as_ever(tmp_path: Path) -> None:
    report = await overload(tmp_path, "processor", 3.0, probe=0.5, levels=(0.4,))
    assert (report.lost, report.repeated) == (0, 0)
    assert report.asked > 2
    assert report.flood.unsent > 0, "clients had no request left to send it with"
    assert report.flood.answers.keys() == {"200", "OK"}, "they wait for their turn, and none is refused or broken"
    assert report.thrift > 0.8, "in CPU time, because other processes may take what they like of the clock's"
    assert report.recovered is not None, "whoever comes afterwards is served at once"
    assert max(report.memory_between(0, 60)) < 256 * MIB


def test_a_full_queue_refuses_what_the_destination_does_not_take_and_keeps_that_busy() -> None:
    command = [sys.executable, "-m", "scripts.overload", "--kind", "queue", "--seconds", "3", "--probe", "0.5"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    refused = re.search(r"refused: \d+ requests \((.*)\), 0 of them without a hint\n", ended.stdout)
    assert refused is not None, ended.stdout
    assert ast.literal_eval(refused[1]).keys() == {"503", "UNAVAILABLE"}
    assert " requests acknowledged, 0 lost, 0 delivered twice\n" in ended.stdout
    assert "memory: too short to tell\n" in ended.stdout


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
        flood=Result(seconds=60.0, sent=30_000, unsent=20_400, answers={"200": 23_400, "503": 6600}),
        memory=[(at / 4, 80 * MIB) for at in range(240)],
        ordinary=[(at / 10, 1.6 if at < 10 else 0.01, "OK") for at in range(-20, 30)],
        acknowledged=30_000,
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
    assert "80 MiB after ten seconds, from then on 80 to 80 MiB; 95 of 100" in " ".join(told(report))


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
