"""Twice what the service can take: it goes on at full speed, says "later" where it must, and keeps what it said yes to.

scripts/overload does it for a minute.
"""

from pathlib import Path

import pytest

from tests.support.flood import Plan, flood
from tests.support.overload import Report, overload
from tests.support.service import Service
from tests.support.tally import Tally

pytestmark = pytest.mark.alone

MIB = 1 << 20


async def overloaded(kind: str, directory: Path) -> Report:
    report = await overload(directory, kind, 4.0, probe=1.0)
    assert not report.lost
    assert not report.repeated
    assert report.flood.without_hint == 0, report.flood.answers
    assert report.flood.answers.keys() <= {"200", "OK", "503", "UNAVAILABLE"}, "none broken"
    assert report.after.answers.keys() <= {"200", "OK"}, "whoever comes afterwards is served"
    assert max(report.memory_between(0, 60)) < 256 * MIB
    return report


async def test_a_processor_that_is_all_taken_serves_as_many_as_ever(tmp_path: Path) -> None:
    report = await overloaded("processor", tmp_path)
    assert report.thrift > 0.8, "in CPU time, because other processes may take what they like of the clock's"


async def test_a_full_queue_refuses_what_the_destination_does_not_take_and_keeps_that_busy(tmp_path: Path) -> None:
    report = await overloaded("queue", tmp_path)
    assert report.asked > 1.5
    assert report.refused.keys() == {"503", "UNAVAILABLE"}
    assert report.goodput > 0.8
    assert report.file_bytes <= 32 * MIB


async def test_two_thousand_calls_at_once_are_served_in_their_turn(tmp_path: Path) -> None:
    async with Tally() as tally:
        async with Service(tmp_path, {"exporter": {"endpoint": tally.endpoint}}) as service:
            plan = Plan(service.port, service.grpc_port, 0, 150, 16, None, 1.0, 0)
            clients = await flood(tmp_path, plan)
            assert clients.answers.keys() == {"OK"}, clients.answers
        assert set(clients.acknowledged) == tally.arrived.keys()
