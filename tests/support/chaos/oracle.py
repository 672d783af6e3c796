"""Compares what clients were told with what arrived, item by item.

- *lost*: acknowledged, and never arrived. It must be nothing.
- *repeated*: arrived more than once. It needs an explanation: a stretch of time in which something happened to the very
  delivery that was not the last, an answer of the destination that was not heard, or a client that sent it again.
- *invented*: arrived, and was never sent, or as another signal.
- *altered*: arrived, but not as it was sent.

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
    """A request that the destination took."""

    signal: Signal
    numbers: Sequence[int]
    at: float
    """When it came, in seconds."""
    altered: Sequence[int] = ()
    """Those of them that are not as they were sent."""
    unheard: bool = False
    """Whether the destination took it and then said no, or nothing."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `begin` to `end`, in seconds, `reason` held: what was delivered then may be delivered again.

    So may what came up to `under_way` seconds before: its answer need not have been heard, nor that be on the disk.
    """

    reason: str
    begin: float
    end: float
    under_way: float

    def explains(self, delivery: Delivery) -> bool:
        """Whether `delivery` may have been in vain."""
        return self.begin - self.under_way <= delivery.at <= self.end


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
    unexplained: Mapping[int, tuple[float, float]]
    """What arrived more than once and should not have, and when: the first of such a pair of deliveries."""
    invented: frozenset[int]
    altered: frozenset[int]

    @property
    def good(self) -> bool:
        return not (self.lost or self.unexplained or self.invented or self.altered)


def judge(
    *,
    sent: Mapping[int, Signal],
    acknowledged: Collection[int],
    resent: Mapping[int, int],
    deliveries: Sequence[Delivery],
    stretches: Sequence[Stretch],
    damaged: Collection[int] = (),
) -> Verdict:
    """Compare. Deliveries are in order; `resent` is how many times each number was sent beyond the first.

    `damaged` is what was in pages that were destroyed: nothing else may be missing.
    """
    places: dict[int, list[int]] = {}
    invented = set()
    for place, delivery in enumerate(deliveries):
        for number in delivery.numbers:
            places.setdefault(number, []).append(place)
            if sent.get(number) is not delivery.signal:
                invented.add(number)
    repeated: Counter[str] = Counter()
    unexplained: dict[int, tuple[float, float]] = {}
    for number, places_of_it in places.items():
        copies = 1 + resent.get(number, 0)
        settled = 1  # the last
        for before, after in pairwise(places_of_it):
            if reason := _why(deliveries[before], stretches):
                repeated[reason] += 1
                continue
            settled += 1
            if settled <= copies:
                repeated["its client sent it again"] += 1
            else:
                unexplained.setdefault(number, (deliveries[before].at, deliveries[after].at))
        place, times = Counter(places_of_it).most_common(1)[0]
        if times > copies:  # in one delivery, which is none that was made again
            unexplained.setdefault(number, (deliveries[place].at, deliveries[place].at))
    missing = frozenset(acknowledged) - places.keys()
    return Verdict(
        acknowledged=len(acknowledged),
        delivered=len(places),
        unacknowledged=len(places.keys() - set(acknowledged)),
        lost=missing - set(damaged),
        taken=missing & set(damaged),
        repeated=repeated,
        unexplained=unexplained,
        invented=frozenset(invented),
        altered=frozenset(number for delivery in deliveries for number in delivery.altered),
    )


def _why(delivery: Delivery, stretches: Sequence[Stretch]) -> str | None:
    """What explains that what was in `delivery` was delivered again later."""
    if delivery.unheard:
        return "the answer was lost"
    return next((stretch.reason for stretch in stretches if stretch.explains(delivery)), None)
