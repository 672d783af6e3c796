"""The OTLP/HTTP receiver: its server, the application for telemetry, and beside it health and pages about the API."""

import asyncio
from typing import TYPE_CHECKING, Self

import grpc
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.core.consumer import Consumer
from app.core.instance import Instance
from app.memory import Headroom
from app.receivers.answers import Answer
from app.receivers.auth import Doorkeeper
from app.receivers.cors import Cors
from app.receivers.encoding import Encoding, choose_encoding
from app.receivers.handler import Handler
from app.receivers.http_app import Limits, OtlpApp
from app.receivers.http_bounds import Bounds
from app.receivers.http_server import HttpServer
from app.receivers.meter import Meter
from app.receivers.probes import Probes, health_routes
from app.receivers.turns import Turnstile
from app.settings import ServerSettings
from app.telemetry.metrics import Metrics
from app.telemetry.spans import Tracer

if TYPE_CHECKING:
    from app.receivers.tls import ServerTls

__all__ = ["HttpReceiver"]


class HttpReceiver:
    """Receives OTLP/HTTP while it is entered; `consumer` gets what it receives."""

    def __init__(
        self,
        settings: ServerSettings,
        consumer: Consumer,
        metrics: Metrics,
        health: Probes,
        *,
        instance: Instance | None = None,
        tracer: Tracer | None = None,
        doorkeeper: Doorkeeper | None = None,
        tls: "ServerTls | None" = None,
        headroom: Headroom | None = None,
        turnstile: Turnstile | None = None,
    ) -> None:
        meter = Meter(metrics, "http")
        limits = Limits(settings.max_request_size, settings.max_json_size, settings.max_inflight_bytes)
        handler = Handler(consumer, meter, instance=instance, tracer=tracer, doorkeeper=doorkeeper)
        self._app = OtlpApp(
            limits,
            handler,
            meter,
            _pages(health),
            cors=Cors(settings.cors),
            headroom=headroom,
            turnstile=turnstile,
        )
        self._server = HttpServer(
            self._app,
            host=settings.host,
            port=settings.port,
            key="server.port",
            bounds=Bounds(
                max_connections=settings.max_connections,
                header_timeout=settings.header_timeout,
                body_timeout=settings.body_timeout,
                max_connection_age=settings.max_connection_age,
            ),
            tls=None if tls is None else tls.context,
        )

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._server.port

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs for as long as it does; when one of them ends, it serves no more as it should."""
        return self._server.tasks

    async def __aenter__(self) -> Self:
        self._app.closing = False
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    def move_on(self) -> None:
        """Have each client that has a connection make another for its next request but one; nothing is refused."""
        self._server.move_on()

    def begin_closing(self) -> None:
        """Refuse new requests as retryable, and let every answer be the last of its connection."""
        self._app.closing = True
        self._server.begin_closing()

    async def finish(self, grace: float) -> None:
        """Wait until what is in flight is answered, at most `grace` seconds."""
        await self._server.finish(grace)


def _pages(health: Probes) -> FastAPI:
    """What people and probes may ask on this port; a path that is not there is answered as OTLP wants it."""
    pages = FastAPI(title="otlp-service", redoc_url=None, docs_url="/docs")
    pages.include_router(health_routes(health))
    pages.exception_handler(HTTPException)(_refuse)
    return pages


_CODES = {404: grpc.StatusCode.NOT_FOUND, 405: grpc.StatusCode.UNIMPLEMENTED}


async def _refuse(request: Request, error: HTTPException) -> Response:
    answer = Answer(
        _CODES.get(error.status_code, grpc.StatusCode.UNKNOWN),
        error.status_code,
        f"{request.method} {request.url.path}: {error.detail}",
    )
    headers = request.headers
    encoding = choose_encoding(
        headers.get("content-type", "").encode("latin-1"), headers.get("accept", "").encode("latin-1"), Encoding.JSON
    )
    return Response(encoding.status(answer), error.status_code, error.headers, media_type=encoding.value.decode())
