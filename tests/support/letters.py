"""Dead letters, for tests: what is buried is written a moment later."""

import asyncio

from app.queue import Queue
from app.queue.letters import EVERYTHING, DeadLetter, Selection
from tests.support.patience import PATIENCE

__all__ = ["letters"]


async def letters(queue: Queue, number: int, selection: Selection = EVERYTHING) -> list[DeadLetter]:
    """The dead letters of `queue`, as soon as there are `number` of them."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await queue.dead.find(selection, limit=number + 1)) != number:  # noqa: ASYNC110 - as in until
            await asyncio.sleep(0.001)
    return found
