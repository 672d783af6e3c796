"""How much is sent when."""

import pytest

from app.send.plan import LARGEST_REQUEST, Plan


def requests(plan: Plan, taken_in: float = 0.0) -> list[tuple[float, int]]:
    """When each request would go, and with how many items, where each takes so long."""
    sent, now, story = 0, 0.0, []
    while not plan.over(sent, now):
        now = max(now, plan.due(sent))
        items = plan.size(sent)
        story.append((round(now, 6), items))
        sent += items
        now += taken_in
    return story


def test_without_a_rate_items_go_in_the_largest_requests_at_once() -> None:
    assert requests(Plan(count=1200, rate=None, duration=None)) == [
        (0, LARGEST_REQUEST),
        (0, LARGEST_REQUEST),
        (0, 176),
    ]


def test_a_rate_is_kept_in_ten_requests_a_second() -> None:
    story = requests(Plan(count=100, rate=50, duration=None))
    assert story[:3] == [(0.1, 5), (0.2, 5), (0.3, 5)]
    assert (story[-1][0], sum(items for _, items in story)) == (2.0, 100)


def test_a_slow_rate_has_one_item_in_a_request_and_a_fast_one_the_largest() -> None:
    assert requests(Plan(count=3, rate=0.5, duration=None)) == [(2, 1), (4, 1), (6, 1)]
    assert requests(Plan(count=1024, rate=51_200, duration=None)) == [(0.01, 512), (0.02, 512)]


def test_what_was_late_is_caught_up_with() -> None:
    story = requests(Plan(count=10, rate=10, duration=None), taken_in=0.5)
    assert story[-1] == (4.6, 1)
    assert len(story) == 10


@pytest.mark.parametrize(
    ("rate", "duration", "total"), [(10, 1, 10), (7, 1, 7), (200, 2, 400), (3, 1.5, 4), (0.1, 10, 1), (1000, 0.3, 300)]
)
def test_a_rate_for_a_time_is_so_many_items(rate: float, duration: float, total: int) -> None:
    story = requests(Plan(count=None, rate=rate, duration=duration))
    assert sum(items for _, items in story) == total
    assert story[-1][0] <= duration + 1e-6


def test_a_time_without_a_rate_is_as_many_requests_as_there_is_time_for() -> None:
    assert len(requests(Plan(count=None, rate=None, duration=1), taken_in=0.25)) == 5


def test_one_request_is_sent_however_late_it_is() -> None:
    assert not Plan(count=None, rate=10, duration=1).over(0, 60)
    assert Plan(count=None, rate=10, duration=1).over(1, 60)


def test_the_first_bound_that_is_reached_ends_it() -> None:
    assert requests(Plan(count=5, rate=10, duration=60)) == [(0.1, 1), (0.2, 1), (0.3, 1), (0.4, 1), (0.5, 1)]
    assert len(requests(Plan(count=1000, rate=10, duration=1))) == 10


def test_the_progress_is_that_of_the_bound_which_is_nearer() -> None:
    plan = Plan(count=100, rate=None, duration=10)
    assert plan.progress(0, 0) == 0
    assert plan.progress(50, 1) == 0.5
    assert plan.progress(50, 9) == 0.9
    assert plan.progress(100, 30) == 1
    assert Plan(count=None, rate=None, duration=None).progress(5, 5) == 0
