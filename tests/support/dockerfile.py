"""The Dockerfile, as far as what it says can be judged without an engine."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCKERFILE", "Instruction", "copied", "exposed", "instructions"]

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of them, with its lines joined."""

    stage: int
    """How many FROM were before it and in it."""
    word: str
    """In capitals."""
    value: str

    @property
    def options(self) -> dict[str, str]:
        """``--name=value`` before all else."""
        leading = re.match(r"(--\S+\s+)*", self.value)
        assert leading
        return dict(option.removeprefix("--").split("=", 1) for option in leading[0].split())

    @property
    def words(self) -> list[str]:
        """What comes after the options: as JSON has it, or by spaces."""
        rest = re.sub(r"^(--\S+\s+)*", "", self.value)
        return [str(word) for word in json.loads(rest)] if rest.startswith("[") else rest.split()


def instructions(text: str | None = None) -> list[Instruction]:
    """What a Dockerfile tells, ours by default, without comments."""
    found: list[Instruction] = []
    stage = 0
    for line in _lines(DOCKERFILE.read_text() if text is None else text):
        word, _, value = line.partition(" ")
        stage += word.upper() == "FROM"
        found.append(Instruction(stage, word.upper(), value.strip()))
    return found


def exposed() -> frozenset[int]:
    """The ports of EXPOSE."""
    return frozenset(int(port) for each in instructions() if each.word == "EXPOSE" for port in each.words)


def copied() -> list[str]:
    """What is copied from the folder that the Dockerfile is in."""
    return [
        source
        for each in instructions()
        if each.word == "COPY" and "from" not in each.options
        for source in each.words[:-1]
    ]


def _lines(text: str) -> Iterator[str]:
    joined = ""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            joined += line.strip().removesuffix("\\")
            if not line.endswith("\\"):
                yield joined
                joined = ""
