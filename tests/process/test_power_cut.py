"""What was acknowledged survives a power cut; scripts/power-cut does more of them."""

import random
from pathlib import Path

import pytest

from tests.support.power_cut import cut_power

ROUNDS = 3


@pytest.mark.needs("loop device")
async def test_every_acknowledged_span_arrives_though_the_power_is_cut(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    report = await cut_power(tmp_path, ROUNDS, seed)
    assert not report.lost, f"seed {seed}: {report}"
    assert not report.invented, f"seed {seed}: {report}"
    assert not report.unexplained, f"seed {seed}: {report}"
    assert report.acknowledged
    assert report.endings.keys() <= {1, -7}, f"seed {seed}: {report}"  # an error, or SIGBUS from what it cannot read
    assert report.lost_unsynced == ROUNDS, f"seed {seed}: the cuts lose nothing that was not synced"
