"""Who waits for what has not come gives way to who needs the room, if it has waited for a while."""

import asyncio

import pytest

from app.core.errors import Retryable
from app.memory import Coming
from tests.support.clock import FakeClock, turns


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def coming(clock: FakeClock) -> Coming:
    return Coming(clock.monotonic)


async def wait(coming: Coming, what: asyncio.Event, seconds: float | None = None) -> None:
    async with coming.wait(seconds):
        await what.wait()


async def test_nobody_is_hurried_who_has_only_just_begun(coming: Coming, clock: FakeClock) -> None:
    what = asyncio.Event()
    waiting = asyncio.create_task(wait(coming, what))
    await turns()
    await clock.advance(0.4)
    coming.hurry()
    await turns()
    what.set()
    await waiting


async def test_the_one_who_has_waited_longest_is_hurried_first_and_told_to_come_back(
    coming: Coming, clock: FakeClock
) -> None:
    what = asyncio.Event()
    first = asyncio.create_task(wait(coming, what))
    await turns()
    await clock.advance(0.3)
    second = asyncio.create_task(wait(coming, what))
    await turns()
    await clock.advance(0.6)
    coming.hurry()
    with pytest.raises(Retryable, match="came too slowly") as no:
        await first
    assert no.value.reason == "slow"
    assert not second.done()
    coming.hurry()
    with pytest.raises(Retryable):
        await second
    coming.hurry()  # nobody is left


async def test_who_has_what_it_waited_for_is_not_hurried(coming: Coming, clock: FakeClock) -> None:
    what = asyncio.Event()
    what.set()
    await wait(coming, what)
    await clock.advance(1)
    coming.hurry()
    await turns()


async def test_a_wait_may_have_an_end_of_its_own(coming: Coming) -> None:
    with pytest.raises(Retryable):
        await wait(coming, asyncio.Event(), 0.01)


async def test_another_time_that_is_up_within_it_is_told_as_it_is(coming: Coming) -> None:
    with pytest.raises(TimeoutError, match="the body took too long"):
        async with coming.wait(60):
            raise TimeoutError("the body took too long")
