"""What holds for dead letters, whichever way a queue stores them."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from app.core.errors import InvalidData, NotAllowed, Refused, Retryable
from app.core.request import ExportRequest, Signal
from app.queue import Lease, Queue
from app.queue.letters import EVERYTHING, DeadLetter, Moved, Notice, Selection, pack_notice, unpack_notice
from tests.support.clock import FakeClock, turn
from tests.support.letters import letters

TRACES, METRICS, LOGS = Signal
MakeQueue = Callable[..., AbstractAsyncContextManager[Queue]]
BAD = InvalidData('http://c:4318/v1/traces answered 400 Bad Request: "an id of three bytes"')


async def keep(queue: Queue, body: bytes = b"x", items: int = 1, signal: Signal = TRACES) -> int:
    return await queue.append(ExportRequest(signal, body, items), lambda _: None)


async def take(queue: Queue, max_bytes: int = 1 << 30, signal: Signal = TRACES) -> Lease:
    lease = await queue.lease(signal, max_bytes)
    assert lease is not None
    return lease


async def take_everything(queue: Queue, signal: Signal = TRACES) -> bytes:
    taken = b""
    while (lease := await queue.lease(signal, 1 << 30)) is not None:
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


async def bury_each(queue: Queue, bodies: Sequence[bytes], refusal: Refused = BAD, signal: Signal = TRACES) -> None:
    for body in bodies:
        await keep(queue, body, 2, signal)
        queue.bury(await take(queue, 1, signal), refusal)


# What is buried is a dead letter from that very turn on; this passes however full the queue is.


async def test_what_is_buried_is_a_dead_letter_from_that_very_turn_on(queue: Queue, clock: FakeClock) -> None:
    received = clock.now_ns()
    number = await keep(queue, b"refused", 7)
    await clock.advance(3)
    lease = await take(queue)
    queue.bury(lease, BAD)
    assert (queue.items(TRACES), queue.waiting(TRACES)) == (0, 0)
    assert (queue.dead.items(TRACES), queue.dead.letters(TRACES)) == (7, 1)
    assert [queue.dead.items(signal) for signal in (METRICS, LOGS)] == [0, 0]
    (letter,) = await letters(queue, 1)
    assert letter == DeadLetter(number, TRACES, 7, 7, received, Notice(clock.now_ns(), "invalid", str(BAD)))
    assert await queue.dead.read(number) == ExportRequest(TRACES, b"refused", 7)
    assert await queue.lease(TRACES, 1 << 30) is None
    assert queue.oldest_ns() is None


async def test_each_entry_of_a_batch_is_a_letter_of_its_own(queue: Queue) -> None:
    numbers = [await keep(queue, body, items) for body, items in ((b"one", 1), (b"two", 20), (b"three", 300))]
    leases = [await take(queue, 6), await take(queue)]
    for lease in leases:
        queue.bury(lease, NotAllowed("401"))
    all_three = await letters(queue, 3)
    assert [(letter.sequence, letter.items, letter.notice.reason) for letter in all_three] == [
        (number, items, "not_allowed") for number, items in zip(numbers, (1, 20, 300), strict=True)
    ]
    requests = [await queue.dead.read(number) for number in numbers]
    assert [request.body for request in requests if request is not None] == [b"one", b"two", b"three"]


async def test_burying_passes_however_full_the_queue_is(make_queue: MakeQueue) -> None:
    async with make_queue(capacity=400_000) as queue:
        kept = await fill(queue, b"x" * 10_000)
        for _ in range(kept):
            queue.bury(await take(queue, 1), BAD)
        assert queue.dead.items(TRACES) == kept
        await letters(queue, kept)
        with pytest.raises(Retryable, match="full"):  # they take room, and are never evicted
            await keep(queue, b"x" * 10_000)
        assert await queue.dead.purge(EVERYTHING, lambda *_: None) == Moved(kept, kept)
        await keep(queue, b"x" * 10_000)


async def test_small_requests_have_room_to_become_dead_letters(make_queue: MakeQueue) -> None:
    async with make_queue(capacity=400_000) as queue:
        kept = await fill(queue, b"x" * 50)
        while queue.waiting(TRACES):
            queue.bury(await take(queue, 1000), BAD)
        await letters(queue, kept)
        assert queue.dead.letters(TRACES) == kept > 800
        assert queue.used_bytes <= queue.capacity_bytes


async def test_only_what_was_refused_of_an_entry_is_kept_of_it(queue: Queue) -> None:
    number = await keep(queue, b"taken refused taken", 100)
    await keep(queue, b"behind it")
    lease = await take(queue, 1)
    queue.bury(lease, BAD, ExportRequest(TRACES, b"refused", 3))
    assert (queue.items(TRACES), queue.dead.items(TRACES)) == (1, 3)
    (letter,) = await letters(queue, 1)
    assert (letter.sequence, letter.items, letter.size) == (number, 3, 7)
    assert await queue.dead.read(number) == ExportRequest(TRACES, b"refused", 3)
    assert await take_everything(queue) == b"behind it"


# A dead letter stays until it is replayed or purged; it takes room, and is never evicted.


async def test_a_dead_letter_does_not_expire(queue: Queue, clock: FakeClock) -> None:
    await bury_each(queue, [b"old"])
    await clock.advance(1000)
    await queue.expire(clock.now_ns(), lambda *_: None)
    await letters(queue, 1)
    assert queue.dead.items(TRACES) == 2


async def test_purged_letters_are_gone_and_counted_in_the_turn_in_which_they_go(queue: Queue) -> None:
    await bury_each(queue, [b"a", b"b"])
    await bury_each(queue, [b"log"], signal=LOGS)
    await letters(queue, 3)
    counted = 0

    def gone(signal: Signal, items: int) -> None:
        nonlocal counted
        counted += items

    purge = asyncio.create_task(queue.dead.purge(EVERYTHING, gone))
    while not purge.done():
        assert counted + sum(queue.dead.items(signal) for signal in Signal) == 6
        await turn()
    assert purge.result() == Moved(3, 6)
    assert counted == 6
    assert await queue.dead.find() == []
    assert sum(queue.dead.letters(signal) for signal in Signal) == 0


async def test_what_is_purged_gives_its_room_back(queue: Queue) -> None:
    await bury_each(queue, [b"a" * 5000, b"b" * 100])
    await letters(queue, 2)
    await queue.dead.purge(EVERYTHING, lambda *_: None)
    assert queue.used_bytes == 0


async def test_nothing_is_purged_of_nothing(queue: Queue) -> None:
    assert await queue.dead.purge(EVERYTHING, lambda *_: None) == Moved(0, 0)
    assert await queue.dead.read(1) is None


# A replayed one is delivered like any other, and nothing is in both places or in neither.


async def test_a_replayed_letter_is_delivered_behind_what_waits(queue: Queue) -> None:
    await bury_each(queue, [b"refused;"])
    await keep(queue, b"waits;")
    await letters(queue, 1)
    assert await queue.dead.replay(EVERYTHING) == Moved(1, 2)
    assert (queue.items(TRACES), queue.dead.items(TRACES)) == (3, 0)
    assert await queue.dead.find() == []
    assert await take_everything(queue) == b"waits;refused;"


async def test_items_are_in_one_place_at_every_turn_of_a_replay(queue: Queue) -> None:
    bodies = [f"{number};".encode() for number in range(50)]
    await bury_each(queue, bodies)
    await letters(queue, 50)
    replay = asyncio.create_task(queue.dead.replay(EVERYTHING))
    while not replay.done():
        assert queue.items(TRACES) + queue.dead.items(TRACES) == 100
        await turn()
    assert replay.result() == Moved(50, 100)
    assert await take_everything(queue) == b"".join(bodies)


async def test_a_replayed_letter_is_as_young_as_if_it_had_just_been_received(queue: Queue, clock: FakeClock) -> None:
    await bury_each(queue, [b"x"])
    await letters(queue, 1)
    await clock.advance(1000)
    await queue.dead.replay(EVERYTHING)
    assert queue.oldest_ns() == clock.now_ns()
    await queue.expire(clock.now_ns(), lambda *_: None)
    assert queue.items(TRACES) == 2


async def test_two_who_replay_at_once_move_each_letter_once(queue: Queue) -> None:
    await bury_each(queue, [b"%d" % number for number in range(10)])
    await letters(queue, 10)
    both = await asyncio.gather(queue.dead.replay(EVERYTHING), queue.dead.replay(EVERYTHING))
    assert sum(moved.letters for moved in both) == 10
    assert queue.items(TRACES) == 20


async def test_what_is_refused_again_while_letters_are_replayed_is_not_replayed_again(queue: Queue) -> None:
    await bury_each(queue, [b"%d" % number for number in range(20)])
    await letters(queue, 20)
    replay = asyncio.create_task(queue.dead.replay(EVERYTHING))
    while not replay.done():
        if queue.waiting(TRACES):
            queue.bury(await take(queue), BAD)
        await turn()
    assert replay.result() == Moved(20, 40)
    assert queue.items(TRACES) + queue.dead.items(TRACES) == 40


# Which letters are meant.


async def test_letters_are_chosen_by_number_signal_and_reason(queue: Queue) -> None:
    await bury_each(queue, [b"a", b"b"])
    await bury_each(queue, [b"c"], NotAllowed("401"))
    await bury_each(queue, [b"log"], signal=LOGS)
    numbers = [letter.sequence for letter in await letters(queue, 4)]

    async def chosen(selection: Selection, *, after: int = 0, limit: int = 1000) -> list[int]:
        found = await queue.dead.find(selection, after=after, limit=limit)
        return [numbers.index(letter.sequence) for letter in found]

    assert await chosen(Selection(signal=TRACES)) == [0, 1, 2]
    assert await chosen(Selection(reason="not_allowed")) == [2]
    assert await chosen(Selection(signal=LOGS, reason="not_allowed")) == []
    assert await chosen(Selection(frozenset({numbers[3], numbers[1], 999_999}))) == [1, 3]
    assert await chosen(Selection(frozenset({numbers[0] - 1, numbers[0]}))) == [0]
    assert await chosen(Selection(frozenset(numbers), signal=TRACES, reason="invalid")) == [0, 1]
    assert await chosen(EVERYTHING, limit=3) == [0, 1, 2]
    assert await chosen(EVERYTHING, after=numbers[1], limit=1) == [2]
    assert await chosen(Selection(frozenset(numbers)), after=numbers[1], limit=1) == [2]
    assert await chosen(Selection(reason="invalid"), limit=1, after=numbers[1]) == [3]
    assert await queue.dead.replay(Selection(frozenset({numbers[1]}))) == Moved(1, 2)
    assert await queue.dead.purge(Selection(reason="not_allowed"), lambda *_: None) == Moved(1, 2)
    assert [numbers.index(letter.sequence) for letter in await queue.dead.find()] == [0, 3]


# Dividing.


async def test_a_lease_can_be_divided_and_each_part_ended_in_its_own_way(queue: Queue) -> None:
    bodies = [b"a;", b"bb;", b"ccc;", b"dddd;"]
    for number, body in enumerate(bodies):
        await keep(queue, body, 10**number)
    leases = [await take(queue)]
    while queue.waiting(TRACES):
        leases.append(await take(queue))
    if len(leases) > 1:  # memory holds only some of them
        for lease in leases:
            queue.release(lease)
        leases = [await take(queue)]
    (lease,) = leases
    first, second, *others = lease.entries
    parts = queue.divide(lease, [[second], [first, *others]])
    assert [part.request.body for part in parts] == [b"bb;", b"a;" + b"".join(bodies[2 : len(lease.entries)])]
    assert parts[0].request.items == 10
    queue.settle(parts[0])
    assert queue.items(TRACES) == 1101
    queue.release(parts[1])
    assert await take_everything(queue) == b"a;ccc;dddd;"


# Notices.


def test_a_notice_is_read_as_it_was_written() -> None:
    notice = Notice(1_700_000_000_123_456_789, "invalid", 'it said "ä"')
    assert unpack_notice(pack_notice(notice)) == notice
    assert unpack_notice(pack_notice(notice.without_words())) == Notice(notice.refused_ns, "invalid", "")


@pytest.mark.parametrize("packed", [b"", b"\xff", b"[]", b"{}", b'{"refused_ns": "x", "reason": 1, "message": 2}'])
def test_a_notice_that_cannot_be_read_says_nothing(packed: bytes) -> None:
    assert unpack_notice(packed) == Notice(0, "unknown", "")


def test_a_long_message_is_cut() -> None:
    assert len(Notice.of(0, InvalidData("x" * 5000), "invalid").message) == 300
