"""From clients to the collector at one glance."""

from collections.abc import Callable, Sequence

from app.console.destination import Destination
from app.console.figures import Change
from app.console.flow import Flow, Stage, judge
from app.console.history import History
from app.console.html import Markup, join, tag
from app.console.page import Live, Part, badge, facts, hint, table
from app.console.views.view import Look
from app.console.words import count, per_second
from app.core.request import Signal

__all__ = ["FlowView"]

_SHORT = 16
"""Characters that have room beside the name of a fact."""


class FlowView:
    """The steps, the one that hurts, and the books by signal."""

    title = "Flow"

    def __init__(
        self, history: History, destination: Destination, addresses: Callable[[], str], stalled: Callable[[], str]
    ) -> None:
        self._history = history
        self._destination = destination
        self._addresses = addresses
        self._stalled = stalled

    def flow(self) -> Flow | None:
        """How it goes; None: there are no figures yet."""
        change = self._history.change
        if change is None:
            return None
        return judge(change, self._destination.standings(), self._destination.places, self._stalled())

    async def parts(self, look: Look) -> Sequence[Part]:  # noqa: ARG002 - it has no parameters
        change, flow = self._history.change, self.flow()
        if change is None or flow is None:
            starting = hint(tag("p", "The service is starting; there are no figures yet."))
            return [Live("verdict", join()), Live("flow", starting), Live("books", join())]
        empty = None
        if not any(change.now.accepted.values()):
            empty = hint(tag("p", f"Nothing has come yet. Send to {self._addresses()}."))
        verdict = join(
            # A screen reader is told of what changes, not of each figure in it.
            tag("p", flow.headline, class_="unseen", role="status"),
            tag("p", badge(flow.state), " ", tag("span", flow.verdict), class_="verdict"),
        )
        return [Live("verdict", verdict), Live("flow", join(empty, _stages(flow))), Live("books", _books(change))]


def _stages(flow: Flow) -> Markup:
    return tag("ol", [_stage(stage, hurts=stage is flow.hurts) for stage in flow.stages], class_="flow")


def _stage(stage: Stage, *, hurts: bool) -> Markup:
    return tag(
        "li",
        tag("h2", stage.name),
        badge(stage.state),
        tag("p", tag("b", stage.figure), " ", stage.unit, class_="figure"),
        facts(
            [(name, tag("span", value, class_="long") if len(value) > _SHORT else value) for name, value in stage.facts]
        ),
        tag("p", tag("b", "Here it hurts. " if hurts else ""), _sentence(stage.trouble), class_="trouble")
        if stage.trouble
        else None,
        class_=f"stage {stage.state.name.lower()}{' hurts' if hurts else ''}",
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _books(change: Change) -> Markup:
    now = change.now

    def total(counter: str, signal: Signal) -> int:
        return int(sum(value for labels, value in getattr(now, counter).items() if labels[0] == signal.value))

    def rate(counter: str, signal: Signal) -> str:
        return per_second(change.rate(counter, lambda labels: labels[0] == signal.value))

    rows = [
        [
            tag("b", signal.noun),
            rate("accepted", signal),
            rate("refused", signal),
            rate("sent", signal),
            count(total("accepted", signal)),
            count(total("recovered", signal)),
            count(total("sent", signal)),
            count(total("dropped", signal)),
            count(now.dead[signal]),
            count(now.queued[signal]),
        ]
        for signal in Signal
    ]
    head = [
        "Items",
        "Taken",
        "Refused",
        "Delivered",
        "Accepted",
        "Recovered",
        "Delivered",
        "Dropped",
        "Dead",
        "Waiting",
    ]
    groups = (("", 1), ("In the last ten seconds", 3), ("Since the start", 4), ("Now", 2))
    kinds = ["", "number", "number", "number", "number first", "number", "number", "number", "number first", "number"]
    law = "What was accepted or recovered is always what was delivered, was dropped, is dead, and waits."
    books = table("What became of the items of each signal", head, rows, kinds, groups)
    return join(tag("h2", "By signal"), books, tag("p", law, class_="note"))
