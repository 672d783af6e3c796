"""An HTTP/1.1 server: uvicorn's, as a part of a service that owns the event loop, the signals and the exit code."""

import asyncio
import errno
import socket
import ssl
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from app.receivers.http_bounds import Bounds, State
from app.receivers.http_connection import Connection
from app.receivers.http_tls import TlsDoor

__all__ = ["HttpServer", "bind", "bind_error"]

_SWEEP_SECONDS = 1.0
_FLUSH_SECONDS = 1.0
_BACKLOG = 2048


class HttpServer(uvicorn.Server):
    """Serves one ASGI application on one port, between entering and leaving; both may happen more than once.

    uvicorn's own `serve` is not used, because it takes over signals and ends the process by them.
    """

    server_state: State

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        key: str,
        bounds: Bounds,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
            )
        )
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        self._address = host, port, key
        self._bounds = bounds
        self._tls = tls
        self._socket: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.port = port
        """The port that is bound, once it is."""

    async def __aenter__(self) -> Self:
        if self._socket is None:
            self._socket = bind(*self._address)
            self.port = self._socket.getsockname()[1]
            self.server_state = State(self._bounds)
            await self._set_headers()
            self.servers = []
            self._tasks = [asyncio.create_task(self._sweep(), name=f"sweeper of {self._address[2]}")]
            await self._listen(self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._socket is None:
            return
        for server in self.servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._tasks = []
        self._socket.close()
        self._socket = None
        await self._end_connections()
        for server in self.servers:
            await server.wait_closed()

    async def _listen(self, listener: socket.socket) -> None:
        """Do what uvicorn's `startup` does."""
        config, state = self.config, self.server_state

        def protocol() -> Connection:
            return Connection(config=config, server_state=state, app_state={})

        if self._tls is None:
            loop = asyncio.get_running_loop()
            self.servers = [await loop.create_server(protocol, sock=listener, backlog=_BACKLOG)]
        else:
            door = TlsDoor(listener, protocol, state, self._tls)
            self._tasks.append(asyncio.create_task(door.accept(), name=f"TLS of {self._address[2]}"))

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs for as long as the server does."""
        return self._tasks

    def move_on(self) -> None:
        """Let the next answer on each connection that is there be its last; those that come stay."""
        for connection in _connections(self.server_state):
            connection.move_on()

    def begin_closing(self) -> None:
        """From now on let every answer be the last of its connection; go on listening."""
        self.server_state.closing = True
        for connection in _connections(self.server_state):
            connection.retire()

    async def finish(self, grace: float) -> None:
        """Wait until nothing is in flight, at most `grace` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while (tasks := self.server_state.tasks) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(tasks.copy(), timeout=left)

    async def _end_connections(self) -> None:
        """Cancel what still runs, and let the answers that were given go out."""
        state = self.server_state
        for task in state.tasks:
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks.copy())
        for connection in _connections(state):
            connection.transport.real.close()
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await state.until_empty()
        except TimeoutError:
            for connection in _connections(state):
                connection.transport.abort()
            await state.until_empty()

    async def _sweep(self) -> None:
        """Keep the connections' time, and that of the Date header."""
        bounds = self._bounds
        interval = min(_SWEEP_SECONDS, bounds.header_timeout / 4, bounds.body_timeout / 4)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(interval)
            await self._set_headers()
            now = loop.time()
            for connection in _connections(self.server_state):
                connection.sweep(now)

    async def _set_headers(self) -> None:
        """Set the headers that every answer has, of which Date is one."""
        await self.on_tick(0)
        state = self.server_state
        state.header_lines = b"".join([b"%s: %s\r\n" % header for header in state.default_headers])


def _connections(state: State) -> list[Connection]:
    return [connection for connection in state.connections if isinstance(connection, Connection)]


def bind(host: str, port: int, key: str) -> socket.socket:
    """Listen on `host` and `port`; ``::`` means both families.

    Raises:
        OSError: it cannot be; names `key`, the setting that holds the port.
    """
    everywhere = host == "::" and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=everywhere)
    except OSError as error:
        raise bind_error(error, host, port, key) from error


def bind_error(error: OSError, host: str, port: int, key: str) -> OSError:
    """What is wrong with an address, and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return OSError(f"{key}: {port} is in use; stop what listens there, or choose another port")
    if error.errno == errno.EACCES:
        return OSError(f"{key}: {port} needs a privilege to listen on; choose a port above 1023")
    return OSError(f"{key}: cannot listen on {host}, port {port}: {error}; check server.host")
