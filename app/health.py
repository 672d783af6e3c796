"""Whether the service lives and is ready. Components report, probes read; nothing here waits.

- *Started* once it is ready for the first time, and from then on.
- *Ready* from then until it drains, while it lives. A full queue or a destination that is down is a note in the
  body: a pod that is not ready gives its clients a refused connection in place of an honest "later".
- *Live* while no component is silent for longer than it may be; draining stays live.
"""

from enum import Enum

from app.core.clock import Clock

__all__ = ["DEAD_LETTERS", "DISK", "MEMORY", "QUEUE", "Component", "Health"]

QUEUE = "queue"
"""The note about a full queue, the only one that can make the service unready."""

DEAD_LETTERS = "dead letters"
"""The note about what the destination refused for good."""

DISK = "disk"
"""The note about a disk that takes its time."""

MEMORY = "memory"
"""The note about clients that were told to come back because memory is short."""


class Phase(Enum):
    """Where in its life the service is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Component:
    """What one part of the service tells of itself. It may be called from any thread.

    A component is judged from a `beat` until it says `idle`: a loop beats at each turn, a worker beats when it
    begins something and idles when it has nothing to do.
    """

    def __init__(self, name: str, limit_seconds: float, clock: Clock) -> None:
        self.name = name
        self.limit_seconds = limit_seconds
        self._clock = clock
        self._since: float | None = None

    def beat(self) -> None:
        """Tell that work goes on."""
        self._since = self._clock.monotonic()

    def idle(self) -> None:
        """Tell that there is nothing to do, for however long."""
        self._since = None

    def silence(self) -> float:
        """Seconds since the last beat; 0 if idle."""
        since = self._since
        return 0.0 if since is None else max(0.0, self._clock.monotonic() - since)

    @property
    def stuck(self) -> bool:
        return self.silence() > self.limit_seconds


class Health:
    """What the probes answer: whether all is well, and a body that says why."""

    def __init__(self, version: str, clock: Clock, *, unready_when_full: bool = False) -> None:
        self._version = version
        self._clock = clock
        self._unready_when_full = unready_when_full
        self._phase = Phase.STARTING
        self._components: dict[str, Component] = {}
        self._notes: dict[str, str] = {}

    def ready_now(self) -> None:
        """Configuration is read, the queue recovered, the ports are bound. Does nothing once draining."""
        if self._phase is Phase.STARTING:
            self._phase = Phase.READY

    def draining(self) -> None:
        """The service is to end; there is no way back."""
        self._phase = Phase.DRAINING

    def component(self, name: str, limit_seconds: float) -> Component:
        """Add a part that is stuck when it is silent for longer than `limit_seconds`."""
        component = self._components[name] = Component(name, limit_seconds, self._clock)
        return component

    def note(self, name: str, text: str | None) -> None:
        """Show in the body that something is not as it should be; None takes it back."""
        if text is None:
            self._notes.pop(name, None)
        else:
            self._notes[name] = text

    def live(self) -> tuple[bool, dict[str, object]]:
        return self._answer(not self._stuck())

    def ready(self) -> tuple[bool, dict[str, object]]:
        full = self._unready_when_full and QUEUE in self._notes
        return self._answer(self._phase is Phase.READY and not full and not self._stuck())

    def started(self) -> tuple[bool, dict[str, object]]:
        return self._answer(self._phase is not Phase.STARTING)

    def _stuck(self) -> bool:
        return any(component.stuck for component in self._components.values())

    def _answer(self, ok: bool) -> tuple[bool, dict[str, object]]:
        components = {
            component.name: f"silent for {component.silence():.0f} s" if component.stuck else "ok"
            for component in self._components.values()
        }
        status = "stuck" if self._stuck() else self._phase.value
        return ok, {"status": status, "components": components, "notes": dict(self._notes), "version": self._version}
