"""An exporter that gives way to another while attempts are under way: certificates and headers are renewed so."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from app.core.consumer import Consumer
from app.core.request import ExportRequest
from app.settings import ExporterSettings, TlsSettings

__all__ = ["Exporter", "Renewable"]


class Exporter(Consumer, Protocol):
    """The last stage of a chain; holds its connections from entering to leaving."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Renewable:
    """The exporter that `make` makes of the settings in force. One that gave way ends with its last attempt."""

    def __init__(self, make: Callable[[ExporterSettings], Exporter], settings: ExporterSettings) -> None:
        self._make = make
        self._settings = settings
        self._exporter = make(settings)
        self._attempts: dict[Exporter, int] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._exporter.__aenter__()
        self._attempts[self._exporter] = 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._leaving)
        for exporter in list(self._attempts):
            await exporter.__aexit__(kind, error, trace)

    async def prepare(self, settings: ExporterSettings) -> Callable[[], None]:
        """Make the exporter of other settings; what is returned has it take over, and does not fail.

        Where neither they nor files of certificates can be others, nothing changes.

        Raises:
            OSError, ValueError: a file cannot be used.
        """
        if settings == self._settings and settings.tls == TlsSettings():
            return lambda: None
        exporter = self._make(settings)
        await exporter.__aenter__()

        def switch() -> None:
            self._attempts[exporter] = 0
            former, self._exporter, self._settings = self._exporter, exporter, settings
            self._leave(former)

        return switch

    async def consume(self, request: ExportRequest) -> None:
        exporter = self._exporter
        self._attempts[exporter] += 1
        try:
            await exporter.consume(request)
        finally:
            self._attempts[exporter] -= 1
            self._leave(exporter)

    def _leave(self, exporter: Exporter) -> None:
        """End an exporter that gave way and has no attempt under way."""
        if exporter is not self._exporter and not self._attempts[exporter]:
            del self._attempts[exporter]
            task = asyncio.create_task(exporter.__aexit__(None, None, None), name="an exporter that gave way")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
