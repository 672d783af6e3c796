"""Who looks at a page now."""

import asyncio

import orjson

from app.console.views.view import Look
from app.console.watchers import Watcher, Watchers
from tests.support.clock import turns

LOOK = Look("/")


async def read(watcher: Watcher, number: int) -> list[str]:
    """The next events of a stream that has not begun."""
    stream = watcher.events()
    return [(await anext(stream)).decode() for _ in range(number)]


async def test_a_watcher_gets_what_changed_since_it_was_last_told() -> None:
    watcher = Watcher(LOOK)
    stream = watcher.events()
    assert await anext(stream) == b"data: {}\n\n"
    for told, sent in (
        ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}),
        ({"a": "1", "b": "3"}, {"b": "3"}),
        ({"a": "1", "b": "3"}, {}),
    ):
        watcher.tell(told)
        assert await anext(stream) == b"data: " + orjson.dumps(sent) + b"\n\n"


async def test_what_is_told_holds_no_line_end_whatever_is_in_it() -> None:
    watcher = Watcher(LOOK)
    watcher.tell({"a": "one\n\ndata: two\r\r"})
    _, event = await read(watcher, 2)
    assert event == 'data: {"a":"one\\n\\ndata: two\\r\\r"}\n\n'


async def test_a_watcher_that_does_not_read_keeps_nothing_but_the_latest_and_is_let_go_of() -> None:
    watcher = Watcher(LOOK)
    for number in range(10):
        watcher.tell({"a": str(number)})
        assert not watcher.ended
    watcher.tell({"a": "10"})
    assert watcher.ended
    assert await read(watcher, 3) == ["data: {}\n\n", 'data: {"a":"9"}\n\n', "event: end\ndata: slow\n\n"]


async def test_a_watcher_that_reads_in_between_stays() -> None:
    watcher = Watcher(LOOK)
    stream = watcher.events()
    await anext(stream)
    for number in range(30):
        watcher.tell({"a": str(number)})
        await anext(stream)
    assert not watcher.ended


async def test_there_are_at_most_so_many_watchers_and_one_more_is_told_so() -> None:
    watchers = Watchers()
    added = [watchers.add(LOOK) for _ in range(16)]
    assert None not in added
    assert watchers.add(LOOK) is None
    assert added[0] is not None
    watchers.discard(added[0])
    assert watchers.add(LOOK) is not None
    assert len(watchers) == 16


async def test_those_who_look_at_the_same_are_told_together() -> None:
    watchers = Watchers()
    same = [watchers.add(LOOK), watchers.add(LOOK)]
    other = watchers.add(Look("/console/queue"))
    gone = watchers.add(LOOK)
    assert gone is not None
    gone.end("slow")
    looks = watchers.looks()
    assert {look: set(who) for look, who in looks.items()} == {LOOK: set(same), Look("/console/queue"): {other}}


async def test_when_the_service_ends_watchers_are_told_and_their_streams_end() -> None:
    watchers = Watchers()
    watcher = watchers.add(LOOK)
    assert watcher is not None

    async def look_on() -> list[bytes]:
        events = [event async for event in watcher.events()]
        watchers.discard(watcher)
        return events

    looking = asyncio.create_task(look_on())
    await turns()
    await watchers.close()
    assert (await looking)[-1] == b"event: end\ndata: bye\n\n"
    assert watchers.add(LOOK) is None
