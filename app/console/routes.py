"""The pages over HTTP. All of it is read-only but for what may be done with dead letters.

GET  /                            the flow
GET  /console/{view}              the other views
GET  /console/events?path=…       what changes on a page, as server-sent events
GET  /console/static/{hash}/{name}
POST /console/dead                replay or purge dead letters     (from the machine itself, or with an API key)
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from app.admin.loopback import check, is_from_here, is_meant_for_another
from app.console.html import Markup, tag
from app.console.page import ASSETS, HEADERS, Part, frame
from app.console.views.dead import ACTIONS, PATH, Choice, done
from app.console.views.view import Access, Look, View
from app.console.watchers import BUSY, Watcher
from app.core.errors import Retryable
from app.queue import Desk, QueueError
from app.receivers.auth import Doorkeeper

__all__ = ["Stage", "console_routes"]

# A browser names the page that a form was on only where that may be known to the page itself.
_FORM = {**HEADERS, "referrer-policy": "same-origin"}
_EVENTS = {**HEADERS, "x-accel-buffering": "no"}


class Stage(Protocol):
    """What the pages are of."""

    version: str

    def refresh(self) -> None:
        """Look at the figures, if that was long ago."""

    def status(self) -> Markup:
        """What is in sight on every page."""

    def watch(self, look: Look) -> Watcher | None:
        """Somebody looks on from now; None: too many do, or it is not the time."""

    def unwatch(self, watcher: Watcher) -> None: ...

    def attend(self) -> None:
        """Have shown what is looked at now, and nothing else."""


def console_routes(stage: Stage, views: Mapping[str, View], desk: Desk, doorkeeper: Doorkeeper) -> APIRouter:
    """The routes above, of `views` by their paths."""
    routes, pages = APIRouter(include_in_schema=False), _Pages(stage, views, desk, doorkeeper)
    for path in views:
        routes.add_api_route(path, pages.page(path), methods=["GET"], response_class=HTMLResponse)
    routes.add_api_route("/console/events", pages.events, methods=["GET"], response_class=Response)
    routes.add_api_route("/console/static/{digest}/{name}", _static, methods=["GET"], response_class=Response)
    routes.add_api_route(PATH, pages.act, methods=["POST"], response_class=Response)
    return routes


class _Pages:
    """What answers."""

    def __init__(self, stage: Stage, views: Mapping[str, View], desk: Desk, doorkeeper: Doorkeeper) -> None:
        self._stage = stage
        self._views = views
        self._desk = desk
        self._doorkeeper = doorkeeper

    def page(self, path: str) -> Callable[[Request], Awaitable[Response]]:
        """Make what answers for the page of `path`."""
        view = self._views[path]

        async def page(request: Request) -> Response:
            _own_name(request)
            look = self._look(request, path)
            self._stage.refresh()
            parts = await view.parts(look)
            self._stage.attend()
            events = f"/console/events?{urlencode({**look.parameters, 'path': path})}"
            return self._written(path, view.title, parts, events)

        return page

    async def events(self, request: Request) -> Response:
        """What changes on a page."""
        _own_name(request)
        path = request.query_params.get("path", "")
        if path not in self._views:
            raise HTTPException(404, "there is no such page")
        watcher = self._stage.watch(self._look(request, path))
        if watcher is None:  # no status of its own: a browser would not tell the page which it was
            return Response(BUSY, headers=_EVENTS, media_type="text/event-stream")

        async def stream() -> AsyncIterator[bytes]:
            try:
                async for event in watcher.events():
                    yield event
            finally:
                self._stage.unwatch(watcher)

        return StreamingResponse(stream(), headers=_EVENTS, media_type="text/event-stream")

    async def act(self, request: Request) -> Response:
        """Do what a form asks for, and lead to the page that tells it."""
        try:
            return RedirectResponse(await self._act(request), 303, headers=dict(HEADERS))
        except HTTPException as refusal:
            status, text = refusal.status_code, str(refusal.detail)
        except ValueError as error:
            status, text = 400, str(error)
        except (Retryable, QueueError) as error:  # it starts, ends, or its disk failed
            status, text = 503, str(error)
        words = tag("p", f"Nothing was done: {text}.", class_="problem", role="alert")
        back = tag("p", tag("a", "Back to the dead letters", href=PATH))
        return self._written(PATH, self._views[PATH].title, [words, back], None, status)

    async def _act(self, request: Request) -> str:
        _same_page(request)
        given = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        key = given.get("key") or request.headers.get("x-api-key", "")
        check(self._doorkeeper, request, request.headers.get("authorization", ""), key)
        selection = Choice.parse(given).selection()
        match action := given.get("do", ""):
            case "replay":
                return done(action, await self._desk.replay(selection))
            case "purge":
                return done(action, await self._desk.purge(selection))
            case _:
                raise ValueError(f"it is not said what is to be done; choose {' or '.join(ACTIONS)} on the page")

    def _look(self, request: Request, path: str) -> Look:
        given = {name: value for name, value in request.query_params.items() if name != "path"}
        elsewhere = Access.KEY if self._doorkeeper.asks else Access.NONE
        return Look(path, tuple(sorted(given.items())), Access.HERE if is_from_here(request) else elsewhere)

    def _written(self, path: str, title: str, parts: Sequence[Part], events: str | None, status: int = 200) -> Response:
        page = frame(title, path, self._stage.version, self._stage.status(), parts, events)
        return HTMLResponse(page, status, headers=dict(_FORM if path == PATH else HEADERS))


async def _static(digest: str, name: str) -> Response:
    asset = ASSETS.get(name)
    if asset is None or asset.digest != digest:
        raise HTTPException(404, "there is no such file")
    headers = {**HEADERS, "cache-control": "public, max-age=31536000, immutable", "content-type": asset.media_type}
    return Response(asset.content, headers=headers)


def _own_name(request: Request) -> None:
    """Refuse what a page of another site may have sent that had its name lead to this machine (DNS rebinding)."""
    if is_meant_for_another(request):
        raise HTTPException(
            403, "this machine's console is asked for by its own name; open http://localhost, and the admin port"
        )


def _same_page(request: Request) -> None:
    """Refuse what another page than ours sent.

    Browsers say so, newer ones in Sec-Fetch-Site, all in Origin; who is no browser, has /queue/dead.
    """
    _own_name(request)
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "")
    same = origin.partition("://")[2] == request.headers.get("host", "") if site is None else site == "same-origin"
    if not same:
        raise HTTPException(403, "this did not come from the console's own page; open it, and try there")
