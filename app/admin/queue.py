"""The queue on the admin port: how full it is, and what to do with its dead letters.

GET  /queue                        how much there is of everything
GET  /queue/dead                   the dead letters, a page at a time
GET  /queue/dead/{sequence}        one of them
GET  /queue/dead/{sequence}/body   what was refused, as protobuf        (from the machine itself, or with an API key)
POST /queue/dead/replay            move letters back to the queue       (as above)
POST /queue/dead/purge             delete letters                       (as above)
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Body, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from app.admin.loopback import only_from_here_or_with_a_key
from app.core.errors import Retryable
from app.core.request import Signal
from app.queue.contract import QueueError
from app.queue.desk import Desk, Fields
from app.queue.letters import Selection
from app.receivers.auth import Doorkeeper

__all__ = ["LARGEST_PAGE", "queue_routes"]

LARGEST_PAGE = 1000
"""Letters in one answer."""

T = TypeVar("T")


class Choice(BaseModel):
    """Which letters are meant: those for which all holds that is given, and with `all` every one."""

    model_config = ConfigDict(extra="forbid")

    sequences: list[int] | None = Field(None, description="By their numbers.")
    signal: Signal | None = None
    reason: str | None = None
    all: bool = False

    @model_validator(mode="after")
    def _something(self) -> "Choice":
        given = (self.sequences, self.signal, self.reason)
        if self.all == any(value is not None for value in given):
            raise ValueError("name sequences, a signal or a reason, or else all")
        return self

    def selection(self) -> Selection:
        sequences = None if self.sequences is None else frozenset(self.sequences)
        return Selection(sequences, self.signal, self.reason)


def queue_routes(desk: Desk, doorkeeper: Doorkeeper) -> APIRouter:
    """The routes above. All run on the event loop, whose turns keep the figures right."""
    routes = APIRouter(prefix="/queue", tags=["queue"])
    here = [Depends(only_from_here_or_with_a_key(doorkeeper))]

    @routes.get("")
    async def status() -> Fields:
        return desk.status()

    @routes.get("/dead")
    async def find(
        signal: Signal | None = None,
        reason: str | None = None,
        after: Annotated[int, Query(ge=0, description="The last sequence number of the page before.")] = 0,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
    ) -> Fields:
        letters = await _asked(lambda: desk.find(Selection(signal=signal, reason=reason), after, limit))
        return {"letters": letters}

    @routes.get("/dead/{sequence}")
    async def one(sequence: int) -> Fields:
        letters = await _asked(lambda: desk.find(Selection(frozenset({sequence})), 0, 1))
        if not letters:
            raise _unknown(sequence)
        return letters[0]

    @routes.get("/dead/{sequence}/body", response_class=Response, dependencies=here)
    async def body(sequence: int) -> Response:
        try:
            request = await _asked(lambda: desk.body(sequence))
        except ValueError as error:
            raise HTTPException(410, f"dead letter {sequence} is damaged: {error}") from error
        if request is None:
            raise _unknown(sequence)
        return Response(request.body, media_type="application/x-protobuf")

    @routes.post("/dead/replay", dependencies=here)
    async def replay(choice: Annotated[Choice, Body()]) -> Fields:
        return await _asked(lambda: desk.replay(choice.selection()))

    @routes.post("/dead/purge", dependencies=here)
    async def purge(choice: Annotated[Choice, Body()]) -> Fields:
        return await _asked(lambda: desk.purge(choice.selection()))

    return routes


async def _asked(question: Callable[[], Awaitable[T]]) -> T:
    try:
        return await question()
    except (Retryable, QueueError) as error:  # it starts, ends, or its disk failed
        raise HTTPException(503, str(error)) from error


def _unknown(sequence: int) -> HTTPException:
    return HTTPException(404, f"there is no dead letter {sequence}")
