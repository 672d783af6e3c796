import asyncio
import random
from collections import deque

import pytest

from app.core.errors import InvalidData, NotAllowed, PartlyRejected, Retryable
from app.core.request import ExportRequest, Signal
from app.pipeline.retry import Backoff, Retry, Standing
from app.settings import RetrySettings
from tests.support.clock import FakeClock, turns

YEAR = 365 * 86_400.0
SETTINGS = RetrySettings(initial_interval=1, max_interval=30, multiplier=2, max_hint=60)


def request(name: str) -> ExportRequest:
    return ExportRequest(Signal.TRACES, name.encode(), 1)


def later(delay: float | None = None) -> Retryable:
    return Retryable("busy", reason="unavailable", delay=delay)


class Destination:
    """Lets a test answer each attempt: None takes it, an error is raised."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.attempts: list[tuple[str, float]] = []
        """Who asked, and when."""
        self.open: deque[tuple[str, asyncio.Future[None]]] = deque()
        """Attempts that wait for an answer, oldest first."""

    async def consume(self, request: ExportRequest) -> None:
        name = request.body.decode()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.attempts.append((name, self._clock.monotonic()))
        attempt = (name, answer)
        self.open.append(attempt)
        try:
            await answer
        finally:
            if attempt in self.open:
                self.open.remove(attempt)

    async def answer(self, error: Exception | None = None, name: str | None = None) -> str:
        """Answer the oldest attempt, or the one of `name`; returns whose it was."""
        attempt = next(attempt for attempt in self.open if name is None or attempt[0] == name)
        self.open.remove(attempt)
        if error is None:
            attempt[1].set_result(None)
        else:
            attempt[1].set_exception(error)
        await turns()
        return attempt[0]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.attempts]


@pytest.fixture
def destination(clock: FakeClock) -> Destination:
    return Destination(clock)


@pytest.fixture
def retry(clock: FakeClock, destination: Destination) -> Retry:
    retry = Retry(destination, SETTINGS, clock, "export of traces")
    retry._backoff._jitter = lambda: 1.0  # the whole interval
    retry._allowed = None  # all is well, as it is after the first batches
    return retry


async def send(retry: Retry, *names: str) -> list[asyncio.Task[None]]:
    """Begin to send; returns when what can go has gone."""
    tasks = [asyncio.create_task(retry.consume(request(name)), name=name) for name in names]
    await turns()
    return tasks


# How long to stay away.


def test_the_wait_grows_from_the_first_to_the_longest() -> None:
    backoff = Backoff(SETTINGS, jitter=lambda: 1.0)
    assert [backoff.failed(None) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.succeeded()
    assert backoff.failed(None) == 1


def test_the_wait_is_jittered_down_to_half() -> None:
    assert Backoff(SETTINGS, jitter=lambda: 0.0).failed(None) == 0.5
    waits = {Backoff(SETTINGS).failed(None) for _ in range(50)}
    assert len(waits) > 1
    assert all(0.5 <= wait <= 1 for wait in waits)


def test_the_wait_after_thousands_of_failures_is_the_longest_still() -> None:
    backoff = Backoff(SETTINGS, jitter=lambda: 1.0)
    backoff.failures = 100_000
    assert backoff.failed(None) == 30


@pytest.mark.parametrize(
    ("hint", "wait"), [(7.0, 7.0), (60.0, 60.0), (61.0, 60.0), (1e9, 60.0), (0.0, 1.0), (-5.0, 1.0)]
)
def test_a_hint_is_kept_up_to_the_longest_and_never_makes_a_storm(hint: float, wait: float) -> None:
    assert Backoff(SETTINGS, jitter=lambda: 1.0).failed(hint) == wait


# Nothing is sent before the time that the destination named (cut to `max_hint`), whichever batch it named it to.


async def test_nothing_is_sent_before_the_time_that_the_destination_named(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, "a", "b")
    await destination.answer(later(10), "a")
    tasks += await send(retry, "c")
    await destination.answer(later(20), "b")  # of the same round: no failure more, but a later time
    await clock.advance(19.9)
    assert destination.names == ["a", "b"]
    await clock.advance(0.1)
    assert destination.attempts[2:] == [("a", 20.0)]
    while destination.open:
        await destination.answer()
    await asyncio.gather(*tasks)


async def test_a_later_hint_that_is_shorter_does_not_shorten_the_wait(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    (first, second) = await send(retry, "a", "b")
    await destination.answer(later(50), "a")
    await destination.answer(later(5), "b")
    await clock.advance(49)
    assert len(destination.attempts) == 2
    await clock.advance(1)
    await destination.answer()
    await destination.answer()
    await asyncio.gather(first, second)


async def test_a_hint_above_the_longest_is_cut_to_it(retry: Retry, destination: Destination, clock: FakeClock) -> None:
    (task,) = await send(retry, "a")
    await destination.answer(later(100_000))
    assert await clock.skip() == 60
    await destination.answer()
    await task


@pytest.mark.parametrize("years", [1, -10])
async def test_a_wall_clock_that_jumps_makes_no_attempt_earlier_or_later(
    retry: Retry, destination: Destination, clock: FakeClock, years: int
) -> None:
    (task,) = await send(retry, "a")
    await destination.answer(later(10))
    clock.set_wrong(years * YEAR)
    await clock.advance(9.9)
    assert destination.names == ["a"]
    await clock.advance(0.1)
    assert destination.attempts[1:] == [("a", 10.0)]
    await destination.answer()
    await task


# While the destination says "later", one batch at a time is tried.


async def test_while_the_destination_says_later_one_batch_at_a_time_is_tried(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, *"abcde")
    assert len(destination.open) == 5
    while destination.open:
        await destination.answer(later())
    for _ in range(10):
        await clock.skip()
        assert len(destination.open) == 1
        await destination.answer(later())
        assert len(destination.open) == 0
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_what_is_still_under_way_when_trouble_begins_is_the_one_that_is_tried(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, "slow", "a")
    await destination.answer(later(), "a")
    await clock.advance(100)
    assert destination.names == ["slow", "a"]
    await destination.answer(later(40), "slow")
    await clock.advance(39)
    assert destination.names == ["slow", "a"]
    await clock.advance(1)
    assert destination.names == ["slow", "a", "a"]
    await destination.answer()
    await destination.answer()
    await asyncio.gather(*tasks)


async def test_batches_that_fail_together_are_one_failure(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, *"abcdefghij")
    while destination.open:
        await destination.answer(later())
    assert retry._backoff.failures == 1
    assert clock.alarms == [1.0]
    await clock.skip()
    await destination.answer(later())
    assert clock.alarms == [2.0]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert clock.alarms == []


async def test_a_success_from_before_the_trouble_does_not_end_it(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, "a", "slow")
    await destination.answer(later(), "a")
    await destination.answer(None, "slow")
    assert retry.trouble == "busy"
    assert retry._allowed == 1
    await clock.skip()
    await destination.answer()
    assert retry.trouble is None
    await asyncio.gather(*tasks)


# One batch that keeps failing does not keep the others from being tried: after three failures another goes first.


async def test_after_three_failures_another_goes_first(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, "a")
    await destination.answer(later())
    tasks += await send(retry, "b", "c")
    for _ in range(8):
        await clock.skip()
        await destination.answer(later())
    assert destination.names == [*"aaa", *"bbb", *"ccc"]
    await clock.skip()
    assert destination.names[-1] == "a"
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


# A destination that comes back is not flooded: each success lets twice as many go at once.


async def test_a_destination_that_comes_back_is_not_flooded(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, "first")
    await destination.answer(later())
    tasks += await send(retry, *(f"{number}" for number in range(40)))
    await clock.skip()
    at_once = [len(destination.open)]
    for _ in range(5):
        await destination.answer()
        at_once.append(len(destination.open))
    assert at_once == [1, 2, 4, 8, 16, 36]
    while destination.open:
        await destination.answer()
    await asyncio.gather(*tasks)
    assert retry._allowed is None


async def test_a_failure_on_the_way_back_begins_anew(retry: Retry, destination: Destination, clock: FakeClock) -> None:
    tasks = await send(retry, *"abcdefgh")
    while destination.open:
        await destination.answer(later())
    await clock.skip()
    await destination.answer()
    await destination.answer()
    assert len(destination.open) == 4
    await destination.answer(later())
    assert retry._backoff.failures == 1
    while destination.open:
        await destination.answer(later())
    await clock.skip()
    assert len(destination.open) == 1
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


# What is refused for good is raised at once.


@pytest.mark.parametrize("error", [InvalidData("bad"), PartlyRejected("some", items=1)])
async def test_what_is_refused_for_good_is_raised_at_once(
    retry: Retry, destination: Destination, error: Exception
) -> None:
    (task,) = await send(retry, "a")
    await destination.answer(error)
    assert task.exception() is error
    assert retry._under_way == 0


async def test_a_refusal_shows_that_the_destination_is_there(
    retry: Retry, destination: Destination, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (task,) = await send(retry, "a")
    await destination.answer(later())
    assert retry.trouble == "busy"
    assert caplog.messages == ["export of traces: busy; what waits is kept, the next attempt is in 1.0 s"]
    await clock.skip()
    await destination.answer(InvalidData("bad"))
    assert isinstance(task.exception(), InvalidData)
    assert retry.trouble is None
    assert caplog.messages[1:] == ["export of traces: the destination takes telemetry again"]


# A destination that refuses us, whatever we send, is left alone: one batch every `max_interval` tries it.


async def test_a_destination_that_refuses_us_is_left_alone(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    (first,) = await send(retry, "a")
    await destination.answer(NotAllowed("401"))
    assert isinstance(first.exception(), NotAllowed)
    assert retry.trouble == "we are refused: 401"
    tasks = await send(retry, "b", "c", "d")
    await clock.advance(29.9)
    assert destination.names == ["a"]
    await clock.advance(0.1)
    assert destination.attempts[1:] == [("b", 30.0)]
    await destination.answer(NotAllowed("401"))
    assert isinstance(tasks[0].exception(), NotAllowed)
    await clock.advance(29.9)
    assert destination.names == ["a", "b"]
    await clock.advance(0.1)
    assert destination.names == ["a", "b", "c"]
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("answer", [None, InvalidData("bad"), PartlyRejected("some", items=1)])
async def test_one_batch_that_is_let_in_opens_the_destination_again(
    retry: Retry,
    destination: Destination,
    clock: FakeClock,
    answer: Exception | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    tasks = await send(retry, "a")
    await destination.answer(NotAllowed("401"))
    tasks += await send(retry, "b", "c", "d", "e")
    await clock.advance(30)
    assert destination.names == ["a", "b"]
    await destination.answer(answer)
    assert destination.names == ["a", "b", "c", "d"]
    assert retry.trouble is None
    assert caplog.messages == ["export of traces: the destination takes telemetry again"]
    while destination.open:
        await destination.answer()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_batches_under_way_when_we_are_refused_change_nothing_about_it(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, "a", "b", "c", "d")
    await destination.answer(NotAllowed("401"), "a")
    await clock.advance(10)
    await destination.answer(NotAllowed("401"), "b")
    await destination.answer(None, "c")
    await destination.answer(later(), "d")
    assert retry.trouble is not None
    await clock.advance(29)
    assert len(destination.attempts) == 4
    await clock.advance(1)
    assert destination.attempts[4:] == [("d", 40.0)]
    await destination.answer()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_batch_is_sent_first_and_others_when_it_is_known_how_the_destination_answers(
    clock: FakeClock, destination: Destination
) -> None:
    retry = Retry(destination, SETTINGS, clock, "export of traces")
    tasks = await send(retry, "a", "b", "c", "d", "e")
    assert destination.names == ["a"]
    await destination.answer()
    assert destination.names == ["a", "b", "c"]
    await destination.answer()
    assert destination.names == ["a", "b", "c", "d", "e"]
    while destination.open:
        await destination.answer()
    await asyncio.gather(*tasks)


async def test_trouble_is_logged_once_while_it_lasts(
    retry: Retry, destination: Destination, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    (task,) = await send(retry, "a")
    for _ in range(5):
        await destination.answer(later())
        await clock.skip()
    assert len(caplog.messages) == 1
    await destination.answer()
    await task


# Whoever leaves takes no turn along.


async def test_a_mistake_of_the_next_stage_passes_and_gives_the_turn_back(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    tasks = await send(retry, "a", "b")
    await destination.answer(later(), "a")
    await destination.answer(later(), "b")
    await clock.skip()
    await destination.answer(ValueError("a mistake"))
    assert isinstance(tasks[0].exception(), ValueError)
    assert [name for name, _ in destination.open] == ["b"]
    await destination.answer()
    await tasks[1]


async def test_who_leaves_in_the_turn_in_which_its_turn_came_gives_it_on(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    first, second = await send(retry, "a", "b")
    await destination.answer(later(), "a")
    await destination.answer(later(), "b")
    retry._resume_at = 0.0
    retry._let_go()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert destination.names == ["a", "b", "b"]
    await destination.answer()
    await second
    assert retry._under_way == 0


async def test_who_left_in_the_turn_before_is_passed_over(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    first, second = await send(retry, "a", "b")
    await destination.answer(later(), "a")
    await destination.answer(later(), "b")
    first.cancel()
    retry._resume_at = 0.0
    retry._let_go()
    await turns()
    assert destination.names == ["a", "b", "b"]
    await destination.answer()
    await second


async def test_an_alarm_waits_on_when_the_time_was_moved(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    first, second = await send(retry, "a", "b")
    await destination.answer(later(1), "a")
    await clock.advance(0.5)
    await destination.answer(later(10), "b")
    await clock.advance(0.5)
    assert clock.alarms == [9.5]
    await clock.skip()
    await destination.answer()
    await destination.answer()
    await asyncio.gather(first, second)


@pytest.mark.parametrize("seed", range(30))
async def test_cancelling_anyone_at_any_point_leaks_no_turn(
    seed: int, retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    chance = random.Random(seed)
    tasks: list[asyncio.Task[None]] = []

    def come() -> None:
        tasks.append(asyncio.create_task(retry.consume(request(f"{len(tasks)}"))))

    def leave() -> None:
        chance.choice(tasks).cancel()

    def answer(*errors: Exception | None) -> None:
        for _, attempt in chance.sample(destination.open, min(1, len(destination.open))):
            error = chance.choice(errors)
            if not attempt.done():
                attempt.set_result(None) if error is None else attempt.set_exception(error)

    come()
    for _ in range(200):
        chance.choice([come, leave, lambda: answer(None, None, later(), later(3), InvalidData("bad"))])()
        await clock.advance(chance.choice([0, 0, 2]))
        await turns(chance.randint(0, 3))
        assert len(destination.open) <= retry._under_way
    while not all(task.done() for task in tasks):  # from now on the destination takes everything
        answer(None)
        await clock.advance(1)
    assert all(task.cancelled() or isinstance(task.exception(), InvalidData | None) for task in tasks)
    assert retry._under_way == 0
    assert not retry._line
    assert clock.alarms == []


async def test_it_tells_how_it_stands_between_us_and_the_destination(
    retry: Retry, destination: Destination, clock: FakeClock
) -> None:
    assert retry.standing() == Standing(None, 0, 0.0, 0, 0)
    tasks = await send(retry, "a")
    await destination.answer(later(delay=5.0))
    tasks += await send(retry, "b")
    assert retry.standing() == Standing("busy", 1, 5.0, under_way=0, in_line=2)
    await clock.advance(5)
    assert retry.standing() == Standing("busy", 1, 0.0, under_way=1, in_line=1)
    while destination.open:
        await destination.answer()
    await asyncio.gather(*tasks)
    assert retry.standing() == Standing(None, 0, 0.0, 0, 0)
