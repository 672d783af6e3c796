"""What destinations do: go away, hang, reset, refuse, take a part, and speak something else."""

from itertools import cycle
from typing import TYPE_CHECKING, Final

import grpc

from tests.support.backend import Backend
from tests.support.chaos.clients import Seen
from tests.support.chaos.fault import Fault
from tests.support.chaos.numbered import numbers
from tests.support.exchange import (
    Answer,
    Close,
    Delay,
    Grpc,
    Hang,
    Http,
    Partial,
    Received,
    Reset,
    ResetStream,
    Success,
    Unheard,
)
from tests.support.patience import PATIENCE
from tests.support.scrape import Scrape

if TYPE_CHECKING:
    from tests.support.chaos.laboratory import Laboratory

__all__ = ["Away", "EveryCode", "HalfTaken", "Hanging", "Resetting", "Slow", "Swapped", "TakenUnheard"]

_HTTP_CODES: Final = (400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 429, 431, 451, 500, 501, 502, 503, 504, 505)
_ATTEMPTS: Final = "otlp_exporter_request_duration_seconds_count"
_ATTEMPT_SECONDS: Final = "otlp_exporter_request_duration_seconds_sum"


class Away(Fault):
    """For longer than what waits fits in memory."""

    name = "destination away"
    notes = frozenset({"export"})
    touches = frozenset({"destination"})
    repeats = "the destination went while it answered"

    async def inflict(self, lab: "Laboratory") -> None:
        await lab.backend.stop()

    async def shows(self, lab: "Laboratory") -> None:
        acknowledged = len(lab.clients.acknowledged)
        await lab.clients.until(
            lambda clients: len(clients.acknowledged) - acknowledged > lab.more_than_memory, "more than memory holds"
        )
        await lab.kubelet.until_noted("export of")

    async def relieve(self, lab: "Laboratory") -> None:
        await lab.backend.start()


class _Answering(Fault):
    """The destination answers something else for a while."""

    touches = frozenset({"destination"})
    requests = 6
    """How many times before it shows."""
    noted = True
    """Whether health tells of it."""

    def answer(self, received: Received, /) -> Answer:
        raise NotImplementedError

    async def inflict(self, lab: "Laboratory") -> None:
        lab.backend.otherwise = self.answer

    async def shows(self, lab: "Laboratory") -> None:
        so_far = len(lab.backend.requests)
        await lab.backend.received(lambda b: len(b.requests) >= so_far + self.requests, timeout=PATIENCE)
        await lab.clients.until_more(3, Seen.TAKEN)
        if self.noted:
            await lab.kubelet.until_noted("export of")

    async def relieve(self, lab: "Laboratory") -> None:
        lab.backend.otherwise = Success()


class Slow(_Answering):
    name = "destination slow"
    noted = False
    seconds: Final = 0.15

    def answer(self, _: Received, /) -> Answer:
        return Delay(self.seconds)

    async def shows(self, lab: "Laboratory") -> None:
        await super().shows(lab)
        before, several = lab.kubelet.scrape, 6

        def slow(scrape: Scrape) -> bool:
            attempts, seconds = (scrape.total(name) - before.total(name) for name in (_ATTEMPTS, _ATTEMPT_SECONDS))
            return attempts >= several and seconds / attempts > self.seconds * 0.9

        await lab.kubelet.until_scraped(slow, "exports take as long as the destination")


class Hanging(_Answering):
    name = "destination hangs"
    notes = frozenset({"export"})

    def answer(self, _: Received, /) -> Answer:
        return Hang()


class Resetting(_Answering):
    name = "destination resets"
    notes = frozenset({"export"})

    def __init__(self) -> None:
        self._http: cycle[Answer] = cycle((Reset(), Close()))
        self._grpc: cycle[Answer] = cycle((Reset(), ResetStream(), Close()))

    def prepare(self, lab: "Laboratory") -> None:
        super().prepare(lab)
        if lab.protocol == "grpc":  # which has many calls on a connection
            self.repeats = "the connection was reset under an answer"

    def answer(self, received: Received, /) -> Answer:
        return next(self._http if received.protocol == "http" else self._grpc)


class TakenUnheard(_Answering):
    name = "destination takes and resets"
    notes = frozenset({"export"})

    def answer(self, _: Received, /) -> Answer:
        return Unheard()


class EveryCode(_Answering):
    """What is refused for good is a dead letter then, which the laboratory replays at the end."""

    name = "destination refuses with every code"
    notes = frozenset({"export", "dead"})
    requests = len(_HTTP_CODES)

    def __init__(self) -> None:
        self._http = cycle(_HTTP_CODES)
        self._grpc = cycle(code for code in grpc.StatusCode if code is not grpc.StatusCode.OK)

    async def shows(self, lab: "Laboratory") -> None:
        await super().shows(lab)
        await lab.kubelet.until_noted("dead letters")

    def answer(self, received: Received, /) -> Answer:
        return Http(next(self._http)) if received.protocol == "http" else Grpc(next(self._grpc), "no")


class HalfTaken(_Answering):
    """What it rejects is its own decision; it was handed over all the same."""

    name = "destination takes half"
    noted = False

    def prepare(self, lab: "Laboratory") -> None:
        super().prepare(lab)
        self._rejected = _rejected(lab.kubelet.scrape)

    async def shows(self, lab: "Laboratory") -> None:
        await super().shows(lab)
        await lab.kubelet.until_scraped(lambda scrape: _rejected(scrape) > self._rejected, "items that were rejected")

    def answer(self, received: Received, /) -> Answer:
        return Partial(len(numbers(received.signal, received.body)) // 2, "only a half")


def _rejected(scrape: Scrape) -> float:
    return scrape.total("otlp_exporter_dropped_items_total", reason="rejected")


class Swapped(Fault):
    """HTTP is answered in gRPC and the other way round."""

    name = "destination's ports swapped"
    notes = frozenset({"export"})
    touches = frozenset({"destination"})
    repeats = "the destination went while it answered"

    async def inflict(self, lab: "Laboratory") -> None:
        await lab.backend.stop()
        self._other = Backend(http_port=lab.backend.grpc_port, grpc_port=lab.backend.http_port)
        await self._other.start()

    async def shows(self, lab: "Laboratory") -> None:
        await lab.clients.until_more(30, Seen.TAKEN)
        await lab.kubelet.until_noted("export of")

    async def relieve(self, lab: "Laboratory") -> None:
        await self._other.stop()
        assert not self._other.taken
        await lab.backend.start()
