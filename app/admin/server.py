"""The admin port: metrics and health, in plain HTTP, because neither a kubelet nor a scraper has a certificate."""

import asyncio
import gzip
import re
from collections.abc import Callable, Iterable
from typing import Self

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from app.admin.body import BoundedBody
from app.receivers.http_bounds import Bounds
from app.receivers.http_server import HttpServer
from app.receivers.probes import Probes, health_routes
from app.settings import MetricsSettings
from app.telemetry.metrics import Metrics

__all__ = ["AdminServer"]

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_BOUNDS = Bounds(max_connections=100, header_timeout=10, body_timeout=10, max_connection_age=300)
_BODY_BYTES = 256 << 10  # more numbers of letters than xargs puts into a command


class AdminServer:
    """Serves the admin port while it is entered. It goes on when the service drains, and is the last to end.

    `routers` have what it answers beside metrics and health.
    """

    def __init__(
        self,
        settings: MetricsSettings,
        host: str,
        metrics: Metrics,
        health: Probes,
        routers: Iterable[APIRouter] = (),
    ) -> None:
        pages = FastAPI(title="otlp-service admin", docs_url=None, redoc_url=None, openapi_url=None)
        pages.add_middleware(BoundedBody, limit=_BODY_BYTES)
        pages.include_router(health_routes(health))
        for router in routers:
            pages.include_router(router)
        if settings.enabled:
            pages.add_api_route(settings.path, _scrape(metrics.registry), name="metrics", response_class=Response)
        self._server = HttpServer(pages, host=host, port=settings.port, key="metrics.port", bounds=_BOUNDS)

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._server.port

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs for as long as it does; when one of them ends, it serves no more as it should."""
        return self._server.tasks

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()


def _scrape(registry: CollectorRegistry) -> Callable[[Request], object]:
    # async, so that it runs on the event loop and in one turn of it: what is counted there adds up in every scrape.
    async def scrape(request: Request) -> Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # it does not read every version that one can ask for
            encode, content_type = choose_encoder("")
        body, headers = encode(registry), {"content-type": content_type, "vary": "accept, accept-encoding"}
        if _GZIP.search(request.headers.get("accept-encoding", "")):
            body, headers["content-encoding"] = gzip.compress(body, compresslevel=1), "gzip"
        return Response(body, headers=headers)

    return scrape
