"""Accepts connections for TLS. An event loop's own server does not tell of those who connect and stay silent, and so
could not bound them.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

from app.core.log import Log
from app.receivers.http_bounds import State

__all__ = ["TlsDoor"]

_log = Log(__name__)
_REST_SECONDS = 0.5


class TlsDoor:
    """Speaks TLS with who connects to `listener`, then lets a protocol that `make` makes go on."""

    def __init__(
        self, listener: socket.socket, make: Callable[[], asyncio.Protocol], state: State, tls: ssl.SSLContext
    ) -> None:
        self._listener = listener
        self._make = make
        self._state = state
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
        listener.setblocking(False)

    async def accept(self) -> None:
        """Accept connections until it is cancelled, and all handshakes with it."""
        bounds = self._state.bounds
        try:
            while True:
                connection = await self._next()
                if len(self._handshakes) + len(self._state.connections) >= bounds.max_connections + bounds.excess:
                    connection.close()
                    continue
                task = asyncio.create_task(self._shake_hands(connection), name="TLS handshake")
                self._handshakes.add(task)
                task.add_done_callback(self._handshakes.discard)
        finally:
            for task in self._handshakes:
                task.cancel()
            await asyncio.gather(*self._handshakes, return_exceptions=True)

    async def _next(self) -> socket.socket:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            except ConnectionError:
                continue  # it left already
            except OSError as error:
                _log.error("cannot_accept", "cannot accept a connection, for now: %(reason)s", reason=str(error))
                await asyncio.sleep(_REST_SECONDS)
            else:
                return connection

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, connection, ssl=self._tls, ssl_handshake_timeout=self._state.bounds.header_timeout
            )
        except OSError:
            connection.close()  # it left, took too long, speaks something else or shows the wrong certificate
