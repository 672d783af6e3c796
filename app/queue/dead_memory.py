"""Dead letters in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from app.core.request import ExportRequest, Signal
from app.queue.letters import EVERYTHING, DeadLetter, Gone, Moved, Selection

__all__ = ["MemoryDead"]


@dataclass(frozen=True, slots=True)
class _Kept:
    letter: DeadLetter
    body: bytes


class MemoryDead:
    """Bookkeeping; the room that letters take is the queue's to count.

    Args:
        revive: puts a request back into the queue, which has room for it: it is there already.
        forget: is told the size of the body of each letter that is purged.
    """

    def __init__(self, revive: Callable[[ExportRequest], None], forget: Callable[[int], None]) -> None:
        self._revive = revive
        self._forget = forget
        self._kept: dict[int, _Kept] = {}
        self._items = dict.fromkeys(Signal, 0)

    def add(self, letter: DeadLetter, body: bytes) -> None:
        self._kept[letter.sequence] = _Kept(letter, body)
        self._items[letter.signal] += letter.items

    def items(self, signal: Signal) -> int:
        return self._items[signal]

    def letters(self, signal: Signal) -> int:
        return sum(kept.letter.signal is signal for kept in self._kept.values())

    async def find(self, selection: Selection = EVERYTHING, *, after: int = 0, limit: int = 1000) -> list[DeadLetter]:
        meant = (kept.letter for _, kept in sorted(self._kept.items()) if selection.takes(kept.letter))
        return list(islice((letter for letter in meant if letter.sequence > after), limit))

    async def read(self, sequence: int) -> ExportRequest | None:
        kept = self._kept.get(sequence)
        return None if kept is None else ExportRequest(kept.letter.signal, kept.body, kept.letter.items)

    async def replay(self, selection: Selection) -> Moved:
        letters = items = 0
        for kept in self._take(selection):
            self._revive(ExportRequest(kept.letter.signal, kept.body, kept.letter.items))
            letters += 1
            items += kept.letter.items
        return Moved(letters, items)

    async def purge(self, selection: Selection, gone: Gone) -> Moved:
        letters = items = 0
        for kept in self._take(selection):
            self._forget(kept.letter.size)
            gone(kept.letter.signal, kept.letter.items)
            letters += 1
            items += kept.letter.items
        return Moved(letters, items)

    def _take(self, selection: Selection) -> list[_Kept]:
        meant = [kept for _, kept in sorted(self._kept.items()) if selection.takes(kept.letter)]
        for kept in meant:
            del self._kept[kept.letter.sequence]
            self._items[kept.letter.signal] -= kept.letter.items
        return meant
