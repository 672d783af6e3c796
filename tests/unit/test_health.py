"""Starting, ready, draining; live all the while."""

import pytest

from app.health import QUEUE, Health
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> Health:
    return Health("1.2.3", clock)


def verdicts(health: Health) -> tuple[bool, bool, bool]:
    return health.started()[0], health.ready()[0], health.live()[0]


def test_a_service_that_starts_is_live_and_neither_started_nor_ready(health: Health) -> None:
    assert verdicts(health) == (False, False, True)
    assert health.ready()[1]["status"] == "starting"


def test_a_ready_service_is_all_three_and_says_its_version(health: Health) -> None:
    health.ready_now()
    assert verdicts(health) == (True, True, True)
    assert health.ready()[1] == {"status": "ready", "components": {}, "notes": {}, "version": "1.2.3"}


def test_draining_is_not_ready_but_stays_started_and_live(health: Health) -> None:
    health.ready_now()
    health.draining()
    assert verdicts(health) == (True, False, True)
    assert health.ready()[1]["status"] == "draining"


def test_there_is_no_way_back_from_draining(health: Health) -> None:
    health.draining()
    health.ready_now()
    assert verdicts(health) == (True, False, True)


async def test_a_component_that_is_silent_for_longer_than_it_may_be_ends_life(health: Health, clock: FakeClock) -> None:
    health.ready_now()
    loop = health.component("event loop", limit_seconds=30)
    loop.beat()
    await clock.advance(30)
    assert verdicts(health) == (True, True, True)
    await clock.advance(1)
    assert verdicts(health) == (True, False, False)
    _, body = health.live()
    assert body["status"] == "stuck"
    assert body["components"] == {"event loop": "silent for 31 s"}
    loop.beat()
    assert verdicts(health) == (True, True, True)
    assert health.live()[1]["components"] == {"event loop": "ok"}


async def test_a_component_is_not_judged_before_its_first_beat_and_while_it_is_idle(
    health: Health, clock: FakeClock
) -> None:
    writer = health.component("writer", limit_seconds=5)
    await clock.advance(100)
    assert health.live()[0]
    writer.beat()
    writer.idle()
    await clock.advance(100)
    assert health.live()[0]
    assert writer.silence() == 0


def test_a_note_shows_and_changes_nothing_else(health: Health) -> None:
    health.ready_now()
    health.note("export of traces", "unavailable since 12:00")
    health.note(QUEUE, "full")
    ok, body = health.ready()
    assert ok
    assert body["notes"] == {"export of traces": "unavailable since 12:00", "queue": "full"}
    health.note(QUEUE, None)
    health.note(QUEUE, None)
    assert health.ready()[1]["notes"] == {"export of traces": "unavailable since 12:00"}


def test_a_full_queue_makes_unready_where_that_is_wanted(clock: FakeClock) -> None:
    health = Health("1.2.3", clock, unready_when_full=True)
    health.ready_now()
    health.note("export of traces", "unavailable")
    assert health.ready()[0]
    health.note(QUEUE, "full")
    assert verdicts(health) == (True, False, True)
    health.note(QUEUE, None)
    assert health.ready()[0]
