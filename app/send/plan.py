"""How much is sent when: decided by numbers and times alone."""

from dataclasses import dataclass
from math import ceil

__all__ = ["LARGEST_REQUEST", "Plan"]

LARGEST_REQUEST = 512
"""Items; what the SDK's batch processors send at once."""

_REQUESTS_PER_SECOND = 10
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Plan:
    """Bounds of a run; None where there is none."""

    count: int | None
    rate: float | None
    duration: float | None

    def size(self, sent: int) -> int:
        """How many items the next request has; 0 when all were sent."""
        per_request = LARGEST_REQUEST
        if self.rate is not None:
            per_request = max(1, min(LARGEST_REQUEST, ceil(self.rate / _REQUESTS_PER_SECOND)))
        if self.duration is not None and self.rate is not None:
            per_request = min(per_request, max(1, int(self.rate * self.duration + _EPSILON) - sent))
        return per_request if self.count is None else min(per_request, self.count - sent)

    def due(self, sent: int) -> float:
        """When the next request goes, in seconds from the start: once its items would have come about."""
        return 0.0 if self.rate is None else (sent + self.size(sent)) / self.rate

    def over(self, sent: int, elapsed: float) -> bool:
        """Whether nothing more is to be sent; one request is in any case."""
        if self.size(sent) == 0 or sent == 0:
            return sent > 0
        return self.duration is not None and max(elapsed, self.due(sent)) > self.duration + _EPSILON

    def progress(self, done: int, elapsed: float) -> float:
        """The part of the run that is done, from 0 to 1."""
        by_count = done / self.count if self.count else 0.0
        by_time = elapsed / self.duration if self.duration else 0.0
        return min(1.0, max(by_count, by_time))
