"""Where telemetry goes: whether it is taken, and what went wrong last."""

from collections.abc import Sequence

from app.console.destination import Destination
from app.console.flow import State
from app.console.html import Markup, join, tag
from app.console.page import Live, Part, badge, hint, table
from app.console.views.view import Look
from app.console.words import ago, count, date, seconds, size
from app.core.clock import Clock
from app.pipeline.retry import Standing

__all__ = ["DestinationView"]


class DestinationView:
    """A row for each signal, the batches in flight, and the last failures."""

    title = "Destination"

    def __init__(self, destination: Destination, clock: Clock) -> None:
        self._destination = destination
        self._clock = clock

    async def parts(self, look: Look) -> Sequence[Part]:  # noqa: ARG002 - it has no parameters
        return [
            Live("standing", self._standings()),
            tag("h2", "Batches in flight"),
            Live("flight", self._in_flight()),
            tag("h2", "Last failures"),
            Live("failures", self._failures()),
        ]

    def _standings(self) -> Markup:
        succeeded = {} if self._destination.witness is None else self._destination.witness.succeeded_ns
        now = self._clock.now_ns()
        rows = []
        for signal, standing in self._destination.standings().items():
            last = succeeded.get(signal)
            rows.append(
                [
                    tag("b", signal.value),
                    _state(standing, last),
                    _place(self._destination.by_signal[signal], standing),
                    "never" if last is None else tag("span", ago(last, now), title=date(last)),
                    _next(standing),
                    count(standing.failures),
                ]
            )
        head = ["Signal", "State", "Place", "Last success", "Next attempt", "Failures in a row"]
        return table(f"Destinations, over {self._destination.protocol}", head, rows, ["", "", "wide", "", "", "number"])

    def _in_flight(self) -> Markup:
        waiting = {signal: standing.in_line for signal, standing in self._destination.standings().items()}
        batches = [] if self._destination.witness is None else self._destination.witness.under_way
        line = sum(waiting.values())
        held = tag("p", f"{count(line)} more wait for their turn.", class_="note") if line else None
        if not batches:
            return hint(tag("p", "None at the moment. "), held)
        now = self._clock.monotonic()
        rows = [
            [each.signal.value, count(each.items), size(each.size), seconds(round(now - each.began, 2))]
            for each in batches
        ]
        shown = table("Batches in flight", ["Signal", "Items", "Size", "For"], rows, ["", "number", "number", "number"])
        return tag("div", shown, held)

    def _failures(self) -> Markup:
        failures = [] if self._destination.witness is None else self._destination.witness.failures
        if not failures:
            return hint(tag("p", "None since the start."))
        now = self._clock.now_ns()
        rows = [
            [
                tag("span", ago(each.last_ns, now), title=date(each.last_ns)),
                each.signal.value,
                each.reason,
                each.message,
                count(each.times),
                date(each.first_ns),
            ]
            for each in failures
        ]
        head = ["Last", "Signal", "Reason", "What was said", "Times", "First"]
        return table("Last failures", head, rows, ["", "", "", "wide", "number", ""])


def _state(standing: Standing, last: int | None) -> Markup:
    if standing.trouble is not None:
        return badge(State.FAILING, "not taken")
    return badge(State.IDLE, "nothing sent yet") if last is None else badge(State.WELL, "taken")


def _place(place: str, standing: Standing) -> Markup:
    trouble = standing.trouble and tag("p", standing.trouble.removeprefix(f"{place}: "), class_="trouble-said")
    return join(tag("code", place), trouble)


def _next(standing: Standing) -> str:
    if standing.wait > 0:
        return f"in {seconds(round(standing.wait, 1))}"
    return "under way" if standing.under_way else "with the next batch"
