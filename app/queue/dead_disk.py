"""Dead letters on the disk: counted here, kept by the `Store`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import ParamSpec, Protocol, TypeVar

from app.core.errors import Retryable
from app.core.log import Log
from app.core.request import ExportRequest, Signal
from app.queue.contract import Committed
from app.queue.letters import EVERYTHING, DeadLetter, Gone, Moved, Selection
from app.queue.record import DamagedRecord, unpack
from app.queue.store import Store

__all__ = ["DiskDead"]

P = ParamSpec("P")
T = TypeVar("T")

_log = Log(__name__)
_LETTERS_AT_ONCE = 500
_BYTES_AT_ONCE = 4 << 20  # of what is moved in one commit; a file that is full has its reserve for it


class Moves(Protocol):
    """What the queue does to its dead letters: with the next commit, in one transaction each."""

    def revive(self, letter: DeadLetter, body: bytes, committed: Committed) -> asyncio.Future[None]: ...

    def purge(self, letters: list[DeadLetter]) -> None: ...

    async def committed(self) -> None: ...

    @property
    def last_sequence(self) -> int: ...


class DiskDead:
    """The dead letters of the queue that makes the `moves`."""

    def __init__(self, store: Store, reader: Executor, moves: Moves) -> None:
        self._store = store
        self._reader = reader
        self._moves = moves
        self._items = dict.fromkeys(Signal, 0)
        self._letters = dict.fromkeys(Signal, 0)
        self._moving = asyncio.Lock()
        """Held by who moves letters: none may be moved by two."""

    def arrive(self, signal: Signal, items: int, letters: int = 1) -> None:
        """Count letters that came, or with negative numbers those that went."""
        self._items[signal] += items
        self._letters[signal] += letters

    def items(self, signal: Signal) -> int:
        return self._items[signal]

    def letters(self, signal: Signal) -> int:
        return self._letters[signal]

    async def find(self, selection: Selection = EVERYTHING, *, after: int = 0, limit: int = 1000) -> list[DeadLetter]:
        return await self._in_thread(self._find, selection, after, limit)

    async def read(self, sequence: int) -> ExportRequest | None:
        found = await self._in_thread(self._find, Selection(frozenset({sequence})), 0, 1)
        return await self._request(found[0]) if found else None

    async def replay(self, selection: Selection) -> Moved:
        letters = items = left = 0
        async with self._moving:
            async for chunk in self._chunks(selection):
                outcomes = await asyncio.gather(*(self._revive(letter) for letter in chunk))
                for letter, moved in zip(chunk, outcomes, strict=True):
                    letters += moved
                    items += letter.items if moved else 0
                    left += not moved
        return Moved(letters, items, left)

    async def purge(self, selection: Selection, gone: Gone) -> Moved:
        letters = items = 0
        async with self._moving:
            async for chunk in self._chunks(selection):
                self._moves.purge(chunk)
                for letter in chunk:
                    self.arrive(letter.signal, -letter.items, -1)
                    gone(letter.signal, letter.items)
                    letters += 1
                    items += letter.items
                await self._moves.committed()
        return Moved(letters, items)

    async def _revive(self, letter: DeadLetter) -> bool:
        def moved(items: int) -> None:
            self.arrive(letter.signal, -items, -1)

        try:
            request = await self._request(letter)
            if request is None:
                return False
            await self._moves.revive(letter, request.body, moved)
        except (Retryable, DamagedRecord) as error:
            _log.error(
                "dead_letter_damaged",
                "dead letter %(sequence)d cannot be replayed: %(reason)s",
                sequence=letter.sequence,
                reason=str(error),
            )
            return False
        return True

    async def _request(self, letter: DeadLetter) -> ExportRequest | None:
        found = await self._in_thread(self._store.dead_record, letter.signal, letter.sequence)
        if found is None:
            return None
        record = unpack(letter.signal, memoryview(found))
        return ExportRequest(letter.signal, record.body, record.items)

    async def _chunks(self, selection: Selection) -> AsyncIterator[list[DeadLetter]]:
        """The letters that are there now, few enough at a time to be moved in one commit."""
        await self._moves.committed()
        last, after = self._moves.last_sequence, 0
        while found := await self._in_thread(self._find, selection, after, _LETTERS_AT_ONCE):
            chunk: list[DeadLetter] = []
            size = 0
            for letter in found:
                if letter.sequence > last or (chunk and size + letter.size > _BYTES_AT_ONCE):
                    break
                chunk.append(letter)
                size += letter.size
            if not chunk:
                return
            yield chunk
            after = chunk[-1].sequence

    async def _in_thread(self, function: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        try:
            running = asyncio.get_running_loop().run_in_executor(self._reader, function, *arguments)
        except RuntimeError as error:  # it takes no more work
            raise Retryable("the queue is closed", reason="closing") from error
        return await running

    def _find(self, selection: Selection, after: int, limit: int) -> list[DeadLetter]:
        signals = Signal if selection.signal is None else (selection.signal,)
        found = [letter for signal in signals for letter in self._find_of(signal, selection, after, limit)]
        return sorted(found, key=lambda letter: letter.sequence)[:limit]

    def _find_of(self, signal: Signal, selection: Selection, after: int, limit: int) -> list[DeadLetter]:
        if selection.sequences is not None:
            meant = sorted(number for number in selection.sequences if number > after)
            nearest = [(number, letter) for number in meant for letter in self._store.dead_letters(signal, number, 1)]
            return [letter for number, letter in nearest if letter.sequence == number and selection.takes(letter)]
        found: list[DeadLetter] = []
        while len(found) < limit:
            some = self._store.dead_letters(signal, after + 1, limit)
            found += [letter for letter in some if selection.takes(letter)]
            if len(some) < limit:
                break
            after = some[-1].sequence
        return found[:limit]
