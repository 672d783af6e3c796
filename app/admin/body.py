"""A bound on the bodies that the admin port reads: FastAPI holds a whole one before it looks at whose it is."""

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BoundedBody"]


class BoundedBody:
    """ASGI middleware: a request whose body has more than `limit` bytes is answered 413, and no more of it is held."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                detail = f"the body has more than {self._limit} bytes; name fewer letters at once"
                raise HTTPException(413, detail, {"connection": "close"})
            return message

        await self._app(scope, bounded, send)
