"""Where it hurts: what each step on the way from clients to the collector does, in figures and words. No I/O.

What is wrong at one step shows at all before it, so the step that hurts is the last one that is in trouble.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from app.console.figures import Change, Sample
from app.console.words import NOTHING, bound, count, per_second, percent, plural, seconds, size
from app.core.request import Signal
from app.pipeline.retry import Standing

__all__ = ["Flow", "Stage", "State", "judge"]

_LATER = frozenset({"429", "503", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "408", "DEADLINE_EXCEEDED"})
_TAKEN = frozenset({"200", "OK"})
_FILLING = 0.8
_OLD_SECONDS = 60.0
_SLOW_COMMIT = 1.0
_REASONS = 2


class State(IntEnum):
    """How a step is; the larger, the worse."""

    IDLE = 0
    WELL = 1
    STRAINED = 2
    FAILING = 3

    @property
    def word(self) -> str:
        return ("idle", "well", "strained", "in trouble")[self]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: what it is called, the figure that tells most of it, more of them, and what is wrong."""

    name: str
    state: State
    figure: str
    unit: str
    facts: Sequence[tuple[str, str]]
    trouble: str = ""
    cause: str = ""
    """What was said of it elsewhere, where it was."""


@dataclass(frozen=True, slots=True)
class Flow:
    """All steps in the order in which telemetry passes them, and a sentence about the whole."""

    stages: Sequence[Stage]
    headline: str
    """A few words, which stay the same while nothing changes but figures."""
    verdict: str
    hurts: Stage | None
    """The step to look at; None: none."""

    @property
    def state(self) -> State:
        return State.WELL if self.hurts is None else self.hurts.state


def judge(change: Change, standings: Mapping[Signal, Standing], endpoints: Sequence[str], stalled: str = "") -> Flow:
    """Tell how it goes.

    Args:
        change: what happened in the last seconds.
        standings: how it stands between us and each signal's destination.
        endpoints: where those are, without secrets.
        stalled: what is wrong with the queue's disk, if something is.
    """
    now = change.now
    stages = [
        _clients(change),
        _receiver(change),
        _queue(change, stalled),
        _exporter(change, standings),
        _collector(change, standings, endpoints),
    ]
    worst = max(stage.state for stage in stages)
    if worst < State.STRAINED:
        peace = _peace(now, stages)
        return Flow(stages, peace, peace, None)
    hurts = [stage for stage in stages if stage.state is worst][-1]
    cause = f" The last failure: {hurts.cause}." if hurts.cause else ""
    where = f"{'In trouble' if hurts.state is State.FAILING else 'Strained'} at the {hurts.name.lower()}"
    return Flow(stages, f"{where}.", f"{where}: {hurts.trouble}.{cause}", hurts)


def _peace(now: Sample, stages: Iterable[Stage]) -> str:
    if not now.accepted or not any(now.accepted.values()):
        return "Nothing has come yet."
    if all(stage.state is State.IDLE for stage in stages):
        return "All is well; nothing comes at the moment."
    return "All is well."


def _clients(change: Change) -> Stage:
    codes = change.by("requests", 2)
    total = sum(codes.values())
    later = sum(number for code, number in codes.items() if code in _LATER)
    refused = sum(number for code, number in codes.items() if code not in _LATER | _TAKEN)
    state, trouble = State.IDLE if not total else State.WELL, ""
    if later or refused:
        state = State.FAILING if later + refused > total / 2 else State.STRAINED
        told = [
            f"{percent(number / total)} of requests {what}"
            for number, what in ((later, "are told to come back"), (refused, "are refused for good"))
            if number
        ]
        trouble = " and ".join(told)
    facts = [
        ("over gRPC", per_second(change.rate("requests", lambda labels: labels[1] == "grpc"))),
        ("over HTTP", per_second(change.rate("requests", lambda labels: labels[1] == "http"))),
        ("told to wait", per_second(later / change.seconds)),
        ("refused", per_second(refused / change.seconds)),
    ]
    return Stage("Clients", state, per_second(total / change.seconds), "requests", facts, trouble)


