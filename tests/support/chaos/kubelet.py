"""What an orchestrator does for a service: starts it when it ended, asks its probes, and kills what is not live.

A kubelet in a hurry: it asks ten times a second, and starts again at once.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp

from tests.support.chaos.figures import Figures
from tests.support.process import Unexpected, until
from tests.support.scrape import Scrape
from tests.support.service import Service

__all__ = ["NOT_LIVE", "Kubelet", "Life", "Probe"]

_LOOK: Final = 0.02
_PROBE: Final = 0.1
_PROBE_TIMEOUT: Final = 1.0
NOT_LIVE: Final = 15.0
"""For how long the service may be not live before it is killed; Kubernetes gives it thirty seconds and more."""
_BACKOFF: Final = 0.2
_LEAVING: Final = 2.0
"""How long a process may need from closing its doors to its end: gRPC looks for a free descriptor once a second."""


@dataclass(slots=True)
class Life:
    """From a start of the service to its end, in the times of `time.monotonic`."""

    began: float
    ready: float | None = None
    """When it was ready for the first time."""
    ended: float | None = None
    code: int | None = None
    """Its exit code, or minus the signal that ended it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a process that had been ready once, and lived on, said when it was asked `at` a time."""

    at: float
    life: Life
    live: str
    """The status of ``/health/live``; ``none`` where there was no answer."""
    ready: str
    notes: Mapping[str, str]
    """Those in the body of ``/health/ready``."""

    @property
    def leaving(self) -> bool:
        """Whether the process was about to end."""
        return self.life.ended is not None and self.at >= self.life.ended - _LEAVING


@dataclass(slots=True)
class Observed:
    """What probes and scrapes said."""

    probes: list[Probe] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    """Scrapes in which items were missing, or too many."""
    figures: Figures = field(default_factory=Figures)

    @property
    def notes(self) -> set[str]:
        return {f"{name}: {text}" for probe in self.probes for name, text in probe.notes.items()}


class Kubelet:
    """Looks after a service that was started, from entering to leaving.

    It kills one that is not live for `not_live` seconds.
    """

    def __init__(self, service: Service, not_live: float = NOT_LIVE) -> None:
        self._service = service
        self._not_live = not_live
        self._held = 0
        self._tasks: list[asyncio.Task[None]] = []
        now = time.monotonic()
        self.lives = [Life(now, now)]
        """Of the service, the present one last."""
        self.observed = Observed()
        """Since the last `fresh`."""
        self.scrape = Scrape("")
        """The latest."""
        self._scraped: Life | None = None
        """Whose that was."""

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._restart(), name="restarts"),
            asyncio.create_task(self._probe(), name="probes"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and error is None:
                raise result

    def fresh(self) -> Observed:
        """Begin to observe anew; what was observed since the last time."""
        observed, self.observed = self.observed, Observed()
        return observed

    @property
    def up(self) -> bool:
        """Whether the present process was ready once."""
        life = self.lives[-1]
        return life.ready is not None and life.ended is None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Who ends is not started again meanwhile."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    async def until_ended(self, lives: int) -> None:
        """Return when so many lives have ended."""

        async def ended() -> bool:
            return sum(life.ended is not None for life in self.lives) >= lives

        await self._until(ended, f"the end of life {lives} of the service")

    async def until_up(self) -> None:
        """Return when the present process was ready once."""

        async def up() -> bool:
            return self.up

        await self._until(up, "ready")

    async def until_well(self, lasting: Collection[str]) -> None:
        """Return when a process that is asked from now on is live and ready, and has no notes but `lasting` ones."""
        now = time.monotonic()

        async def well() -> bool:
            return any(
                probe.at >= now and probe.live == probe.ready == "200" and probe.notes.keys() <= {*lasting}
                for probe in self.observed.probes[-1:]
            )

        await self._until(well, "a service that is ready and has nothing to note")

    async def until_noted(self, word: str) -> None:
        """Return when a note in the body of ``/health/ready`` has `word` in it."""

        async def noted() -> bool:
            return any(word in note for note in self.observed.notes)

        await self._until(noted, f"a note {word!r} in /health/ready")

    async def until_scraped(self, condition: Callable[[Scrape], bool], what: str) -> None:
        """Return when `condition` holds of a scrape."""

        async def scraped() -> bool:
            return condition(self.scrape)

        await self._until(scraped, what)

    async def until_logged(self, words: str, since: int) -> None:
        """Return when `words` are in the service's log, behind its first `since` characters."""

        async def logged() -> bool:
            return words in self._service.log[since:]

        await self._until(logged, f"{words!r} in the log")

    async def _until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            await until(condition, what)
        except Unexpected as error:
            raise Unexpected(f"{error}\n{self._service.log[-4000:]}") from None

    def was_up(self, at: float, slack: float) -> bool:
        """Whether at that time, and for `slack` seconds before it, a process was ready, and was not about to end."""
        return any(
            life.ready is not None and life.ready + slack <= at and (life.ended is None or at <= life.ended - _LEAVING)
            for life in self.lives
        )

    async def _restart(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            life, code = self.lives[-1], self._service.returncode
            if life.ended is None and code is not None:
                life.ended, life.code = time.monotonic(), code
                await asyncio.sleep(_BACKOFF)
            if life.ended is not None and not self._held:
                self._service.spawn()
                self.lives.append(Life(time.monotonic()))

    async def _probe(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_PROBE_TIMEOUT)
        # A kubelet makes a connection for each probe.
        connector = aiohttp.TCPConnector(force_close=True)
        dead_since: float | None = None
        async with aiohttp.ClientSession(self._service.admin_url, timeout=timeout, connector=connector) as session:
            while True:
                await asyncio.sleep(_PROBE)
                life, at = self.lives[-1], time.monotonic()
                live, _ = await _get(session, "/health/live")
                ready, body = await _get(session, "/health/ready")
                metrics, text = await _get(session, "/metrics")
                if life is not self.lives[-1] or self._service.returncode is not None:
                    dead_since = None
                    continue  # it ended meanwhile
                if ready == "200" and life.ready is None:
                    life.ready = time.monotonic()
                if life.ready is None:
                    continue  # it starts
                notes = json.loads(body)["notes"] if body else {}
                self.observed.probes.append(Probe(at, life, live, ready, notes))
                if metrics == "200":
                    before, self.scrape = self.scrape, Scrape(text)
                    # A process counts from zero.
                    self.observed.figures.see(before if self._scraped is life else Scrape(""), self.scrape)
                    self._scraped = life
                    self._check_law()
                if live == "200":
                    dead_since = None
                elif dead_since is None:
                    dead_since = time.monotonic()
                elif time.monotonic() - dead_since > self._not_live:
                    self._service.kill()

    def _check_law(self) -> None:
        try:
            self.scrape.check_law()
        except AssertionError as error:
            self.observed.unbalanced.append(str(error))


async def _get(session: aiohttp.ClientSession, path: str) -> tuple[str, str]:
    """Status and body; ``none`` where nobody answers in time."""
    try:
        async with session.get(path) as answer:
            return str(answer.status), await answer.text()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return "none", ""
