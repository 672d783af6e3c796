"""What the commands need of whoever answers for the queue: the service, or the queue itself when none runs."""

from typing import Protocol

from app.core.request import ExportRequest
from app.queue.desk import Fields
from app.queue.letters import Selection

__all__ = ["Answers", "NoAnswerError"]


class NoAnswerError(Exception):
    """The question was not answered; says why, and what to do."""


class Answers(Protocol):
    """Every method raises `NoAnswerError` where there is no answer."""

    async def status(self) -> Fields:
        """How much there is of everything."""

    async def find(self, selection: Selection, limit: int) -> list[Fields]:
        """At most `limit` of the letters that are selected."""

    async def body(self, sequence: int) -> ExportRequest:
        """What was refused."""

    async def replay(self, selection: Selection) -> Fields:
        """Move letters back to the queue."""

    async def purge(self, selection: Selection) -> Fields:
        """Delete letters."""
