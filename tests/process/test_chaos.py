"""One fault after another: nothing that was acknowledged is lost, and clients are told the truth."""

import random
from pathlib import Path

import pytest

from tests.support.chaos.backend_faults import EveryCode, Swapped, TakenUnheard
from tests.support.chaos.catalogue import FAULTS
from tests.support.chaos.fault import Fault
from tests.support.chaos.laboratory import Laboratory, Protocol

HTTP: Protocol = "http/protobuf"
GRPC: Protocol = "grpc"
BOTH = {EveryCode, Swapped, TakenUnheard}
"""Those that are not the same over both protocols; the others take turns."""


def cases() -> list[tuple[type[Fault], Protocol]]:
    turns = [(fault, (HTTP, GRPC)[number % 2]) for number, fault in enumerate(FAULTS) if fault not in BOTH]
    return turns + [(fault, protocol) for fault in FAULTS if fault in BOTH for protocol in (HTTP, GRPC)]


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
async def test_a_fault_loses_nothing_and_tells_clients_the_truth(
    tmp_path: Path, fault: type[Fault], protocol: Protocol
) -> None:
    seed = random.randrange(2**32)
    async with Laboratory(tmp_path, seed=seed, protocol=protocol) as lab:
        trial = await lab.suffer(fault())
        verdict = await lab.settle()
    assert not trial.wrong, f"seed {seed}: {trial}"
    assert verdict.good, f"seed {seed}: {verdict}"
    assert verdict.acknowledged
