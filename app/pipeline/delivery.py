"""One batch on its way: what a destination takes of it, and what it refuses for good.

Invariants, each with a test of its name:

- What is taken of a batch that was refused is settled at once, and what is refused alone becomes a dead letter.
- Requests with ids of a wrong length are told from the rest before anything else is tried.
- A request above the bound, or refused as too large, is sent in parts, and settled after the last of them.
- Where we are refused, whatever we send, what was sent is not sent again, and the rest goes back to the queue.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from app.core.consumer import Consumer
from app.core.errors import InvalidData, NotAllowed, PartlyRejected, Refused, TooLarge
from app.core.request import ExportRequest
from app.pipeline.ids import has_wrong_ids
from app.pipeline.ledger import Ledger
from app.pipeline.split import is_divisible, split
from app.queue import Entry, Lease, Queue

__all__ = ["Delivery"]


class Delivery:
    """Brings `lease` to `destination`. Whatever is `open` when it ends was not decided, and is the queue's again."""

    def __init__(self, lease: Lease, queue: Queue, destination: Consumer, ledger: Ledger, max_bytes: int) -> None:
        self.open = [lease]
        self._queue = queue
        self._destination = destination
        self._ledger = ledger
        self._max_bytes = max_bytes

    async def run(self) -> None:
        (lease,) = self.open
        with suppress(NotAllowed):
            if len(lease.request.body) > self._max_bytes:
                await self._send_in_parts(lease, self._max_bytes, None)
            elif (refusal := await self._attempt(lease)) is not None:
                await self._find_the_culprits(lease, refusal)

    async def _attempt(self, lease: Lease) -> Refused | None:
        """Send what is leased; the result is why it was refused, None if it was taken.

        Raises:
            NotAllowed: it is not the data that was refused, so nothing else should be tried.
        """
        try:
            await self._destination.consume(lease.request)
        except PartlyRejected as rejection:
            self.open.remove(lease)
            self._ledger.taken(lease, rejection)
        except NotAllowed as refusal:
            self._give_up(lease, refusal)
            raise
        except Refused as refusal:
            return refusal
        else:
            self.open.remove(lease)
            self._ledger.taken(lease)
        return None

    async def _find_the_culprits(self, lease: Lease, refusal: Refused) -> None:
        if len(lease.entries) == 1:
            await self._refused_alone(lease, refusal)
            return
        suspects = await asyncio.to_thread(_with_wrong_ids, lease)
        if not suspects:
            await self._send_in_halves(self._halve(lease))
            return
        others = [entry for entry in lease.entries if entry not in suspects]
        if others:
            rest, *alone = self._divide(lease, [others, *([entry] for entry in suspects)])
            await self._send_in_halves([rest])
        else:
            alone = self._divide(lease, [[entry] for entry in suspects])
        await self._send_suspects(alone)

    async def _send_in_halves(self, leases: list[Lease]) -> None:
        """Send each, and what is refused in halves, until it is clear whose fault it is."""
        while leases:
            lease = leases.pop(0)
            refusal = await self._attempt(lease)
            if refusal is None:
                continue
            if len(lease.entries) > 1:
                leases[:0] = self._halve(lease)
            else:
                await self._refused_alone(lease, refusal)

    async def _send_suspects(self, leases: list[Lease]) -> None:
        """Send requests with wrong ids one by one, until the destination has shown that it refuses such."""
        shown: Refused | None = None
        for lease in leases:
            if shown is not None:
                self._give_up(lease, InvalidData(f"ids of a wrong length, for which another was refused: {shown}"))
                continue
            refusal = await self._attempt(lease)
            if refusal is not None:
                await self._refused_alone(lease, refusal)
                shown = None if isinstance(refusal, TooLarge) else refusal

    async def _refused_alone(self, lease: Lease, refusal: Refused) -> None:
        if isinstance(refusal, TooLarge) and lease.request.items > 1:
            await self._send_in_parts(lease, len(lease.request.body) // 2, refusal)
        else:
            self._give_up(lease, refusal)

    async def _send_in_parts(self, lease: Lease, max_bytes: int, refusal: Refused | None) -> None:
        """Send a single entry in parts; `refusal` is why, if it was tried as it is."""
        request = lease.request
        if not await asyncio.to_thread(is_divisible, request, max_bytes):
            refusal = refusal or await self._attempt(lease)
            if refusal is not None:
                self._give_up(lease, refusal)
            return
        verdict: Refused | None = None
        rejection: PartlyRejected | None = None
        refused: list[ExportRequest] = []
        waiting = [split(request, max_bytes)]
        while waiting:
            part = await asyncio.to_thread(next, waiting[-1], None)
            if part is None:
                waiting.pop()
                continue
            if isinstance(verdict, NotAllowed):  # we should send no more, and do not know where to go on later
                refused.append(part)
                continue
            try:
                await self._destination.consume(part)
            except PartlyRejected as error:
                before = 0 if rejection is None else rejection.items
                rejection = PartlyRejected(str(error), items=before + min(error.items, part.items))
            except Refused as error:
                half = len(part.body) // 2
                if isinstance(error, TooLarge) and part.items > 1 and await asyncio.to_thread(is_divisible, part, half):
                    waiting.append(split(part, half))
                    continue
                refused.append(part)
                verdict = error if verdict is None or isinstance(error, NotAllowed) else verdict
        self._end_parts(lease, verdict, refused, rejection)

    def _end_parts(
        self,
        lease: Lease,
        verdict: Refused | None,
        refused: list[ExportRequest],
        rejection: PartlyRejected | None,
    ) -> None:
        self.open.remove(lease)
        if verdict is None:
            self._ledger.taken(lease, rejection)
            return
        items = sum(part.items for part in refused)
        remainder = None
        if items < lease.request.items:
            remainder = ExportRequest(lease.request.signal, b"".join([part.body for part in refused]), items)
        self._ledger.refused(lease, verdict, remainder, rejection)
        if isinstance(verdict, NotAllowed):
            raise verdict

    def _give_up(self, lease: Lease, refusal: Refused) -> None:
        self.open.remove(lease)
        self._ledger.refused(lease, refusal)

    def _halve(self, lease: Lease) -> list[Lease]:
        middle = len(lease.entries) // 2
        return self._divide(lease, [lease.entries[:middle], lease.entries[middle:]])

    def _divide(self, lease: Lease, groups: Sequence[list[Entry]]) -> list[Lease]:
        self.open.remove(lease)
        leases = self._queue.divide(lease, groups)
        self.open += leases
        return leases


def _with_wrong_ids(lease: Lease) -> list[Entry]:
    signal, body = lease.request.signal, lease.request.body
    found: list[Entry] = []
    start = 0
    for entry in lease.entries:
        if has_wrong_ids(signal, body, start, start + entry.size):
            found.append(entry)
        start += entry.size
    return found
