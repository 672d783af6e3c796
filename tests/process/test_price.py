"""No path that every request takes becomes dearer unnoticed: each is compared with fixed work in the same process.

The figures are those of `python -m tests.support.price`; who makes a path cheaper lowers them, or they guard nothing.
"""

import sys

import pytest

from tests.support.price import prices

pytestmark = pytest.mark.alone

_MARGIN = 1.3
"""Beside much other work one run of fifty is a quarter above the rest; what costs half as much again must not pass."""

_MORE_TIMES = 2
"""What really became dearer is so each time."""

_JSON = {  # beside protobuf's json_format
    "a request of a hundred spans in JSON": 0.092,
    "a request of a hundred data points in JSON": 0.118,
    "a request of a hundred records in JSON": 0.105,
}
_PRICES = {
    (3, 11): {
        "a request of one span at the door": 1.31,
        "a request of a hundred spans at the door": 1.7,
        **_JSON,
        "an append to the queue": 0.95,
        "an append to the queue while somebody looks": 0.97,
        "a merge": 0.72,
    },
    (3, 13): {
        "a request of one span at the door": 1.82,
        "a request of a hundred spans at the door": 1.65,
        **_JSON,
        "an append to the queue": 1.34,
        "an append to the queue while somebody looks": 1.38,
        "a merge": 1.28,
    },
}
_EXPECTED = _PRICES.get(sys.version_info[:2], _PRICES[3, 13])


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    found = prices()
    for _ in range(_MORE_TIMES):
        if all(found[path] < _MARGIN * expected for path, expected in _EXPECTED.items()):
            break
        again = prices()
        found = {path: min(price, again[path]) for path, price in found.items()}
    return found


@pytest.mark.parametrize("path", _EXPECTED)
def test_a_path_costs_what_it_did(path: str, measured: dict[str, float]) -> None:
    expected = _EXPECTED[path]
    assert measured[path] < _MARGIN * expected, f"{path} costs {measured[path] / expected:.2f} times what it did"
