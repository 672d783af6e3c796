"""A connection's way out, which can be closed without cutting off what the client has not read yet."""

import asyncio
from collections.abc import Callable

__all__ = ["GentleTransport"]


class GentleTransport(asyncio.Transport):
    """A transport of which the connection decides how it is closed."""

    def __init__(self, real: asyncio.Transport, close: Callable[[], None]) -> None:
        super().__init__()
        self.real = real
        self.lingers = False
        self._close = close
        self.write = real.write  # type: ignore[method-assign]
        self.abort = real.abort  # type: ignore[method-assign]
        self.pause_reading = real.pause_reading  # type: ignore[method-assign]
        self.resume_reading = real.resume_reading  # type: ignore[method-assign]
        self.get_extra_info = real.get_extra_info  # type: ignore[method-assign]

    def close(self) -> None:
        self._close()

    def is_closing(self) -> bool:
        return self.lingers or self.real.is_closing()

    def linger(self) -> None:
        """End what is sent, and go on reading."""
        self.lingers = True
        if self.real.can_write_eof():
            self.real.write_eof()
