"""What has a reason to arrive more than once, and what has none."""

from collections.abc import Iterable

from app.core.instance import HEADER
from app.core.request import Signal
from tests.support.exchange import Received
from tests.support.lives import unexplained
from tests.support.load import spans_request


def taken(life: str, *numbers: int) -> Received:
    body = b"".join(spans_request(number, 1) for number in numbers)
    return Received(Signal.TRACES, "http", body, body, {HEADER: f"{life},somebody-else"}, "127.0.0.1:1")


def later_ones(life: str, numbers: Iterable[int]) -> list[Received]:
    return [taken(life, number) for number in numbers]


def test_what_arrives_once_needs_no_reason() -> None:
    assert unexplained([taken("first", 1, 2), taken("second", 3)]) == set()


def test_an_end_explains_that_what_came_last_comes_again_from_a_later_life() -> None:
    assert unexplained([taken("first", 1, 2), taken("first", 3), taken("second", 1, 2, 3)]) == set()


def test_nothing_explains_that_one_life_delivers_twice() -> None:
    assert unexplained([taken("first", 1, 2), taken("first", 2, 3)]) == {2}
    assert unexplained([taken("first", 1, 1)]) == {1}


def test_an_end_does_not_explain_what_was_delivered_long_before_it() -> None:
    long_ago = [taken("first", 1), *later_ones("first", range(2, 5)), taken("second", 1)]
    assert unexplained(long_ago, under_way=4) == set()
    assert unexplained(long_ago, under_way=3) == {1}
