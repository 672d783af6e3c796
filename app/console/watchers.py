"""Who looks at a page now, and gets what changes on it: server-sent events.

Invariants, each with a test of its name:

- There are at most so many watchers; one more is told so.
- A watcher that does not read keeps nothing but the latest, and is let go of after a while.
- When the service ends, watchers are told, and their streams end.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

import orjson

from app.console.views.view import Look

__all__ = ["BUSY", "Watcher", "Watchers"]

_MOST = 16
_PATIENCE = 10
"""Rounds of news that a watcher may leave unread."""


class Watcher:
    """One open page, and what it looks at."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._seen: dict[str, str] = {}
        self._news: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._unread = 0
        self._last = ""

    @property
    def ended(self) -> bool:
        return bool(self._last)

    def tell(self, parts: Mapping[str, str]) -> None:
        """Offer it the parts of its page as they are now; who has left too many of them unread is let go of."""
        self._unread += 1
        if self._unread > _PATIENCE:
            self.end("slow")
            return
        self._news = dict(parts)
        self._wake.set()

    def end(self, reason: str) -> None:
        """Let what was told last be the last."""
        self._last = self._last or reason
        self._wake.set()

    async def events(self) -> AsyncIterator[bytes]:
        """The stream: the parts that changed since they were last sent, in one event a round."""
        yield b"data: {}\n\n"  # at once, so that the page knows that it is connected
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._unread = 0
            changed = {name: part for name, part in self._news.items() if self._seen.get(name) != part}
            self._seen |= changed
            # Also where nothing changed: a page whose news stop says that the service is lost.
            yield b"data: " + orjson.dumps(changed) + b"\n\n"
            if self._last:
                yield _end(self._last)
                return


def _end(reason: str) -> bytes:
    return f"event: end\ndata: {reason}\n\n".encode()


BUSY: Final = _end("busy")
"""The stream of who cannot be a watcher now."""


class Watchers:
    """All open pages."""

    def __init__(self) -> None:
        self._open: set[Watcher] = set()
        self._left = asyncio.Event()
        self.closed = False

    def __len__(self) -> int:
        return len(self._open)

    def looks(self) -> dict[Look, list[Watcher]]:
        """What is looked at, and by whom."""
        found: dict[Look, list[Watcher]] = {}
        for watcher in self._open:
            if not watcher.ended:
                found.setdefault(watcher.look, []).append(watcher)
        return found

    def add(self, look: Look) -> Watcher | None:
        """One more page; None where there are enough, or the service ends."""
        if self.closed or len(self._open) >= _MOST:
            return None
        watcher = Watcher(look)
        self._open.add(watcher)
        return watcher

    def discard(self, watcher: Watcher) -> None:
        self._open.discard(watcher)
        self._left.set()

    async def close(self) -> None:
        """Tell all that the service ends, and wait until their streams have ended."""
        self.closed = True
        for watcher in self._open:
            watcher.end("bye")
        while self._open:
            self._left.clear()
            await self._left.wait()
