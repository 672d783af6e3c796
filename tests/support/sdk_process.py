"""An SDK of another language under way, in a process of its own: see `load.*` in `tests/clients`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.process import Process
from tests.support.service import clean_environment

__all__ = ["SdkProcess"]


class SdkProcess(Process):
    """Exports numbered spans one batch after another from entering to leaving, to `endpoint` over `protocol`.

    `command` gets the first number; it prints for each export a line of JSON, and ends when it is terminated.
    `directory` is its own, and made.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        endpoint: str,
        protocol: str,
        *,
        first: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir()
        standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        super().__init__(
            [*command, str(first)], directory, clean_environment(directory) | standard | dict(environment or {})
        )

    @property
    def acknowledged(self) -> set[int]:
        """The numbers of the spans that were taken."""
        return {number for numbers, error in self._exports() if error is None for number in numbers}

    @property
    def exports(self) -> int:
        """How many were taken or given up."""
        return len(self._exports())

    @property
    def given_up(self) -> list[str]:
        """What each export that failed for good failed of."""
        return [error for _, error in self._exports() if error is not None]

    def _exports(self) -> list[tuple[range, str | None]]:
        whole = self.output[: self.output.rfind("\n") + 1]  # it may be writing another
        told = [json.loads(line) for line in whole.splitlines()]
        return [(range(line["first"], line["first"] + line["spans"]), line["error"]) for line in told]

    async def __aenter__(self) -> Self:
        async def sends() -> bool:
            return bool(self.acknowledged)

        await self.begin(sends, "the first export")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                assert await self.terminate() == 0, self.log
        finally:
            self.kill()
