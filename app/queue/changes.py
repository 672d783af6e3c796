"""What goes into the queue's file and what comes out of it: the seam between the queue and its disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.core.request import Signal
from app.queue.dead_tree import Tally
from app.queue.letters import DeadLetter, Notice

__all__ = ["Appended", "Burial", "Commit", "Found", "Store"]


@dataclass(frozen=True, slots=True)
class Appended:
    """A packed record to be written."""

    signal: Signal
    sequence: int
    record: bytes
    replaces: int | None = None
    """The dead letter that goes when the record comes: both or neither."""


@dataclass(frozen=True, slots=True)
class Burial:
    """A record that becomes a dead letter. It stays where it is, so that this needs next to no room."""

    signal: Signal
    sequence: int
    notice: Notice
    record: bytes | None = None
    """What is written in its place, where only a part of it was refused."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit did."""

    refused: frozenset[int]
    """Sequence numbers of records that did not fit."""
    postponed: bool
    """The disk under the file is so full that not even the deletes went through: give them again."""
    used_bytes: int
    unburied: tuple[Burial, ...] = ()
    """What did not even fit without words: give it again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the file held when it was opened."""

    items: dict[Signal, int]
    oldest_ns: dict[Signal, int]
    """When the first entry was received, of each signal that has one."""
    next_sequence: int
    used_bytes: int
    entries: int = 0
    """How many records wait for delivery."""
    dead: Mapping[Signal, Tally] = field(default_factory=dict)
    """What is in the dead letters, where there are some; it is in `used_bytes`, and in none of the other figures."""


class Store(Protocol):
    """The seam between the queue and its disk."""

    def open(self) -> Found: ...

    def commit(
        self, appends: Sequence[Appended], deletes: Sequence[tuple[Signal, int]], burials: Sequence[Burial] = ()
    ) -> Commit: ...

    def read(self, signal: Signal, first: int, max_bytes: int) -> tuple[list[tuple[int, bytes]], bool]: ...

    def dead_letters(self, signal: Signal, first: int, limit: int) -> list[DeadLetter]: ...

    def dead_record(self, signal: Signal, sequence: int) -> bytes | None: ...

    def close(self) -> None: ...
