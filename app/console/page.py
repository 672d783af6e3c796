"""The frame around every view: head, navigation, what is always in sight, and the headers that keep a browser safe."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from app.console.flow import State
from app.console.html import Child, Markup, join, tag

__all__ = [
    "ASSETS",
    "HEADERS",
    "NAVIGATION",
    "Asset",
    "Live",
    "Part",
    "asset_url",
    "badge",
    "facts",
    "frame",
    "hint",
    "table",
]

HEADERS: Mapping[str, str] = {
    # Nothing but what this service itself gives, and no script or style within a page: what clients sent may be shown
    # in one. Forms lead nowhere else, and no other page may hold one of ours.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

NAVIGATION: Sequence[tuple[str, str]] = (
    ("/", "Flow"),
    ("/console/queue", "Queue"),
    ("/console/destination", "Destination"),
    ("/console/dead", "Dead letters"),
    ("/console/traces", "Traces"),
    ("/console/metrics", "Metrics"),
    ("/console/logs", "Logs"),
    ("/console/configuration", "Configuration"),
    ("/console/health", "Health"),
)

_SHAPES = {State.IDLE: "○", State.WELL: "●", State.STRAINED: "▲", State.FAILING: "■"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages use."""

    content: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:12]


def _asset(name: str, media_type: str) -> Asset:
    return Asset(files("app.console").joinpath("static", name).read_bytes(), media_type)


ASSETS: Mapping[str, Asset] = {
    "console.css": _asset("console.css", "text/css; charset=utf-8"),
    "console.js": _asset("console.js", "text/javascript; charset=utf-8"),
    "icon.svg": _asset("icon.svg", "image/svg+xml"),
}


def asset_url(name: str) -> str:
    """Its address, which changes with its content, so that a browser may keep it for ever."""
    return f"/console/static/{ASSETS[name].digest}/{name}"


@dataclass(frozen=True, slots=True)
class Live:
    """A part of a page that is sent again when it changes, by its name."""

    name: str
    content: Markup


Part = Markup | Live


def frame(title: str, path: str, version: str, status: Markup, parts: Sequence[Part], events: str | None) -> str:
    """A whole page. `path` is the entry of the navigation that it belongs to; `events` is where its news come from."""
    links = [
        tag("li", tag("a", name, href=target, aria_current="page" if target == path else None))
        for target, name in NAVIGATION
    ]
    pause = tag("button", "Pause", id="pause", type="button", hidden=True)
    news = tag("p", "", id="connection", role="status")
    header = tag(
        "header",
        tag(
            "p", tag("a", tag("span", "", class_="mark", aria_hidden="true"), "otlp-service", href="/"), class_="brand"
        ),
        tag("div", status, data_live="status", class_="status"),
        tag("div", news, pause, class_="news"),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        header,
        tag("nav", tag("ul", links), aria_label="Views"),
        tag("main", tag("h1", title), [_part(part) for part in parts], id="content", tabindex="-1"),
        tag("footer", tag("p", f"otlp-service {version}. Times are in UTC.")),
        tag("noscript", tag("p", "This page renews itself by JavaScript; without it, load it again.", class_="hint")),
        data_events=events,
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", f"{title} · otlp-service"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href=asset_url("icon.svg")),
        tag("link", rel="stylesheet", href=asset_url("console.css")),
        tag("script", "", src=asset_url("console.js"), defer=True),
    )
    return f"<!doctype html>{tag('html', head, body, lang='en')}"


def _part(part: Part) -> Markup:
    return tag("div", part.content, data_live=part.name) if isinstance(part, Live) else part


def badge(state: State, word: str = "") -> Markup:
    """How something is, in a shape and a word; the colour says it once more."""
    shape = tag("span", _SHAPES[state], class_="shape", aria_hidden="true")
    return tag("span", shape, word or state.word, class_=f"badge {state.name.lower()}")


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[Child]],
    kinds: Sequence[str] = (),
    groups: Sequence[tuple[str, int]] = (),
) -> Markup:
    """A table that scrolls in itself where the window is narrow.

    Args:
        caption: what it is, for who does not see it.
        head: the names of its columns.
        rows: its cells.
        kinds: the classes of its columns.
        groups: what stands over so many columns.
    """

    def cells(row: Sequence[Child], name: str) -> list[Markup]:
        classes = [*kinds, *[""] * (len(row) - len(kinds))]
        scope = "col" if name == "th" else None
        return [
            tag("td", class_=kind or None) if cell == "" else tag(name, cell, class_=kind or None, scope=scope)
            for cell, kind in zip(row, classes, strict=True)
        ]

    above = [
        tag("th", name, colspan=width, scope="colgroup", class_="group") if name else tag("td", "")
        for name, width in groups
    ]
    header = tag("thead", tag("tr", above) if groups else None, tag("tr", cells(head, "th")))
    body = tag("tbody", [tag("tr", cells(row, "td")) for row in rows])
    inner = tag("table", tag("caption", caption, class_="unseen"), header, body)
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Sequence[tuple[str, Child]]) -> Markup:
    """Names with their values."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs])


def hint(*words: Child) -> Markup:
    """What is said where there is nothing to show."""
    return tag("div", join(*words), class_="hint")