def _receiver(change: Change) -> Stage:
    answered, refused = change.spread("request_seconds"), change.by("refused", 2)
    state = State.WELL if answered.number else State.IDLE
    trouble = ""
    if refused:
        state = State.STRAINED
        reasons = ", ".join(f"{reason} {count(number)}" for reason, number in list(refused.items())[:_REASONS])
        trouble = f"items are refused, by reason: {reasons}"
    facts = [
        ("half in", _within(answered.within(0.5))),
        ("99 % in", _within(answered.within(0.99))),
        ("refused", per_second(sum(refused.values()) / change.seconds)),
    ]
    return Stage("Receiver", state, per_second(change.rate("accepted")), "items taken", facts, trouble)


def _queue(change: Change, stalled: str) -> Stage:
    now, commits = change.now, change.spread("commit_seconds")
    waiting = sum(now.queued.values())
    fill = now.used_bytes / now.capacity_bytes if now.capacity_bytes else 0.0
    slowest = commits.within(0.99)
    state, trouble = State.WELL if waiting or commits.number else State.IDLE, ""
    if stalled:
        state, trouble = State.FAILING, f"the disk: {stalled}"
    elif now.full:
        state, trouble = State.FAILING, f"it is full, with {plural(waiting, 'item')} that wait"
    elif fill >= _FILLING:
        state, trouble = State.STRAINED, f"it is {percent(fill)} full"
    elif slowest is not None and slowest > _SLOW_COMMIT:
        state, trouble = State.STRAINED, "the disk is slow"
    elif now.oldest_seconds >= _OLD_SECONDS:
        state, trouble = State.STRAINED, f"the oldest item has waited for {seconds(now.oldest_seconds)}"
    facts = [
        ("full", percent(fill)),
        ("room", size(now.capacity_bytes)),
        ("oldest item", seconds(now.oldest_seconds)),
        ("99 % in", _within(slowest)),
    ]
    return Stage("Queue", state, count(waiting), "items wait", facts, trouble)


def _exporter(change: Change, standings: Mapping[Signal, Standing]) -> Stage:
    batches, attempts = change.spread("batch_items"), change.spread("export_seconds")
    failed = {code: number for code, number in change.by("exports", 1).items() if code not in _TAKEN}
    dead = sum(change.now.dead.values())
    under_way = sum(standing.under_way for standing in standings.values())
    state, trouble = State.WELL if attempts.number or under_way else State.IDLE, ""
    if failed:
        state = State.STRAINED
        codes = ", ".join(f"{code} {count(number)}" for code, number in list(failed.items())[:_REASONS])
        trouble = f"attempts fail: {codes}"
    elif dead:
        state, trouble = (
            State.STRAINED,
            f"{plural(dead, 'item')} in the dead letters",
        )
    facts = [
        ("items a batch", NOTHING if batches.mean is None else count(round(batches.mean))),
        ("99 % in", _within(attempts.within(0.99))),
        ("in flight", count(under_way)),
        ("failed", per_second(sum(failed.values()) / change.seconds)),
        ("dead letters", count(dead)),
    ]
    return Stage("Exporter", state, per_second(attempts.number / change.seconds), "batches", facts, trouble)


def _collector(change: Change, standings: Mapping[Signal, Standing], endpoints: Sequence[str]) -> Stage:
    troubled = {signal: standing for signal, standing in standings.items() if standing.trouble}
    sent = change.rate("sent")
    state, trouble, cause = State.WELL if sent else State.IDLE, "", ""
    if troubled:
        signals = ", ".join(signal.value for signal in troubled)
        cause = next(iter(troubled.values())).trouble or ""
        soonest = min(standing.wait for standing in troubled.values())
        again = f"the next attempt is in {seconds(round(soonest, 1))}" if soonest >= 0.1 else "it is being tried"
        state, trouble = State.FAILING, f"{signals} not taken; what waits is kept, {again}"
    facts = [(f"place{'s' if len(endpoints) > 1 else ''}", ", ".join(endpoints))]
    for signal in Signal:
        told = "not taken" if signal in troubled else "taken" if change.now.sent[signal.value,] else "nothing yet"
        facts.append((signal.value, told))
    return Stage("Collector", state, per_second(sent), "items delivered", facts, trouble, cause)


def _within(value: float | None) -> str:
    return NOTHING if value is None else bound(value)
