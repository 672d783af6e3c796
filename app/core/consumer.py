"""The one contract between the stages of the service."""

from typing import Protocol

from app.core.request import ExportRequest

__all__ = ["Consumer"]


class Consumer(Protocol):
    """A stage that takes requests."""

    async def consume(self, request: ExportRequest) -> None:
        """Take `request`. To return means "I have it now"; to raise means "you still have it".

        Raises:
            Retryable: not now; the same request may be accepted later.
            Refused: never; sending the same request again is pointless (or, for `PartlyRejected`, harmful).
        """
