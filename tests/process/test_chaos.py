"""One fault after another, and several at once: what was acknowledged arrives, and clients are told the truth."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import chaos
from tests.support.chaos.backend_faults import EveryCode, Hanging, Resetting, Swapped, TakenUnheard
from tests.support.chaos.catalogue import FAULTS, LONG, THREADS
from tests.support.chaos.clients import Seen
from tests.support.chaos.disk_faults import HeadFails, WriteFails
from tests.support.chaos.fault import Fault, Protocol
from tests.support.chaos.laboratory import Laboratory
from tests.support.chaos.needs import missing
from tests.support.chaos.process_faults import Killed, Terminated
from tests.support.chaos.report import tables
from tests.support.chaos.run import PROTOCOLS, storm, try_fault
from tests.support.chaos.thread_faults import ExporterThreadDies, GrpcPollerDies, NativeReceiverDies

pytestmark = pytest.mark.alone

BOTH = {EveryCode, Resetting, Swapped, TakenUnheard}
"""Those that are not the same over both of the exporter's protocols; the others take turns."""
ELSEWHERE = {WriteFails, HeadFails}
"""Those that test_disk_faults.py has more to say about."""
ALIKE = {ExporterThreadDies, GrpcPollerDies, NativeReceiverDies}
"""Those that are noticed as the reader's end is; `scripts/chaos` tries them all."""
STORM_SECONDS = 8
SEED = int(os.environ.get("CHAOS_SEED", "7"))
"""The same storm each time, so that a change is judged by what it changed; `scripts/chaos` has another each time."""
ROOT = Path(__file__).parents[2]


def cases() -> list[tuple[type[Fault], Protocol]]:
    turns = [(fault, PROTOCOLS[number % 2]) for number, fault in enumerate(FAULTS) if fault not in BOTH | ELSEWHERE]
    others = [fault for fault in LONG + THREADS if fault not in ALIKE]
    turns += [(fault, fault.protocol or PROTOCOLS[number % 2]) for number, fault in enumerate(others)]
    return turns + [(fault, protocol) for fault in FAULTS if fault in BOTH for protocol in PROTOCOLS]


@pytest.mark.parametrize(
    ("fault", "protocol"),
    [
        pytest.param(
            fault,
            protocol,
            id=f"{fault.name}, {protocol}",
            marks=[pytest.mark.needs(program) for program in sorted(fault.needs)],
        )
        for fault, protocol in cases()
    ],
)
async def test_a_fault_loses_nothing_and_clients_are_told_the_truth(
    tmp_path: Path, fault: type[Fault], protocol: Protocol
) -> None:
    row = await try_fault(fault, 1, seed=SEED, protocol=protocol, directory=tmp_path, hurried=fault in LONG + THREADS)
    assert row.good, f"CHAOS_SEED={SEED} repeats it:\n" + "\n".join(row.wrong())
    assert row.verdicts[0].acknowledged


async def test_no_fault_shows_where_there_is_none(tmp_path: Path) -> None:
    faults = [fault() for fault in FAULTS + LONG + THREADS if not missing(fault)]
    async with Laboratory(tmp_path, seed=1) as lab:
        await lab.clients.until_all_served("at first")
        await lab.kubelet.until_scraped(bool, "a scrape")
        for fault in faults:
            fault.prepare(lab)
        looks = {asyncio.create_task(fault.shows(lab)): fault.name for fault in faults}
        await lab.clients.until_more(100, Seen.TAKEN)
        assert [name for look, name in looks.items() if look.done()] == []
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)


async def test_nothing_is_well_again_before_a_process_has_ended_that_is_to_end(tmp_path: Path) -> None:
    async with Laboratory(tmp_path, seed=1) as lab:
        trial = await lab.suffer(Terminated(), Hanging(), hold=0.1)  # which serves all the while that it leaves
        ended = lab.kubelet.lives[0].ended
        assert ended is not None
        assert ended < trial.over
        await lab.settle()
        assert (trial.wrong, lab.wrong) == ((), [])


class Unheard(Fault):
    """The laboratory has no way to do it."""

    name = "unheard of"

    async def inflict(self, _: Laboratory) -> None:
        raise NotImplementedError("nobody knows how")


async def test_what_the_laboratory_raises_is_told_with_its_seed_and_what_was_had_before(tmp_path: Path) -> None:
    row = await try_fault(Unheard, 2, seed=7, protocol="grpc", directory=tmp_path)
    assert not row.good
    told = next(row.wrong())
    assert told.startswith("unheard of: trial 1 of seed 7, exporter's protocol grpc: ")
    assert "NotImplementedError: nobody knows how\nwith unheard of, of seed 7\n" in told
    assert "| unheard of | 0, and 1 not to its end | 0 | 0 | 0 | 0 |" in tables([row])


async def test_several_faults_at_once_lose_nothing_and_clients_are_told_the_truth(tmp_path: Path) -> None:
    faults = [fault for fault in FAULTS if not missing(fault)]
    row = await storm(faults, STORM_SECONDS, seed=SEED, directory=tmp_path)
    assert row.good, f"CHAOS_SEED={SEED} repeats it:\n" + "\n".join(row.wrong())
    assert row.verdicts[0].acknowledged


def test_the_script_kills_twenty_times() -> None:
    assert sum(chaos.tries(Killed, chaos.TIMES).values()) >= 20


@pytest.mark.needs("gcc")
def test_the_script_writes_what_came_of_each_fault(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    options = ["--times", "2", "--minutes", "0", "--only", "clock", "--seed", "5", "--report", str(report)]
    command = [sys.executable, "-m", "scripts.chaos", *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert result.stdout.startswith("seed 5\n")
    assert result.stdout.endswith("nothing that was acknowledged was lost\n")
    account, sight, word = report.read_text().split("\n\n")
    assert account.splitlines()[2].startswith("| clock jumps | 2 | ")
    assert " | 0 | 0 |" in account, "none lost, none delivered again"
    assert sight.splitlines()[2].startswith("| clock jumps | acknowledged ")
    assert word.splitlines()[2].startswith("| clock jumps | 200 | 200 | 0 | ")
