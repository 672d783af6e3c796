"""Two instances behind one address, each replaced in turn under load, as Kubernetes does it.

scripts/rollout does all of it with each SDK. What clients may see of it is in docs/reliability.md.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.rollout import complaints, table, told
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
    assert rollout.accepted_again >= 0, "what clients sent again and had accepted twice would have arrived twice"


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
    rows = [line[2:-2].split(" | ") for line in ended.stdout.splitlines() if line.startswith("| ")]
    assert rows[0] == ["exports (to send again)", "new ones, TCP"]
    assert [row[0] for row in rows[-2:]] == ["Python, HTTP", "Python, gRPC"]
    assert all(re.match(r"[1-9][\d,]*( \(\d+\))?$", row[1]) for row in rows[2:])
    assert re.search(r"\nOf [1-9][\d,]+ exports 0 failed that need not\. ", ended.stdout)
    assert " spans that were acknowledged 0 are lost. Spans came again 0 times, " in ended.stdout


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
        (
            Row("raw, HTTP", acknowledged=20, repeated=20),
            "raw, HTTP: spans came again 20 times, and it sends nothing again",
        ),
    ],
)
def test_what_a_client_lost_fails_the_script(row: Row, complaint: str) -> None:
    well = Row("Python, HTTP", exports=1, acknowledged=20)
    rollout = Rollout([well, row], 0, accepted_again=20)
    assert list(complaints(NEW_ONES, "TCP", rollout)) == [f"new ones, TCP, {complaint}"]


def test_what_came_again_is_explained_by_what_was_accepted_again_and_fails_the_script_otherwise() -> None:
    def told_of(again: int, way: Way = NEW_ONES, client: str = "Python, gRPC") -> list[str]:
        row = Row(client, exports=1, acknowledged=20, repeated=20)
        return list(complaints(way, "TCP", Rollout([row], 0, accepted_again=again)))

    assert told_of(20) == []
    assert told_of(20, HANDED_OFF, "raw, HTTP") == [], "a hand-off that was cut"
    assert told_of(0) == ["new ones, TCP: spans came again 20 times, and were accepted again 0 times"]
    assert told_of(19) == ["new ones, TCP: spans came again 20 times, and were accepted again 19 times"]
    assert told_of(-1)[0] == "new ones, TCP: 1 spans arrived that no instance says it accepted"


def test_a_connection_that_is_refused_fails_the_script() -> None:
    rollout = Rollout([Row("Python, HTTP", exports=1, acknowledged=20)], refused=1)
    assert "refused them" in " ".join(complaints(NEW_ONES, "nginx", rollout))


def test_what_is_done_several_times_is_told_in_one_table() -> None:
    total, other = Rollout([], 0), Rollout([], 0)
    for _ in range(3):
        total.merge(Rollout([Row("Node.js, gRPC", 1000, 1, ["EOF"], 0, 180, 20, 40)], 1, 60))
        other.merge(Rollout([Row("Node.js, gRPC", 10, 0, [], 0, 180, 0, 0)], 0, 0))
    assert (total.refused, total.accepted_again) == (3, 180)
    both = {(WAYS[0], BALANCERS[0]): total, (WAYS[2], BALANCERS[1]): other}
    assert table(both).splitlines() == [
        "| exports (to send again) | new ones, TCP | a volume each, collector away, nginx |",
        "| --- | --- | --- |",
        "| Node.js, gRPC | 3,000 (3) | 30 |",
    ]
    assert told(both) == (
        "Of 3,030 exports 3 failed that need not. Of 1,080 spans that were acknowledged 60 are lost. Spans came again "
        "120 times, and were accepted again 180 times, because a client sent them again or a hand-off was cut. "
        "3 connections were refused."
    )
    assert SDKS == ("Python", "Node.js", "Go")
