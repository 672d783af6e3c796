"""What can be asked of a queue, and done to its dead letters: in plain values, ready to become JSON."""

from datetime import UTC, datetime
from typing import Any

from app.core.clock import Clock
from app.core.request import ExportRequest, Signal
from app.queue.contract import Queue
from app.queue.letters import DeadLetter, Gone, Moved, Selection

__all__ = ["Desk", "Fields"]

Fields = dict[str, Any]


class Desk:
    """Answers for `queue`; `gone` is told what is purged."""

    def __init__(self, queue: Queue, clock: Clock, storage: str, gone: Gone) -> None:
        self._queue = queue
        self._clock = clock
        self._storage = storage
        self._gone = gone

    def status(self) -> Fields:
        """How much there is of everything."""
        queue, oldest = self._queue, self._queue.oldest_ns()
        return {
            "storage": self._storage,
            "used_bytes": queue.used_bytes,
            "capacity_bytes": queue.capacity_bytes,
            "oldest_seconds": None if oldest is None else self._since(oldest),
            "signals": {
                signal.value: {
                    "queued_items": queue.items(signal),
                    "dead_items": queue.dead.items(signal),
                    "dead_letters": queue.dead.letters(signal),
                }
                for signal in Signal
            },
        }

    async def find(self, selection: Selection, after: int, limit: int) -> list[Fields]:
        """At most `limit` of the letters that are selected, from behind the sequence number `after` on."""
        return [self._fields(letter) for letter in await self._queue.dead.find(selection, after=after, limit=limit)]

    async def body(self, sequence: int) -> ExportRequest | None:
        """What was refused; None where there is no such letter.

        Raises:
            ValueError: it is damaged.
        """
        return await self._queue.dead.read(sequence)

    async def replay(self, selection: Selection) -> Fields:
        return _moved(await self._queue.dead.replay(selection))

    async def purge(self, selection: Selection) -> Fields:
        return _moved(await self._queue.dead.purge(selection, self._gone))

    def _fields(self, letter: DeadLetter) -> Fields:
        notice = letter.notice
        return {
            "sequence": letter.sequence,
            "signal": letter.signal.value,
            "items": letter.items,
            "bytes": letter.size,
            "received": _time(letter.received_ns),
            "refused": _time(notice.refused_ns),
            "age_seconds": self._since(notice.refused_ns),
            "reason": notice.reason,
            "message": notice.message,
        }

    def _since(self, then_ns: int) -> float:
        return round(max(0, self._clock.now_ns() - then_ns) / 1e9, 3)


def _moved(moved: Moved) -> Fields:
    return {"letters": moved.letters, "items": moved.items, "left": moved.left}


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds")
