"""One fault after another: nothing that was acknowledged is lost, and clients are told the truth."""

import random
from pathlib import Path

import pytest

from tests.support.chaos.backend_faults import (
    Away,
    EveryCode,
    HalfTaken,
    Hanging,
    Resetting,
    Slow,
    Swapped,
    TakenUnheard,
)
from tests.support.chaos.fault import Fault
from tests.support.chaos.laboratory import Laboratory, Protocol
from tests.support.chaos.process_faults import Killed, Stopped, Terminated

HTTP: Protocol = "http/protobuf"
GRPC: Protocol = "grpc"
FAULTS: list[tuple[type[Fault], Protocol]] = [
    (Killed, HTTP),
    (Terminated, GRPC),
    (Stopped, HTTP),
    (Away, GRPC),
    (Slow, HTTP),
    (Hanging, GRPC),
    (Resetting, HTTP),
    (TakenUnheard, HTTP),
    (TakenUnheard, GRPC),
    (EveryCode, HTTP),
    (EveryCode, GRPC),
    (HalfTaken, GRPC),
    (Swapped, HTTP),
    (Swapped, GRPC),
]


@pytest.mark.parametrize(("fault", "protocol"), FAULTS, ids=[f"{fault.name} ({p})" for fault, p in FAULTS])
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
