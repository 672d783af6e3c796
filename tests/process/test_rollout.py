"""Two instances behind one address, each replaced in turn under load, as Kubernetes does it.

scripts/rollout does all of it with each SDK. What clients may see of it is in docs/reliability.md.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.rollout import complaints, table
from tests.support.rollout import BALANCERS, SDKS, WAYS, Rollout, Row, Way, roll

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
NEW_ONES, HANDED_OFF, A_VOLUME_EACH = WAYS


async def replaced(way: Way, balancer: str, directory: Path, *sdks: str) -> None:
    """Both instances were replaced: no client failed for good or was lost something, and nothing arrived twice."""
    rollout = await roll(way, balancer, directory, sdks)
    assert list(complaints(way, balancer, rollout)) == []
    clients = [row.client for row in rollout.rows if not row.client.startswith("raw")]
    assert clients == [f"{sdk}, {transport}" for sdk in sdks for transport in ("HTTP", "gRPC")]
    assert {row.repeated for row in rollout.rows} == {0}, "no instance ended in the middle of something"


@pytest.mark.needs("go client")
@pytest.mark.needs("node")
async def test_each_is_replaced_under_load_and_no_sdk_gives_up_and_nothing_is_lost(tmp_path: Path) -> None:
    await replaced(NEW_ONES, "TCP", tmp_path, "Node.js", "Go")


@pytest.mark.needs("nginx")
@pytest.mark.needs("node")
async def test_behind_nginx_each_is_replaced_and_no_sdk_gives_up_and_nothing_is_lost(tmp_path: Path) -> None:
    await replaced(NEW_ONES, "nginx", tmp_path, "Python", "Node.js")


async def test_with_the_collector_away_each_hands_its_backlog_to_the_others_and_its_volume_may_go(
    tmp_path: Path,
) -> None:
    await replaced(HANDED_OFF, "TCP", tmp_path, "Python")


async def test_with_a_volume_each_the_other_one_covers_the_gap_and_a_backlog_comes_back(tmp_path: Path) -> None:
    await replaced(A_VOLUME_EACH, "TCP", tmp_path, "Python")


def test_the_script_writes_what_came_of_each_client() -> None:
    command = [sys.executable, "-m", "scripts.rollout", "--times", "1", "--only", "new ones, TCP", "--sdk", "Python"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ended.stdout.splitlines() if line[0] == "|"]
    assert rows[0] == [
        "how",
        "balancer",
        "client",
        "exports",
        "to send again",
        "failed",
        "spans taken",
        "lost",
        "twice",
    ]
    assert [row[:3] for row in rows[-2:]] == [["new ones", "TCP", "Python, HTTP"], ["new ones", "TCP", "Python, gRPC"]]
    assert all(int(row[3]) > 0 and row[5] == row[7] == row[8] == "0" for row in rows[2:])


def test_the_script_knows_nothing_to_do() -> None:
    command = [sys.executable, "-m", "scripts.rollout", "--only", "nothing of that name"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 1
    assert "there is nothing to do" in ended.stdout


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (Row("Go, HTTP"), "Go, HTTP: nothing was taken"),
        (Row("Go, HTTP", acknowledged=20, lost=1), "Go, HTTP: 1 spans that were acknowledged are lost"),
        (Row("raw, HTTP", acknowledged=20, without_hint=2), "raw, HTTP: 2 refusals did not say when to come back"),
        (Row("Go, gRPC", acknowledged=20, failed=["EOF"] * 3), "Go, gRPC: 3 exports failed: EOF"),
    ],
)
def test_what_a_client_lost_fails_the_script(row: Row, complaint: str) -> None:
    well = Row("Python, HTTP", exports=1, acknowledged=20)
    assert list(complaints(NEW_ONES, "TCP", Rollout([well, row], 0))) == [f"new ones, TCP, {complaint}"]


def test_a_connection_that_is_refused_fails_the_script() -> None:
    rollout = Rollout([Row("Python, HTTP", exports=1, acknowledged=20)], refused=1)
    assert "refused them" in " ".join(complaints(NEW_ONES, "nginx", rollout))


def test_what_is_done_several_times_is_told_in_one_table() -> None:
    total = Rollout([], 0)
    for _ in range(3):
        total.merge(Rollout([Row("Node.js, gRPC", 10, 1, ["EOF"], 0, 180, 20, 40)], 1))
    assert total.refused == 3
    case = WAYS[0], BALANCERS[0]
    assert table({case: total}).splitlines()[2] == "| new ones | TCP | Node.js, gRPC | 30 | 3 | 3 | 540 | 60 | 120 |"
    assert SDKS == ("Python", "Node.js", "Go")
