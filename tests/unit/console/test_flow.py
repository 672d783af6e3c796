"""Where it hurts."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.console.figures import Change, sample
from app.console.flow import Flow, State, judge
from app.core.request import ExportRequest, Signal
from app.pipeline.retry import Standing
from app.queue import MemoryQueue
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock

WELL = Standing(None, 0, 0.0, 0, 0)
Judge = Callable[..., Flow]


@pytest.fixture
async def judged(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> Judge:
    """Judge what was counted in the ten seconds since the test began."""
    before = sample(metrics, queue, clock)

    def judged(standings: dict[Signal, Standing] | None = None, stalled: str = "", **now: object) -> Flow:
        clock.now += 10
        after = replace(sample(metrics, queue, clock), **now)  # type: ignore[arg-type]
        standings = dict.fromkeys(Signal, WELL) | (standings or {})
        return judge(Change(before, after), standings, ["http://collector:4318"], stalled)

    return judged


def states(flow: Flow) -> list[State]:
    return [stage.state for stage in flow.stages]


def facts(flow: Flow, stage: int) -> dict[str, str]:
    return dict(flow.stages[stage].facts)


def traffic(metrics: Metrics) -> None:
    """A hundred requests that were taken and delivered."""
    metrics.requests.labels("traces", "grpc", "OK").inc(60)
    metrics.requests.labels("logs", "http", "200").inc(40)
    metrics.accepted.labels("traces", "grpc").inc(100)
    metrics.sent.labels("traces").inc(100)
    for _ in range(100):
        metrics.request_seconds.labels("traces", "grpc").observe(0.004)
    metrics.commit_seconds.labels().observe(0.002)
    metrics.batch_items.labels("traces").observe(100)
    metrics.export_seconds.labels("traces").observe(0.02)
    metrics.export_requests.labels("traces", "200").inc()


async def test_before_anything_came_that_is_said(judged: Judge) -> None:
    flow = judged()
    assert (flow.verdict, flow.hurts, flow.state) == ("Nothing has come yet.", None, State.WELL)
    assert states(flow) == [State.IDLE] * 5


async def test_what_flows_is_well_and_each_step_has_its_figure(judged: Judge, metrics: Metrics) -> None:
    traffic(metrics)
    flow = judged()
    assert (flow.verdict, flow.hurts) == ("All is well.", None)
    assert states(flow) == [State.WELL] * 5
    assert [stage.name for stage in flow.stages] == ["Clients", "Receiver", "Queue", "Exporter", "Collector"]
    assert [stage.figure for stage in flow.stages] == ["10/s", "10/s", "0", "0.1/s", "10/s"]
    assert facts(flow, 0) | {"over gRPC": "6/s", "over HTTP": "4/s"} == facts(flow, 0)
    assert facts(flow, 1)["99 % in"] == "≤\N{NO-BREAK SPACE}5ms"
    assert facts(flow, 3)["items a batch"] == "100"
    assert facts(flow, 4) == {
        "place": "http://collector:4318",
        "traces": "taken",
        "metrics": "nothing yet",
        "logs": "nothing yet",
    }


async def test_a_pause_is_no_trouble(metrics: Metrics, queue: MemoryQueue, clock: FakeClock) -> None:
    traffic(metrics)
    before = sample(metrics, queue, clock)
    await clock.advance(10)
    flow = judge(Change(before, sample(metrics, queue, clock)), {}, [])
    assert flow.verdict == "All is well; nothing comes at the moment."


async def test_a_collector_that_takes_nothing_is_where_it_hurts_though_all_before_it_suffer(
    judged: Judge, metrics: Metrics
) -> None:
    traffic(metrics)
    metrics.export_requests.labels("traces", "503").inc(4)
    metrics.refused.labels("traces", "http", "queue_full").inc(7)
    metrics.requests.labels("traces", "http", "503").inc(7)
    away = Standing("connection refused", 3, 4.2, 0, 2)
    flow = judged({Signal.TRACES: away, Signal.LOGS: away}, full=True)
    assert states(flow) == [State.STRAINED, State.STRAINED, State.FAILING, State.STRAINED, State.FAILING]
    assert flow.hurts is flow.stages[4]
    assert flow.state is State.FAILING
    assert flow.verdict == (
        "In trouble at the collector: traces, logs not taken; what waits is kept, the next attempt is in 4.2s. "
        "The last failure: connection refused."
    )
    assert flow.headline == "In trouble at the collector."
    assert facts(flow, 4)["traces"] == "not taken"


async def test_an_attempt_under_way_is_told_as_such(judged: Judge) -> None:
    flow = judged({Signal.TRACES: Standing("busy", 3, 0.0, 1, 0)})
    assert flow.verdict.endswith("what waits is kept, it is being tried. The last failure: busy.")
    assert facts(flow, 3)["in flight"] == "1"


async def test_clients_that_are_mostly_refused_are_in_trouble(judged: Judge, metrics: Metrics) -> None:
    metrics.requests.labels("traces", "http", "400").inc(30)
    metrics.requests.labels("traces", "grpc", "UNAVAILABLE").inc(30)
    metrics.requests.labels("traces", "grpc", "OK").inc(40)
    flow = judged()
    assert flow.hurts is flow.stages[0]
    assert flow.verdict == (
        "In trouble at the clients: 30 % of requests are told to come back and 30 % of requests are refused for good."
    )
    assert facts(flow, 0) | {"told to wait": "3/s", "refused": "3/s"} == facts(flow, 0)


async def test_a_few_refusals_strain_and_their_reasons_are_told(judged: Judge, metrics: Metrics) -> None:
    traffic(metrics)
    metrics.refused.labels("traces", "http", "invalid").inc(5)
    metrics.refused.labels("traces", "grpc", "too_large").inc(9)
    flow = judged()
    assert flow.verdict == "Strained at the receiver: items are refused, by reason: too_large 9, invalid 5."
    assert facts(flow, 1)["refused"] == "1.4/s"


@pytest.mark.parametrize(
    ("now", "state", "trouble"),
    [
        ({"full": True}, State.FAILING, "it is full, with 0 items that wait"),
        ({"used_bytes": 85, "capacity_bytes": 100}, State.STRAINED, "it is 85 % full"),
        ({"oldest_seconds": 90.0}, State.STRAINED, "the oldest item has waited for 1m30s"),
        ({"used_bytes": 79, "capacity_bytes": 100, "oldest_seconds": 59.0}, State.IDLE, ""),
    ],
)
async def test_a_queue_is_judged_by_its_room_and_the_age_of_what_waits(
    judged: Judge, now: dict[str, object], state: State, trouble: str
) -> None:
    queue = judged(**now).stages[2]
    assert (queue.state, queue.trouble) == (state, trouble)


async def test_a_disk_that_is_slow_or_does_not_answer_shows_at_the_queue(judged: Judge, metrics: Metrics) -> None:
    metrics.commit_seconds.labels().observe(4)
    assert judged().stages[2].trouble == "the disk is slow"
    stalled = judged(stalled="no answer for 6 s")
    assert stalled.stages[2].state is State.FAILING
    assert stalled.verdict == "In trouble at the queue: the disk: no answer for 6 s."


async def test_failed_attempts_and_dead_letters_show_at_the_exporter(judged: Judge, metrics: Metrics) -> None:
    flow = judged(dead={Signal.TRACES: 12, Signal.METRICS: 0, Signal.LOGS: 0})
    assert flow.verdict == "Strained at the exporter: 12 items in the dead letters."
    metrics.export_requests.labels("traces", "timeout").inc(2)
    assert judged().verdict == "Strained at the exporter: attempts fail: timeout 2."


async def test_what_waits_is_counted(judged: Judge, queue: MemoryQueue) -> None:
    await queue.append(ExportRequest(Signal.TRACES, b"x", 1234), lambda _: None)
    flow = judged()
    assert (flow.stages[2].figure, flow.stages[2].state) == ("1234", State.WELL)
