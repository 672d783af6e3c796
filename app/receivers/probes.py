"""The health routes, which the OTLP/HTTP port and the admin port both serve."""

from collections.abc import Callable
from typing import Protocol

from fastapi import APIRouter
from fastapi.responses import JSONResponse

__all__ = ["Probes", "health_routes"]

Verdict = tuple[bool, dict[str, object]]


class Probes(Protocol):
    """What answers a kubelet: whether all is well, and a body for people."""

    def live(self) -> Verdict: ...

    def ready(self) -> Verdict: ...

    def started(self) -> Verdict: ...


def health_routes(probes: Probes) -> APIRouter:
    """``/health/{live,ready,startup}``: 200 or 503, and why."""
    router = APIRouter(prefix="/health", tags=["health"])
    for name, probe in (("live", probes.live), ("ready", probes.ready), ("startup", probes.started)):
        endpoint = _endpoint(probe)
        router.add_api_route(f"/{name}", endpoint, name=name, responses={503: {"description": "no, and why"}})
        router.add_api_route(f"/{name}", endpoint, methods=["HEAD"], include_in_schema=False)
    return router


def _endpoint(probe: Callable[[], Verdict]) -> Callable[[], object]:
    # async, so that it runs on the event loop: FastAPI would give a plain function to a thread, and a probe that
    # is to show that the loop answers has to be answered by it.
    async def answer() -> JSONResponse:
        ok, body = probe()
        return JSONResponse(body, 200 if ok else 503, {"cache-control": "no-store"})

    return answer
