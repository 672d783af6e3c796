"""Dead letters: what the destination refused for good, kept until somebody looks at it.

Invariants, each with a test of its name for both queues:

- A dead letter stays until it is replayed or purged; it takes room, and is never evicted.
- A replayed one is delivered like any other, and nothing is in both places or in neither.
- `items(signal)` changes in the very turn of the event loop in which the items come or go.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from app.core.request import ExportRequest, Signal

__all__ = [
    "EVERYTHING",
    "DeadLetter",
    "DeadLetters",
    "Gone",
    "Moved",
    "Notice",
    "Selection",
    "pack_notice",
    "unpack_notice",
]

_LONGEST_MESSAGE = 300
_UNKNOWN = "unknown"

Gone = Callable[[Signal, int], None]
"""Called with the number of items of a signal in the very turn in which they are no dead letters any more."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Why and when a request was refused."""

    refused_ns: int
    reason: str
    """A word, as in metrics."""
    message: str
    """What the destination said."""

    @classmethod
    def of(cls, refused_ns: int, error: Exception, reason: str) -> "Notice":
        return cls(refused_ns, reason, str(error)[:_LONGEST_MESSAGE])

    def without_words(self) -> "Notice":
        """The same for where there is hardly any room."""
        return Notice(self.refused_ns, self.reason, "")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused request, without its body."""

    sequence: int
    signal: Signal
    items: int
    size: int
    """Bytes of its body."""
    received_ns: int
    notice: Notice


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: those for which everything holds that is not None."""

    sequences: frozenset[int] | None = None
    signal: Signal | None = None
    reason: str | None = None

    def takes(self, letter: DeadLetter) -> bool:
        return (
            (self.sequences is None or letter.sequence in self.sequences)
            and self.signal in {None, letter.signal}
            and self.reason in {None, letter.notice.reason}
        )


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Moved:
    """What was replayed or purged."""

    letters: int
    items: int
    left: int = 0
    """Letters that were meant and are dead letters still: damaged, or there was no room to move them."""


class DeadLetters(Protocol):
    """The dead letters of a queue, in order of their sequence numbers."""

    def items(self, signal: Signal) -> int:
        """Items in the dead letters of `signal`."""

    def letters(self, signal: Signal) -> int:
        """How many dead letters of `signal` there are."""

    async def find(self, selection: Selection = EVERYTHING, *, after: int = 0, limit: int = 1000) -> list[DeadLetter]:
        """At most `limit` of those selected, from behind the sequence number `after` on."""

    async def read(self, sequence: int) -> ExportRequest | None:
        """What was refused; None where there is no such letter.

        Raises:
            ValueError: it is damaged.
        """

    async def replay(self, selection: Selection) -> Moved:
        """Move letters back to the queue, behind everything that waits, as if they had just been received.

        What becomes a dead letter meanwhile stays one.
        """

    async def purge(self, selection: Selection, gone: Gone) -> Moved:
        """Delete letters for good."""


def pack_notice(notice: Notice) -> bytes:
    return orjson.dumps({"refused_ns": notice.refused_ns, "reason": notice.reason, "message": notice.message})


def unpack_notice(packed: bytes) -> Notice:
    """Read a notice. One that cannot be read says nothing; the letter is there all the same."""
    try:
        said: dict[str, Any] = orjson.loads(packed)
        return Notice(int(said["refused_ns"]), str(said["reason"]), str(said["message"]))
    except (ValueError, TypeError, KeyError):
        return Notice(0, _UNKNOWN, "")
