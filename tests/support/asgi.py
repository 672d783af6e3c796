"""A request put to an ASGI application without a server."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Scope

__all__ = ["Reply", "ask"]


@dataclass(slots=True)
class Reply:
    """What the application sent, and how often it asked for more of the body."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reads: int = 0


async def ask(
    app: ASGIApp,
    path: str,
    *pieces: bytes | Exception | None,
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (("content-type", "application/x-protobuf"),),
    query: str = "",
    state: dict[str, object] | None = None,
    client: tuple[str, int] | None = None,
    server: tuple[str, int] | None = None,
) -> Reply:
    """Send a body in `pieces`. In place of a piece None is a client that leaves, and an exception is raised.

    `client` and `server` are the addresses of a connection that there is none of.
    """
    reply = Reply()
    left = list(pieces or (b"",))

    async def receive() -> Message:
        reply.reads += 1
        if not left:
            await asyncio.Event().wait()  # the client stays
        piece = left.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            reply.body += message["body"]

    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "client": client,
        "server": server,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "state": {} if state is None else state,
    }
    await app(scope, receive, send)
    return reply
