"""SIGHUP: the configuration is read again, and what can change while the service runs takes effect.

All or nothing: each part prepares what is new, and only when all could are they told to use it. What has a mistake
changes nothing. A key that takes effect at the next start only is named, and the rest goes on without it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable

from app.core.log import Log
from app.settings import Loaded, Settings, SettingsError, adopt, changes, check_files
from app.telemetry.metrics import Metrics

__all__ = ["Part", "Reload", "Switch"]

_log = Log(__name__)

Switch = Callable[[], None]
"""Puts in force what was prepared; does not fail."""

Part = Callable[[Settings], Switch | Awaitable[Switch]]
"""Prepares for other settings; raises `OSError` or `ValueError` where it cannot, and has changed nothing so far."""


class Reload:
    """Reads the configuration again when it is asked to."""

    def __init__(self, loaded: Loaded, metrics: Metrics) -> None:
        self.loaded = loaded
        """What is in force."""
        self._metrics = metrics
        self._asked = asyncio.Event()
        self._times = 0
        """How often it was asked; who asks is answered each time, also when the answer is the same."""
        self.parts: list[Part] = []
        """What can change, in the order in which it is prepared."""

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return self.loaded.settings

    def ask(self) -> None:
        """Have it read again: at once, or as soon as somebody heeds it."""
        self._asked.set()

    async def heed(self) -> None:
        """Do it each time, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._times += 1
            try:
                # Files of some kilobytes are read and checked: a matter of milliseconds, and as at the start.
                await self._read_again()
            except SettingsError as error:
                self._refuse(error.problems)
            except (OSError, ValueError) as error:
                self._refuse([str(error)])

    def _refuse(self, problems: Iterable[str]) -> None:
        self._metrics.reloaded("config", False)
        for problem in problems:
            _log.error(
                "reload_refused",
                "the configuration is not read again, and stays as it was: %(problem)s",
                kind=f"{self._times} {problem}",
                problem=problem,
            )

    async def _read_again(self) -> None:
        read = self.loaded.again()
        check_files(read)
        after = adopt(self.loaded, read)
        switches = [await _ready(part(after.settings)) for part in self.parts]
        changed = changes(self.loaded, after)
        self.loaded = after
        for switch in switches:
            switch()
        self._metrics.reloaded("config", True)
        for key, now, then, origin in changes(after, read):
            _log.warning(
                "setting_waits",
                "%(key)s: %(value)s takes effect at the next start (%(origin)s); until then it is %(in_force)s",
                kind=f"{self._times} {key}",
                key=key,
                value=then,
                origin=origin,
                in_force=now,
            )
        what = ", ".join(f"{key} is {now} ({origin})" for key, _, now, origin in changed)
        _log.info(
            "reloaded",
            "the configuration was read again: %(changes)s",
            changes=what or "nothing in it changed",
        )


async def _ready(switch: Switch | Awaitable[Switch]) -> Switch:
    return await switch if isawaitable(switch) else switch
