"""What a server lets its clients do, and what its connections share."""

import asyncio
from dataclasses import dataclass
from typing import Final

from uvicorn.server import ServerState

__all__ = ["BUSY", "WHOLE", "Bounds", "State"]

BUSY: Final = "otlp.busy"
"""The key in a scope's state under which a connection says why the application is to refuse, for now."""

WHOLE: Final = "otlp.answer"
"""The extension of a connection that takes an answer in one message of this type, with `head`, the bytes of its status
line and headers but for the date and the connection's, and `body`. Its parts as ASGI has them cost 5 µs more."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a server lets its clients do; times are in seconds."""

    max_connections: int
    header_timeout: float
    body_timeout: float
    max_connection_age: float
    idle_timeout: float = 120.0
    """Well above the 90 s for which Go's clients keep a connection: they do not repeat a POST that meets its end."""
    head_bytes: int = 1 << 16
    url_bytes: int = 1 << 13

    @property
    def excess(self) -> int:
        """How many connections above `max_connections` are told so; those beyond are reset."""
        return self.max_connections // 10 + 16


class State(ServerState):
    """What the connections of one server share."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self.bounds = bounds
        self.closing = False
        self.header_lines = b""
        """The headers that every answer has, as they are written."""
        self.ended = asyncio.Event()
        """Set whenever a connection has ended."""

    async def until_empty(self) -> None:
        """Wait until no connection is left."""
        while self.connections:
            self.ended.clear()
            await self.ended.wait()
