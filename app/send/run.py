"""A run of ``otlp-service send``: what is sent when, what became of it, and how it ends."""

import logging
import signal as signals
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import Thread
from types import FrameType
from typing import Protocol, TextIO

from app.send.answers import Outcome
from app.send.bar import Bar
from app.send.batch import Batch, Batches
from app.send.client import Client
from app.send.options import Options
from app.send.plan import Plan
from app.send.shop import Shop
from app.settings.endpoint import mask_url

__all__ = ["Run", "Sender", "run"]

_TICK = 0.1
_LAST_WORD = 1.0
"""Seconds that a request under way has when the run is stopped."""
_PATIENCE = 2.0
"""Seconds beyond its timeout after which an exporter is taken for stuck."""
_REASONS_TOLD = 5


class Sender(Protocol):
    """What sends a request and tells what became of it."""

    def send(self, batch: Batch, items: int) -> Outcome: ...


@dataclass(slots=True)
class _Tally:
    sent: int = 0
    accepted: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """How many items were refused for what."""

    def add(self, outcome: Outcome) -> None:
        self.accepted += outcome.accepted
        self.refused += outcome.refused
        if outcome.refused:
            reason = outcome.reason if len(self.reasons) < _REASONS_TOLD else "other reasons"
            self.reasons[reason] = self.reasons.get(reason, 0) + outcome.refused


class Run:
    """Sends until its plan is over or a signal stops it.

    Args:
        options: what was asked for.
        sender: what sends.
        failure: why the attempt failed that is now to be repeated; empty while none did.
        output: gets the summary.
        remarks: gets the bar, and why items were refused.
        monotonic: the clock.
    """

    def __init__(
        self,
        options: Options,
        sender: Sender,
        batches: Batches,
        failure: Callable[[], str],
        *,
        output: TextIO,
        remarks: TextIO,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._sender = sender
        self._batches = batches
        self._failure = failure
        self._output = output
        self._remarks = remarks
        self._monotonic = monotonic
        self._plan = Plan(options.count, options.rate, options.duration)
        self._bar = Bar(remarks, monotonic)
        self._tally = _Tally()
        self._began = 0.0
        self._stopped = 0
        self._hurried = False
        self._remark = ""

    def stop(self, number: int, _frame: FrameType | None = None) -> None:
        """Send no more; the request under way has a moment to be answered, unless this is the second time."""
        self._hurried = self._stopped != 0
        self._stopped = self._stopped or number

    def go(self) -> int:
        """Send it all; returns the exit code."""
        self._began = self._monotonic()
        while not self._stopped and not self._remark and not self._plan.over(self._tally.sent, self._elapsed()):
            self._wait_for_its_time()
            if not self._stopped:
                self._send()
        seconds = self._elapsed()
        self._bar.clear()
        self._tell(seconds)
        if self._stopped:
            return 128 + self._stopped
        return 0 if self._tally.accepted == self._tally.sent else 1

    def _wait_for_its_time(self) -> None:
        """Of the next request. Whether the run is over is not asked again after it: the last one is due at its end."""
        while not self._stopped and (early := self._plan.due(self._tally.sent) - self._elapsed()) > 0:
            self._draw()
            time.sleep(min(early, _TICK))

    def _send(self) -> None:
        items = self._plan.size(self._tally.sent)
        batch = self._batches.take(items)
        self._tally.sent += items
        future: Future[Outcome] = Future()
        # A thread of its own, so that the bar moves and Ctrl-C is heard; one that is stuck does not hold up the end.
        Thread(target=self._work, args=(batch, items, future), daemon=True).start()
        if not self._answered(future):
            return
        self._tally.add(future.result())
        if not self._tally.accepted and self._plan.size(self._tally.sent):
            self._remark = "gave up: nothing of the first request was accepted"

    def _work(self, batch: Batch, items: int, future: Future[Outcome]) -> None:
        try:
            future.set_result(self._sender.send(batch, items))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            future.set_exception(error)

    def _answered(self, future: Future[Outcome]) -> bool:
        stuck = self._monotonic() + self._options.timeout + _PATIENCE
        while not wait([future], _TICK).done:
            self._draw(self._failure())
            if self._stopped:
                stuck = min(stuck, self._monotonic() + _LAST_WORD)
            if self._hurried or self._monotonic() >= stuck:
                if not self._stopped:
                    self._remark = f"gave up: no answer after {self._options.timeout + _PATIENCE:g} s"
                return False
        return True

    def _draw(self, failure: str = "") -> None:
        tally, noun, elapsed = self._tally, self._options.signal.noun, self._elapsed()
        done = tally.accepted + tally.refused
        text = str(done) if self._options.count is None else f"{done}/{self._options.count}"
        text += f" {noun}"
        if tally.refused:
            text += f"  {tally.refused} refused"
        text += f"  trying again: {failure}" if failure else f"  {tally.accepted / elapsed if elapsed else 0:.0f}/s"
        self._bar.draw(self._plan.progress(done, elapsed), text)

    def _tell(self, seconds: float) -> None:
        tally, options = self._tally, self._options
        for reason, items in tally.reasons.items():
            self._remarks.write(f"otlp-service send: {items} {options.signal.noun} refused: {reason}\n")
        if self._remark:
            self._remarks.write(f"otlp-service send: {self._remark}\n")
        self._remarks.flush()
        unanswered = tally.sent - tally.accepted - tally.refused
        self._output.write(
            f"{tally.sent} {options.signal.noun} sent over {options.protocol} to {mask_url(options.endpoint)}: "
            f"{tally.accepted} accepted, {tally.refused} refused{f', {unanswered} unanswered' if unanswered else ''}"
            f" in {seconds:.2f} s ({tally.accepted / seconds if seconds else 0:.0f}/s)\n"
        )
        self._output.flush()

    def _elapsed(self) -> float:
        return self._monotonic() - self._began


def run(options: Options) -> int:
    """Carry out `options`; returns the exit code."""
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())  # it would write over the bar
    client = Client(options)
    sending = Run(
        options,
        client,
        Batches(options.signal, Shop()),
        lambda: client.answers.failure,
        output=sys.stdout,
        remarks=sys.stderr,
    )
    for number in (signals.SIGINT, signals.SIGTERM):
        signals.signal(number, sending.stop)
    try:
        return sending.go()
    finally:
        client.close()
