"""What a service's metrics showed for a while, from one scrape to the next, whichever process answered."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from app.core.request import Signal
from tests.support.scrape import Scrape

__all__ = ["Figures"]

_REFUSED: Final = "otlp_receiver_refused_items_total"
_ATTEMPTS: Final = "otlp_exporter_requests_total"
_DROPPED: Final = "otlp_exporter_dropped_items_total"
_RECOVERED: Final = "otlp_queue_recovered_items_total"
_DAY: Final = 86_400
_SHOWN: Final = 6
"""So many codes of a counter, the highest first; then how many others there are."""


@dataclass(slots=True)
class Figures:
    """Items, but for the attempts to export and the age in seconds."""

    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    attempts: Counter[str] = field(default_factory=Counter)
    """By code."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""
    recovered: int = 0
    waiting: int = 0
    """The most that waited or were in flight."""
    oldest: float = 0.0
    """How old the oldest of them was at most."""
    dead: int = 0
    """The most dead letters."""

    def see(self, before: Scrape, now: Scrape) -> None:
        """Take in a scrape, with the one before of the same process; that is empty where there is none."""
        self.refused += _grown(before, now, _REFUSED, "reason")
        self.attempts += _grown(before, now, _ATTEMPTS, "code")
        self.dropped += _grown(before, now, _DROPPED, "reason")
        self.recovered += round(now.total(_RECOVERED) - before.total(_RECOVERED))
        books = [now.books(signal) for signal in Signal]
        self.waiting = max(self.waiting, sum(book.queued for book in books))
        self.dead = max(self.dead, sum(book.dead for book in books))
        self.oldest = max(self.oldest, now.total("otlp_queue_oldest_age_seconds"))

    def merge(self, other: "Figures") -> None:
        """Add those of another time."""
        self.refused += other.refused
        self.attempts += other.attempts
        self.dropped += other.dropped
        self.recovered += other.recovered
        self.waiting = max(self.waiting, other.waiting)
        self.oldest = max(self.oldest, other.oldest)
        self.dead = max(self.dead, other.dead)

    def cells(self) -> list[str]:
        """Return four cells of a table: refused, exported, waiting, and what else became of items."""
        rest = {
            "recovered": self.recovered,
            "dead": self.dead,
            **{f"dropped, {reason}": items for reason, items in sorted(self.dropped.items())},
        }
        return [
            _listed(self.refused) or "0",
            _listed(self.attempts) or "0",
            f"{self.waiting}, {_age(self.oldest)}",
            ", ".join(f"{what} {items}" for what, items in rest.items() if items) or "nothing",
        ]


def _grown(before: Scrape, now: Scrape, name: str, label: str) -> Counter[str]:
    """By how much a counter has grown, by the values of a label."""
    return _by(now, name, label) - _by(before, name, label)


def _by(scrape: Scrape, name: str, label: str) -> Counter[str]:
    values: Counter[str] = Counter()
    for (own, pairs), value in scrape.items():
        if own == name:
            values[dict(pairs)[label]] += round(value)
    return values


def _listed(counter: Counter[str]) -> str:
    listed = [f"{what} {times}" for what, times in counter.most_common(_SHOWN)]
    others = counter.keys() - dict(counter.most_common(_SHOWN)).keys()
    return ", ".join([*listed, *([f"{len(others)} others {sum(counter[what] for what in others)}"] if others else [])])


def _age(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _DAY else f"{seconds / _DAY:.0f} days"
