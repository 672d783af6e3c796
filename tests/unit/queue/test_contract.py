"""What holds for a queue, whichever way it stores."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from app.core.errors import InvalidData, Retryable, TooLarge
from app.core.request import ExportRequest, Signal
from app.queue import Lease, MemoryQueue, Queue
from tests.support.clock import FakeClock, turn, turns
from tests.support.patience import PATIENCE

EVERYTHING = 1 << 30
TRACES, METRICS, LOGS = Signal
MakeQueue = Callable[..., AbstractAsyncContextManager[Queue]]


def request(body: bytes = b"x", items: int = 1, signal: Signal = TRACES) -> ExportRequest:
    return ExportRequest(signal, body, items)


def bodies(number: int, signal: Signal = TRACES) -> list[bytes]:
    return [f"{signal.value} {n};".encode() for n in range(number)]


async def keep(queue: Queue, body: bytes = b"x", items: int = 1, signal: Signal = TRACES) -> int:
    return await queue.append(request(body, items, signal), lambda _: None)


async def keep_all(queue: Queue, all_bodies: Sequence[bytes], signal: Signal = TRACES) -> None:
    for body in all_bodies:
        await keep(queue, body, 1, signal)


async def take(queue: Queue, max_bytes: int = EVERYTHING, signal: Signal = TRACES) -> Lease:
    lease = await queue.lease(signal, max_bytes)
    assert lease is not None
    return lease


async def take_everything(queue: Queue, signal: Signal = TRACES) -> bytes:
    """Lease and settle until nothing waits; the bodies one after another."""
    taken = b""
    while (lease := await queue.lease(signal, EVERYTHING)) is not None:
        taken += lease.request.body
        queue.settle(lease)
    return taken


async def fill(queue: Queue, body: bytes) -> int:
    """Append `body` until the queue refuses; returns how often it did not."""
    for number in range(100_000):
        try:
            await keep(queue, body)
        except Retryable:
            return number
    raise AssertionError("the queue never was full")


# What `append` returned for is leased sooner or later, in order of arrival per signal, until it is settled.


async def test_what_append_returned_for_is_leased_in_order_of_arrival_per_signal(queue: Queue) -> None:
    for number in range(20):
        for signal in Signal:
            await keep(queue, bodies(20, signal)[number], 1, signal)
    for signal in Signal:
        assert await take_everything(queue, signal) == b"".join(bodies(20, signal))


async def test_concurrent_appends_are_leased_in_the_order_of_their_numbers(queue: Queue) -> None:
    all_bodies = bodies(50)
    numbers = await asyncio.gather(*(keep(queue, body) for body in all_bodies))
    in_order = [body for _, body in sorted(zip(numbers, all_bodies, strict=True))]
    assert await take_everything(queue) == b"".join(in_order)


async def test_what_is_settled_is_not_leased_again(queue: Queue) -> None:
    await keep_all(queue, bodies(3))
    await take_everything(queue)
    assert await queue.lease(TRACES, EVERYTHING) is None


async def test_an_empty_queue_leases_nothing(queue: Queue) -> None:
    assert await queue.lease(LOGS, EVERYTHING) is None
    assert queue.oldest_ns() is None
    assert queue.commit_seconds() == 0


async def test_a_queue_that_has_nothing_under_way_takes_what_comes_though_it_was_said_to_be_stalled(
    queue: Queue,
) -> None:
    queue.stall()
    await keep_all(queue, [b"taken"])
    assert await take_everything(queue) == b"taken"


async def test_a_lease_takes_what_fits_and_always_at_least_one_entry(queue: Queue) -> None:
    await keep_all(queue, [b"a" * 100, b"b" * 100, b"c" * 100])
    first = await take(queue, 10)
    assert first.request.body == b"a" * 100
    queue.settle(first)
    rest = await take(queue, 150)
    assert rest.request.body == b"b" * 100


async def test_a_lease_is_the_merge_of_its_entries(queue: Queue) -> None:
    await keep(queue, b"one", 1, LOGS)
    await keep(queue, b"two", 20, LOGS)
    lease = await take(queue, 6, LOGS)
    assert lease.request == ExportRequest(LOGS, b"onetwo", 21)
    assert [entry.items for entry in lease.entries] == [1, 20]


# What is leased is nobody else's until it is settled or released; a released lease comes back in its old place.


async def test_what_is_leased_is_nobody_elses_until_it_is_settled_or_released(queue: Queue) -> None:
    await keep_all(queue, bodies(10))
    first, second, third = [await take(queue, 1) for _ in range(3)]
    assert [lease.request.body for lease in (first, second, third)] == bodies(3)
    queue.settle(second)
    queue.release(third)
    queue.release(first)
    assert await take_everything(queue) == b"".join([bodies(10)[0], *bodies(10)[2:]])


async def test_a_released_lease_comes_back_in_its_old_place(queue: Queue) -> None:
    await keep_all(queue, bodies(6))
    first = await take(queue, 1)
    queue.release(first)
    assert await take_everything(queue) == b"".join(bodies(6))


async def test_leases_released_in_any_order_come_back_in_theirs(queue: Queue) -> None:
    await keep_all(queue, bodies(8))
    leases = [await take(queue, 1) for _ in range(4)]
    random.Random(3).shuffle(leases)
    for lease in leases:
        queue.release(lease)
    await keep(queue, b"last")
    assert await take_everything(queue) == b"".join(bodies(8)) + b"last"


async def test_a_release_amid_appends_keeps_the_order(queue: Queue) -> None:
    await keep_all(queue, bodies(4))
    lease = await take(queue, 1)
    appends = [asyncio.create_task(keep(queue, f"new {n};".encode())) for n in range(4)]
    await asyncio.sleep(0)
    queue.release(lease)
    await asyncio.gather(*appends)
    assert await take_everything(queue) == b"".join(bodies(4)) + b"new 0;new 1;new 2;new 3;"


async def test_whoever_waits_for_a_lease_gets_what_is_released(queue: Queue) -> None:
    await keep(queue, b"a" * 100)
    first = await take(queue, 1)
    await keep(queue, b"b" * 100)  # where memory is full of what is leased this is on the disk alone
    waiting = asyncio.create_task(queue.lease(TRACES, 1))
    await turns()
    queue.release(first)
    await turns()
    assert waiting.done()
    lease = await waiting
    assert lease is not None
    queue.release(lease)
    assert await take_everything(queue) == b"a" * 100 + b"b" * 100


# `items(signal)` counts what was appended and is not settled, at every moment.


async def test_items_counts_what_was_appended_and_is_not_settled(queue: Queue) -> None:
    await keep(queue, b"a", 5)
    await keep(queue, b"b", 7, LOGS)
    assert [queue.items(signal) for signal in Signal] == [5, 0, 7]
    lease = await take(queue)
    assert (queue.items(TRACES), queue.waiting(TRACES)) == (5, 0)
    queue.release(lease)
    assert (queue.items(TRACES), queue.waiting(TRACES)) == (5, 5)
    queue.settle(await take(queue))
    assert [queue.items(signal) for signal in Signal] == [0, 0, 7]


async def test_items_become_the_queues_in_the_turn_in_which_they_are_counted(queue: Queue) -> None:
    counted = 0

    def committed(items: int) -> None:
        nonlocal counted
        counted += items

    async def append() -> None:
        await queue.append(request(items=3), committed)

    appends = [asyncio.create_task(append()) for _ in range(10)]
    while not all(append.done() for append in appends):
        assert queue.items(TRACES) == counted
        await turn()
    assert queue.items(TRACES) == counted == 30


async def test_waiting_for_items_ends_when_so_many_wait(queue: Queue) -> None:
    waiting = asyncio.create_task(queue.wait(TRACES, 5))
    await keep(queue, b"a", 3)
    await turns()
    assert not waiting.done()
    await keep(queue, b"b", 2)
    async with asyncio.timeout(PATIENCE):
        await waiting


async def test_waiting_for_items_goes_on_when_they_are_gone_again(queue: Queue) -> None:
    waiting = asyncio.create_task(queue.wait(TRACES, 1))
    await turns(3)
    await keep(queue)
    lease = await queue.lease(TRACES, EVERYTHING)  # in the turn that woke it
    assert lease is not None
    queue.release(lease)
    async with asyncio.timeout(PATIENCE):
        await waiting
    assert queue.waiting(TRACES) == 1


async def test_waiting_for_items_ends_when_so_many_were_released(queue: Queue) -> None:
    await keep(queue, items=3)
    lease = await take(queue)
    waiting = asyncio.create_task(queue.wait(TRACES, 3))
    await turns()
    assert not waiting.done()
    queue.release(lease)
    await turns()
    assert waiting.done()


async def test_what_nobody_waits_for_any_more_is_there_when_everything_is_committed(queue: Queue) -> None:
    given_up = asyncio.create_task(keep(queue, items=3))
    await asyncio.sleep(0)
    given_up.cancel()
    await queue.committed()
    assert queue.items(TRACES) == 3


# A queue that is full refuses, after a moment, and keeps what it has; room is given first come, first served.


async def test_a_full_queue_refuses_after_a_moment_and_keeps_what_it_has(make_queue: MakeQueue) -> None:
    async with make_queue(capacity=400_000) as queue:
        loop = asyncio.get_running_loop()
        kept = await fill(queue, b"x" * 10_000)
        assert queue.used_bytes <= queue.capacity_bytes == 400_000
        assert kept >= 30
        began = loop.time()
        with pytest.raises(Retryable, match="full") as refusal:
            await keep(queue, b"x" * 10_000)
        assert refusal.value.reason == "queue_full"
        assert loop.time() - began >= 0.019
        assert len(await take_everything(queue)) == kept * 10_000


async def test_room_that_becomes_free_is_given_to_who_waits(make_queue: MakeQueue) -> None:
    async with make_queue(capacity=100_000, patience=10) as queue:
        for _ in range(4):
            await keep(queue, b"x" * 20_000)
        waiting = asyncio.create_task(keep(queue, b"y" * 20_000))
        await turns()
        assert not waiting.done()
        queue.settle(await take(queue, 1))
        async with asyncio.timeout(PATIENCE):
            await waiting


async def test_a_request_that_can_never_fit_is_refused_at_once_and_for_good(make_queue: MakeQueue) -> None:
    async with make_queue(capacity=100_000, patience=3600) as queue:
        with pytest.raises(TooLarge, match="can never be kept"):
            await keep(queue, b"x" * 100_000)
        await keep(queue)


async def test_a_queue_in_memory_has_no_tasks_and_one_on_disk_has_one(queue: Queue) -> None:
    assert [task.get_name() for task in queue.tasks] == ([] if isinstance(queue, MemoryQueue) else ["queue commits"])


# Clients that are answered when the destination has spoken.


async def test_who_expects_delivery_hears_of_it(queue: Queue) -> None:
    number = await queue.append(request(), lambda _: None, expect=True)
    waiting = asyncio.create_task(queue.delivered(TRACES, number))
    lease = await take(queue)
    await turns()
    assert not waiting.done()
    queue.settle(lease)
    await waiting


async def test_who_expects_delivery_hears_of_one_that_was_faster_than_the_question(queue: Queue) -> None:
    number = await queue.append(request(), lambda _: None, expect=True)
    queue.settle(await take(queue))
    await queue.delivered(TRACES, number)


async def test_who_expects_delivery_hears_the_refusal(queue: Queue) -> None:
    number = await queue.append(request(), lambda _: None, expect=True)
    waiting = asyncio.create_task(queue.delivered(TRACES, number))
    refusal = InvalidData("spans from the future")
    queue.bury(await take(queue), refusal)
    with pytest.raises(InvalidData, match="future"):
        await waiting


async def test_who_expects_delivery_and_leaves_is_forgotten(queue: Queue) -> None:
    number = await queue.append(request(), lambda _: None, expect=True)
    waiting = asyncio.create_task(queue.delivered(TRACES, number))
    await turns()
    waiting.cancel()
    await asyncio.wait({waiting})
    queue.settle(await take(queue))
    assert queue._outcomes._promises == {}


async def test_who_expects_delivery_is_told_when_it_expired(queue: Queue, clock: FakeClock) -> None:
    number = await queue.append(request(), lambda _: None, expect=True)
    waiting = asyncio.create_task(queue.delivered(TRACES, number))
    await turns()
    await queue.expire(clock.now_ns() + 1, lambda *_: None)
    with pytest.raises(Retryable) as given_up:
        await waiting
    assert given_up.value.reason == "expired"


# Age.


async def test_the_oldest_entry_is_known_whether_it_waits_or_is_leased(queue: Queue, clock: FakeClock) -> None:
    first = clock.now_ns()
    await keep(queue, b"a")
    await clock.advance(5)
    second = clock.now_ns()
    await keep(queue, b"b", 1, METRICS)
    assert queue.oldest_ns() == first
    lease = await take(queue)
    assert queue.oldest_ns() == first
    queue.settle(lease)
    assert queue.oldest_ns() == second


async def test_the_oldest_entry_is_known_while_entries_of_one_signal_are_settled(
    queue: Queue, clock: FakeClock
) -> None:
    received = []
    for _ in range(3):
        received.append(clock.now_ns())
        await keep(queue, bytes(30))
        await clock.advance(1)
    for age, then in zip(received, [*received[1:], None], strict=True):
        lease = await take(queue, 1)
        assert queue.oldest_ns() == age
        queue.settle(lease)
        assert (queue.oldest_ns() is None) == (then is None)


async def test_what_is_older_than_asked_expires_and_the_rest_stays(queue: Queue, clock: FakeClock) -> None:
    await keep_all(queue, [b"old;", b"older;"])
    await keep(queue, b"old", 10, LOGS)
    await clock.advance(60)
    before = clock.now_ns()
    await keep_all(queue, [b"young;", b"younger;"])
    expired: list[tuple[Signal, int]] = []
    await queue.expire(before, lambda signal, items: expired.append((signal, items)))
    assert sum(items for signal, items in expired if signal is TRACES) == 2
    assert sum(items for signal, items in expired if signal is LOGS) == 10
    assert [queue.items(signal) for signal in Signal] == [2, 0, 0]
    assert await take_everything(queue) == b"young;younger;"


async def test_what_is_leased_does_not_expire(queue: Queue, clock: FakeClock) -> None:
    await keep_all(queue, [b"a;", b"b;"])
    lease = await take(queue, 1)
    await clock.advance(60)
    await queue.expire(clock.now_ns(), lambda *_: None)
    assert queue.items(TRACES) == lease.request.items
    queue.release(lease)
    assert (await take(queue)).request.body == lease.request.body


async def test_items_expire_in_the_turn_in_which_they_are_counted(queue: Queue, clock: FakeClock) -> None:
    await keep_all(queue, bodies(30))
    await clock.advance(60)
    gone = 0

    def expired(signal: Signal, items: int) -> None:
        nonlocal gone
        gone += items

    expiry = asyncio.create_task(queue.expire(clock.now_ns(), expired))
    while not expiry.done():
        assert queue.items(TRACES) + gone == 30
        await turn()
    assert gone == 30


async def test_expired_entries_give_their_room_back(make_queue: MakeQueue, clock: FakeClock) -> None:
    async with make_queue(capacity=200_000) as queue:
        kept = await fill(queue, b"x" * 10_000)
        await clock.advance(60)
        await queue.expire(clock.now_ns(), lambda *_: None)
        await queue.committed()
        assert await fill(queue, b"y" * 10_000) == kept
