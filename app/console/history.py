"""The last hour in samples of ten seconds, and the last seconds in those of one."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from app.console.figures import Change, Sample

__all__ = ["POINT_SECONDS", "History", "Point"]

POINT_SECONDS = 10.0
_POINTS = 360
_RECENT_SECONDS = 10.0
"""Over which rates are told."""


@dataclass(frozen=True, slots=True)
class Point:
    """What charts show of ten seconds."""

    time_ns: int
    fill: float
    """Share of the queue that is taken."""
    oldest_seconds: float
    arrived: float
    """Items a second that were accepted …"""
    left: float
    """… and that were delivered."""


class History:
    """Keeps what charts and rates are made of; 360 points and at most a dozen samples."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=_POINTS)
        self._recent: deque[Sample] = deque(maxlen=30)
        self._pointed: Sample | None = None

    @property
    def points(self) -> Sequence[Point]:
        """The oldest first."""
        return self._points

    def add(self, sample: Sample) -> None:
        """Note a sample; makes a point of it when one is due."""
        recent = self._recent
        recent.append(sample)
        # What lies before the window is needed no more, but for the one that it begins with.
        while len(recent) > 2 and sample.monotonic - recent[1].monotonic >= _RECENT_SECONDS:
            recent.popleft()
        if self._pointed is None:
            self._pointed = sample
        # Half a second early is on time: whoever calls this every second is not exact.
        elif sample.monotonic - self._pointed.monotonic >= POINT_SECONDS - 0.5:
            change = Change(self._pointed, sample)
            self._pointed = sample
            self._points.append(
                Point(
                    sample.time_ns,
                    sample.used_bytes / sample.capacity_bytes if sample.capacity_bytes else 0.0,
                    sample.oldest_seconds,
                    change.rate("accepted"),
                    change.rate("sent"),
                )
            )

    @property
    def change(self) -> Change | None:
        """What happened in the last seconds; None before the second sample."""
        return Change(self._recent[0], self._recent[-1]) if len(self._recent) > 1 else None

    @property
    def latest(self) -> Sample | None:
        return self._recent[-1] if self._recent else None
