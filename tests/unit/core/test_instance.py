"""What tells that telemetry goes round in circles."""

import re

import pytest

from app.core.errors import NotAllowed
from app.core.instance import Instance
from app.core.request import Signal
from tests.support.clock import FakeClock


def name(number: int) -> str:
    return f"{number:032x}"


def chain(*numbers: int) -> str:
    return ",".join(map(name, numbers))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def instance(clock: FakeClock) -> Instance:
    return Instance(name(0), clock.monotonic)


def test_each_run_has_a_name_of_its_own() -> None:
    assert Instance().name != Instance().name
    assert re.fullmatch("[0-9a-f]{32}", Instance().name)


def test_what_comes_from_clients_is_passed_on_in_our_name_alone(instance: Instance) -> None:
    assert instance.names(Signal.TRACES) == name(0)


def test_what_is_passed_on_names_this_instance_first_and_then_the_latest(instance: Instance) -> None:
    instance.came_from(Signal.TRACES, chain(1, 2))
    instance.came_from(Signal.TRACES, chain(3))
    assert instance.names(Signal.TRACES) == chain(0, 3, 1, 2)
    instance.came_from(Signal.TRACES, chain(2))
    assert instance.names(Signal.TRACES) == chain(0, 2, 3, 1)


def test_a_signal_knows_its_own_way_alone(instance: Instance) -> None:
    instance.came_from(Signal.TRACES, chain(1))
    assert instance.names(Signal.LOGS) == name(0)


@pytest.mark.parametrize("names", [chain(0), chain(1, 0), chain(2, 1, 0), f" {name(0)} ", chain(*range(40, -1, -1))])
def test_a_request_that_names_this_instance_is_refused_and_leaves_nothing_behind(
    instance: Instance, names: str
) -> None:
    with pytest.raises(NotAllowed) as refusal:
        instance.came_from(Signal.TRACES, names)
    assert refusal.value.reason == "loop"
    assert instance.names(Signal.TRACES) == name(0)


def test_a_circle_of_three_is_seen_where_it_closes() -> None:
    first, second, third = Instance(), Instance(), Instance()
    second.came_from(Signal.TRACES, first.names(Signal.TRACES))
    third.came_from(Signal.TRACES, second.names(Signal.TRACES))
    with pytest.raises(NotAllowed):
        first.came_from(Signal.TRACES, third.names(Signal.TRACES))


def test_what_is_passed_on_names_a_bounded_number_of_instances(instance: Instance) -> None:
    for number in range(1, 100):
        instance.came_from(Signal.TRACES, chain(number))
    assert instance.names(Signal.TRACES) == chain(0, *range(99, 84, -1))
    instance.came_from(Signal.TRACES, chain(*range(200, 300)))
    assert instance.names(Signal.TRACES) == chain(0, *range(200, 215))


async def test_who_was_not_heard_of_for_ten_minutes_is_forgotten(instance: Instance, clock: FakeClock) -> None:
    instance.came_from(Signal.TRACES, chain(1))
    await clock.advance(300)
    instance.came_from(Signal.TRACES, chain(2))
    await clock.advance(300)
    assert instance.names(Signal.TRACES) == chain(0, 2, 1)
    await clock.advance(1)
    assert instance.names(Signal.TRACES) == chain(0, 2)


@pytest.mark.parametrize("names", ["", ",", "me", name(1)[:-1], name(10).upper(), "\xff" * 32, f"{'g' * 32},;"])
def test_what_is_not_the_name_of_an_instance_is_left_out(instance: Instance, names: str) -> None:
    instance.came_from(Signal.TRACES, names)
    assert instance.names(Signal.TRACES) == name(0)
