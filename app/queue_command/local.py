"""The queue in a directory that no service holds, under its lock."""

from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from app.core.clock import SystemClock
from app.core.errors import Retryable
from app.core.request import ExportRequest
from app.queue import Desk, DiskQueue, LmdbStore, QueueError
from app.queue.desk import Fields
from app.queue.letters import Selection
from app.queue_command.desk import NoAnswerError
from app.settings import QueueSettings
from app.telemetry.metrics import Metrics

__all__ = ["Local"]


class Local:
    """Opens the queue of `settings` from entering to leaving, as `otlp-service serve` would, but delivers nothing."""

    def __init__(self, settings: QueueSettings) -> None:
        self._settings = settings
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        settings, clock = self._settings, SystemClock()
        if not (settings.directory / "data.mdb").exists():
            raise NoAnswerError(f"queue.directory: there is no queue in {settings.directory}; see --directory")
        queue = DiskQueue(
            LmdbStore(Path(settings.directory), settings.max_bytes),
            max_bytes=settings.max_bytes,
            memory_bytes=0,
            patience=0,
            clock=clock,
            metrics=Metrics(""),
        )
        try:
            await self._exit.enter_async_context(queue)
        except QueueError as error:
            raise NoAnswerError(str(error)) from error
        self._desk = Desk(queue, clock, "disk", lambda *_: None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def status(self) -> Fields:
        return self._desk.status()

    async def find(self, selection: Selection, limit: int) -> list[Fields]:
        letters = await self._desk.find(selection, 0, limit)
        if selection.sequences is not None and len(letters) < len(selection.sequences):
            missing = selection.sequences.difference(letter["sequence"] for letter in letters)
            raise NoAnswerError(f"there is no dead letter {min(missing)}")
        return letters

    async def body(self, sequence: int) -> ExportRequest:
        try:
            request = await self._desk.body(sequence)
        except ValueError as error:
            raise NoAnswerError(f"dead letter {sequence} is damaged: {error}") from error
        if request is None:
            raise NoAnswerError(f"there is no dead letter {sequence}")
        return request

    async def replay(self, selection: Selection) -> Fields:
        return await self._moving(self._desk.replay(selection))

    async def purge(self, selection: Selection) -> Fields:
        return await self._moving(self._desk.purge(selection))

    async def _moving(self, moving: Awaitable[Fields]) -> Fields:
        try:
            return await moving
        except Retryable as error:
            raise NoAnswerError(str(error)) from error
