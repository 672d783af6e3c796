import asyncio
import random

import pytest

from app.core.errors import Retryable, TooLarge
from app.queue.room import Room
from tests.support.clock import turns

LONG = 3600.0


async def taken(room: Room, size: int) -> None:
    """Reserve and arrive: `size` bytes are used."""
    await room.reserve(size)
    room.arrive(size, room.used + size)


async def test_who_finds_room_does_not_wait() -> None:
    room = Room(100, patience=0)
    await taken(room, 60)
    await room.reserve(40)
    assert (room.used, room._reserved) == (60, 40)


async def test_what_is_reserved_is_nobody_elses() -> None:
    room = Room(100, patience=0.001)
    await room.reserve(60)
    with pytest.raises(Retryable) as refusal:
        await room.reserve(41)
    assert refusal.value.reason == "queue_full"


async def test_full_refuses_when_patience_ends() -> None:
    room = Room(100, patience=0.02)
    await taken(room, 100)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Retryable, match="100 of 100 bytes are used"):
        await room.reserve(1)
    assert loop.time() - began >= 0.019


async def test_full_is_who_has_someone_waiting_or_refused_someone_just_now() -> None:
    room = Room(100, patience=0.001)
    await taken(room, 99)
    assert not room.full
    with pytest.raises(Retryable):
        await room.reserve(2)
    assert room.full


async def test_more_than_there_can_ever_be_is_refused_at_once_and_keeps_nobody_waiting() -> None:
    room = Room(100, patience=LONG)
    hopeless = asyncio.create_task(room.reserve(101))
    await turns()
    assert hopeless.done()
    with pytest.raises(TooLarge, match="101 bytes of a queue of 100"):
        await hopeless
    await room.reserve(100)


async def test_room_is_given_first_come_first_served() -> None:
    room = Room(100, LONG)
    await taken(room, 100)
    order: list[int] = []

    async def wait(number: int, size: int) -> None:
        await taken(room, size)
        order.append(number)

    waiting = [asyncio.create_task(wait(number, 30)) for number in range(3)]
    await turns()
    room.arrive(0, 70)
    await turns()
    assert order == [0]
    room.arrive(0, 10)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_a_small_one_does_not_overtake_a_large_one() -> None:
    room = Room(100, LONG)
    await taken(room, 90)
    large = asyncio.create_task(taken(room, 50))
    await turns()
    small = asyncio.create_task(taken(room, 5))
    await turns()
    assert not small.done()
    room.arrive(0, 45)
    await asyncio.gather(large, small)
    assert room.used == 100


async def test_a_smaller_one_behind_goes_when_the_large_one_gives_up() -> None:
    room = Room(100, patience=0.02)
    await taken(room, 90)
    large = asyncio.create_task(room.reserve(50))
    await asyncio.sleep(0.01)
    small = asyncio.create_task(room.reserve(5))
    with pytest.raises(Retryable):
        await large
    await small


async def test_a_smaller_one_behind_goes_when_the_large_one_is_cancelled() -> None:
    room = Room(100, LONG)
    await taken(room, 90)
    large = asyncio.create_task(room.reserve(50))
    small = asyncio.create_task(room.reserve(5))
    await turns()
    large.cancel()
    await small
    assert (room.used, room._reserved) == (90, 5)


async def test_who_is_cancelled_in_the_turn_in_which_room_came_gives_it_back() -> None:
    room = Room(100, LONG)
    await taken(room, 100)
    first, second = (asyncio.create_task(room.reserve(100)) for _ in range(2))
    await turns()
    room.arrive(0, 0)
    first.cancel()
    await turns()
    assert second.done()
    await second
    assert first.cancelled()
    assert room._reserved == 100


async def test_who_was_cancelled_in_the_turn_before_room_comes_is_passed_over() -> None:
    room = Room(100, LONG)
    await taken(room, 100)
    first, second = (asyncio.create_task(room.reserve(100)) for _ in range(2))
    await turns()
    first.cancel()
    room.arrive(0, 0)
    await turns()
    assert second.done()
    await second
    assert first.cancelled()
    assert room._reserved == 100


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_leaks_whoever_is_cancelled_or_gives_up(seed: int) -> None:
    """Never more than the capacity, and when all have settled nothing is used or reserved."""
    chance = random.Random(seed)
    room = Room(100, patience=0.002)
    refused = 0

    async def client() -> None:
        nonlocal refused
        size = chance.randint(1, 60)
        await turns(chance.randint(0, 10))
        try:
            await room.reserve(size)
        except Retryable:
            refused += 1
            return
        try:
            assert room.used + room._reserved <= room.capacity
            await turns(chance.randint(0, 5))
        except asyncio.CancelledError:
            room.arrive(size, room.used)
            raise
        room.arrive(size, room.used + size)
        try:
            await turns(chance.randint(0, 30))
        finally:
            room.arrive(0, room.used - size)

    clients = [asyncio.create_task(client()) for _ in range(60)]
    while not all(task.done() for task in clients):
        chance.choice(clients).cancel()
        await asyncio.sleep(chance.choice([0, 0, 0, 0.001]))
    outcomes = await asyncio.gather(*clients, return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert (room.used, room._reserved, list(room._line)) == (0, 0, [])
