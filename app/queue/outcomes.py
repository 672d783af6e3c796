"""What became of each appended request, for clients that are answered only then."""

import asyncio
from collections.abc import Iterable

from app.core.errors import OtlpError
from app.core.request import Signal

__all__ = ["Outcomes"]


class Outcomes:
    """Promises by signal and sequence number, kept when the destination has spoken."""

    def __init__(self) -> None:
        self._given_up: OtlpError | None = None
        self._promises: dict[tuple[Signal, int], asyncio.Future[OtlpError | None]] = {}

    def expect(self, signal: Signal, sequence: int) -> None:
        self._promises[signal, sequence] = asyncio.get_running_loop().create_future()

    def forget(self, signal: Signal, sequence: int) -> None:
        self._promises.pop((signal, sequence), None)

    async def wait(self, signal: Signal, sequence: int) -> None:
        """Return when the request was delivered; raises what came between, if something did."""
        promise = self._promises[signal, sequence]
        try:
            error = self._given_up or await promise
        finally:
            self.forget(signal, sequence)
        if error is not None:
            raise error

    def settle(self, signal: Signal, sequences: Iterable[int], error: OtlpError | None) -> None:
        for sequence in sequences:
            promise = self._promises.get((signal, sequence))
            if promise is not None and not promise.done():
                promise.set_result(error)

    def abandon(self, error: OtlpError) -> None:
        """Raise `error` for whoever waits, from now on."""
        self._given_up = error
        for promise in self._promises.values():
            if not promise.done():
                promise.set_result(error)
