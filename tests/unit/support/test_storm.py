"""Which faults are there at once."""

import random

import pytest

from tests.support.chaos.catalogue import FAULTS
from tests.support.chaos.run import choose


@pytest.mark.parametrize("seed", range(20))
def test_faults_at_once_have_nothing_in_common(seed: int) -> None:
    chosen = choose(FAULTS, random.Random(seed))
    touched = [part for fault in chosen for part in fault.touches]
    assert 1 <= len(chosen) <= 3
    assert len(touched) == len(set(touched))


def test_a_seed_chooses_the_same_faults_again() -> None:
    assert choose(FAULTS, random.Random(7)) == choose(FAULTS, random.Random(7))


def test_each_fault_is_chosen_together_with_others() -> None:
    chance = random.Random(1)
    chosen = (choose(FAULTS, chance) for _ in range(1000))
    assert {fault for faults in chosen if len(faults) > 1 for fault in faults} == {*FAULTS}


def test_each_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
