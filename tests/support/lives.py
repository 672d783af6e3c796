"""Whether what arrived more than once has a reason to: a service that ended before it had noted a delivery."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from app.core.instance import HEADER
from tests.support.exchange import Received
from tests.support.load import identities

__all__ = ["UNDER_WAY", "unexplained"]

UNDER_WAY = 20
"""How many of a life's last deliveries may not have been noted: ten are under way, and ten more wait for a commit."""


def unexplained(taken: Sequence[Received], under_way: int = UNDER_WAY) -> set[int]:
    """The numbers of the spans that arrived again though no end of the service explains it.

    A life of the service is known by the name in its requests. Nothing arrives twice from one life, and what arrives
    from a later one too was among the last `under_way` requests of the one before.

    Args:
        taken: trace requests, in the order of their arrival.
        under_way: how many of a life's last deliveries may not have been noted.
    """
    lives = [request.headers[HEADER].partition(",")[0] for request in taken]
    left = _until_the_end(lives)
    places: dict[int, list[int]] = {}
    for place, request in enumerate(taken):
        for number in identities([request.body]):
            places.setdefault(number, []).append(place)
    return {
        number
        for number, found in places.items()
        for before, after in pairwise(found)
        if lives[before] == lives[after] or left[before] > under_way
    }


def _until_the_end(lives: Sequence[str]) -> list[int]:
    """How many requests of the same life came from each on, itself included."""
    so_far, all_of_them = Counter[str](), Counter(lives)
    left = []
    for life in lives:
        left.append(all_of_them[life] - so_far[life])
        so_far[life] += 1
    return left
