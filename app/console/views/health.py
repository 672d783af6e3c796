"""What the probes answer, and why."""

from collections.abc import Sequence
from typing import cast

from app.console.flow import State
from app.console.html import Markup, tag
from app.console.page import Live, Part, badge, hint, table
from app.console.views.view import Look
from app.health import Health

__all__ = ["HealthView"]


class HealthView:
    """Probes, components and notes."""

    title = "Health"

    def __init__(self, health: Health) -> None:
        self._health = health

    async def parts(self, look: Look) -> Sequence[Part]:  # noqa: ARG002 - it has no parameters
        return [
            Live("probes", self._probes()),
            tag("h2", "Components"),
            Live("components", self._components()),
            tag("h2", "Notes"),
            Live("notes", self._notes()),
        ]

    def _probes(self) -> Markup:
        probes = (
            ("live", self._health.live, "An orchestrator starts the process anew while it is not."),
            ("ready", self._health.ready, "A load balancer sends to it while it is."),
            ("startup", self._health.started, "Was it ever ready?"),
        )
        rows = [
            [
                tag("code", f"/health/{name}"),
                badge(State.WELL, "yes") if probe()[0] else badge(State.FAILING, "no"),
                meaning,
            ]
            for name, probe, meaning in probes
        ]
        return table("Probes", ["Probe", "Answer", "Meaning"], rows)

    def _components(self) -> Markup:
        components = cast("dict[str, str]", self._health.ready()[1]["components"])
        if not components:
            return hint(tag("p", "None reports yet."))
        rows = [
            [tag("b", name), badge(State.WELL, "ok") if state == "ok" else badge(State.FAILING, state)]
            for name, state in components.items()
        ]
        return table("Components", ["Component", "State"], rows)

    def _notes(self) -> Markup:
        notes = cast("dict[str, str]", self._health.ready()[1]["notes"])
        if not notes:
            return hint(tag("p", "None: all is as it should be."))
        rows = [[tag("b", name), badge(State.STRAINED, "look"), text] for name, text in notes.items()]
        return table("Notes", ["About", "", "What is not as it should be"], rows, ["", "", "wide"])
