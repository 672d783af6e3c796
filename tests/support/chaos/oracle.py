"""Compares what clients were told with what arrived, item by item.

- *lost*: acknowledged, and never arrived. It must be nothing.
- *repeated*: arrived more than once. It needs an explanation: a stretch of time in which something happened after which
  a delivery may be made again, an answer of the destination that was not heard, or a client that sent it again.
- *invented*: arrived, and was never sent, or not as that.

What was not acknowledged may arrive or not.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.core.request import Signal

__all__ = ["Delivery", "Stretch", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request that the destination took; in a sequence of them its place is when."""

    signal: Signal
    numbers: Sequence[int]
    unheard: bool = False
    """Whether the destination took it and then said no, or nothing."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """While so many deliveries to so many had been made, `reason` held; after it what was delivered may be again."""

    reason: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of all that was sent. Numbers of items, or the items' numbers."""

    acknowledged: int
    delivered: int
    """Different items that arrived."""
    unacknowledged: int
    """Different items that arrived although no client heard so."""
    lost: frozenset[int]
    taken: frozenset[int]
    """Acknowledged, and taken away by damage to what was kept of them."""
    repeated: Counter[str]
    """How many times an item arrived again, by what explains it."""
    unexplained: frozenset[int]
    """What arrived more than once and should not have."""
    invented: frozenset[int]

    @property
    def good(self) -> bool:
        return not (self.lost or self.unexplained or self.invented)


def judge(
    *,
    sent: Mapping[int, Signal],
    acknowledged: Collection[int],
    resent: Collection[int],
    deliveries: Sequence[Delivery],
    stretches: Sequence[Stretch],
    damaged: Collection[int] = (),
) -> Verdict:
    """Compare. `damaged` is what was in pages that were destroyed: nothing else may be missing."""
    places: dict[int, list[int]] = {}
    invented = set()
    for place, delivery in enumerate(deliveries):
        for number in delivery.numbers:
            places.setdefault(number, []).append(place)
            if sent.get(number) is not delivery.signal:
                invented.add(number)
    repeated: Counter[str] = Counter()
    unexplained = set()
    for number, times in places.items():
        for before, after in pairwise(times):
            reason = _why(number, before, after, resent, deliveries, stretches)
            if reason is None:
                unexplained.add(number)
            else:
                repeated[reason] += 1
    missing = frozenset(acknowledged) - places.keys()
    return Verdict(
        acknowledged=len(acknowledged),
        delivered=len(places),
        unacknowledged=len(places.keys() - set(acknowledged)),
        lost=missing - set(damaged),
        taken=missing & set(damaged),
        repeated=repeated,
        unexplained=frozenset(unexplained),
        invented=frozenset(invented),
    )


def _why(
    number: int,
    before: int,
    after: int,
    resent: Collection[int],
    deliveries: Sequence[Delivery],
    stretches: Sequence[Stretch],
) -> str | None:
    """What explains that an item arrived at two places in the order of deliveries."""
    if deliveries[before].unheard:
        return "the answer was lost"
    for stretch in stretches:
        if stretch.begin <= after and stretch.end >= before:
            return stretch.reason
    return "its client sent it again" if number in resent else None
