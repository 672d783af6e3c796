"""The console as a part of the service: what it looks at, how often, and for whom.

Invariants, each with a test of its name:

- While nobody looks, it reads the figures once in ten seconds and does nothing else.
- A mistake in a page neither ends the service nor the other pages.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

from fastapi import APIRouter

from app.console.destination import Destination
from app.console.figures import sample
from app.console.flow import State
from app.console.history import POINT_SECONDS, History
from app.console.html import Markup, join, tag
from app.console.page import Live, badge
from app.console.passing import Passing
from app.console.routes import console_routes
from app.console.views.configuration import ConfigurationView
from app.console.views.dead import PATH, DeadView
from app.console.views.destination import DestinationView
from app.console.views.flow import FlowView
from app.console.views.health import HealthView
from app.console.views.passing import LogsView, MetricsView
from app.console.views.queue import QueueView
from app.console.views.traces import TracesView
from app.console.views.view import Look, View
from app.console.watchers import Watcher, Watchers
from app.console.words import clock as time_of_day
from app.core.clock import Clock
from app.core.consumer import Consumer
from app.core.log import Log
from app.core.request import Signal
from app.health import DISK, Health
from app.pipeline.admission import Admission
from app.pipeline.retry import Retry
from app.queue import Desk, Queue
from app.receivers.auth import Doorkeeper
from app.settings import Loaded
from app.telemetry.metrics import Metrics

__all__ = ["Console"]

_log = Log(__name__)
_LOOK_SECONDS = 1.0
_FAREWELL_SECONDS = 1.0
_STATES = {"ready": State.WELL, "stuck": State.FAILING}


class Console:
    """Made with the admin port, whose `routes` it has; entered when everything else is, and left first."""

    def __init__(
        self,
        in_force: Callable[[], Loaded],
        *,
        metrics: Metrics,
        health: Health,
        queue: Queue,
        desk: Desk,
        doorkeeper: Doorkeeper,
        clock: Clock,
        version: str,
    ) -> None:
        settings = in_force().settings
        self.version = version
        self._metrics = metrics
        self._health = health
        self._queue = queue
        self._clock = clock
        self._host = settings.server.host
        self._ports = 0, 0
        self._doors: Iterable[Admission] = ()
        self._history = History()
        self._destination = Destination(settings.exporter, clock)
        self._passing = Passing(clock)
        self._watchers = Watchers()
        self._watchers.closed = True
        self._flow = FlowView(self._history, self._destination, self._addresses, self._stalled)
        self._views: Mapping[str, View] = {
            "/": self._flow,
            "/console/queue": QueueView(self._history, settings.queue.storage),
            "/console/destination": DestinationView(self._destination, clock),
            PATH: DeadView(desk),
            "/console/traces": TracesView(self._passing, self._addresses),
            "/console/metrics": MetricsView(self._passing, self._addresses),
            "/console/logs": LogsView(self._passing, self._addresses),
            "/console/configuration": ConfigurationView(in_force),
            "/console/health": HealthView(health),
        }
        self.routes: APIRouter = console_routes(self, self._views, desk, doorkeeper)
        self.tasks: list[asyncio.Task[None]] = []
        """What runs from entering to leaving."""

    def observe(self, attempt: Consumer) -> Consumer:
        """Make a stage of `attempt`, which makes an attempt to export, that tells what became of it."""
        return self._destination.observe(attempt)

    def follow(
        self, retries: Mapping[Signal, Retry], doors: Iterable[Admission], *, http_port: int, grpc_port: int
    ) -> None:
        """Tell of these stages from now on."""
        self._destination.follow(retries)
        self._doors = tuple(doors)
        self._ports = http_port, grpc_port

    async def __aenter__(self) -> Self:
        self.refresh()
        self._watchers.closed = False
        self.tasks = [asyncio.create_task(self._look_for_ever(), name="console")]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []
        for door in self._doors:
            door.tap = None
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._watchers.close()

    # What the pages are of

    def refresh(self) -> None:
        """Look at the figures, unless that was less than a second ago; before it is entered there are none."""
        latest = self._history.latest
        if self._doors and (latest is None or self._clock.monotonic() - latest.monotonic >= _LOOK_SECONDS / 2):
            self._history.add(sample(self._metrics, self._queue, self._clock))

    def status(self) -> Markup:
        """How the service is, where it hurts, and its time: a page whose clock stands still has lost it."""
        said = cast("str", self._health.ready()[1]["status"])
        flow = self._flow.flow()
        hurts = tag("a", badge(flow.state, flow.headline.rstrip(".")), href="/") if flow and flow.hurts else None
        time = tag("time", time_of_day(self._clock.now_ns()), class_="clock")
        return join(badge(_STATES.get(said, State.STRAINED), said), hurts, time)

    def watch(self, look: Look) -> Watcher | None:
        return self._watchers.add(look)

    def attend(self) -> None:
        tap = self._passing.tap
        for door in self._doors:
            door.tap = tap

    def unwatch(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    # What happens once a second

    async def _look_for_ever(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        latest = self._history.latest
        looks = self._watchers.looks()
        if looks or latest is None or self._clock.monotonic() - latest.monotonic >= POINT_SECONDS - 0.5:
            self.refresh()
        await self._passing.decode()
        for look, watchers in looks.items():
            parts = await self._parts(look)
            for watcher in watchers:
                watcher.tell(parts)
            await asyncio.sleep(0)
        self.attend()

    async def _parts(self, look: Look) -> Mapping[str, str]:
        """What is live of a page."""
        try:
            parts = await self._views[look.path].parts(look)
        except Exception as error:  # noqa: BLE001 - a mistake in a page must not end the service
            _log.error(
                "page_failed",
                "the page %(page)s of the console failed: %(reason)s",
                kind=look.path,
                page=look.path,
                reason=repr(error),
            )
            parts = []
        live = {part.name: str(part.content) for part in parts if isinstance(part, Live)}
        return {**live, "status": str(self.status())}

    def _addresses(self) -> str:
        http, grpc = self._ports
        host = "127.0.0.1" if self._host in {"0.0.0.0", "::"} else self._host
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{http} over OTLP/HTTP, or to {name}:{grpc} over OTLP/gRPC"

    def _stalled(self) -> str:
        notes = cast("dict[str, str]", self._health.ready()[1]["notes"])
        return notes.get(DISK, "")
