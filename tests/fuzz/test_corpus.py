"""Every seed of the corpus, and with it all that fuzzing ever found, without atheris."""

import importlib
from pathlib import Path

import pytest

from scripts.fuzz import HARNESSES

CORPUS = Path(__file__).parent / "corpus"
SEEDS = sorted(path.relative_to(CORPUS) for path in CORPUS.glob("*/*"))


def test_each_harness_has_seeds() -> None:
    assert {seed.parent.name for seed in SEEDS} == set(HARNESSES)


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_a_seed_of_the_corpus_finds_nothing(seed: Path) -> None:
    importlib.import_module(f"tests.fuzz.{seed.parent.name}").check((CORPUS / seed).read_bytes())
