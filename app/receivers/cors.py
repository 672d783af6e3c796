"""Pages in browsers as clients: what a browser asks before it lets a page send (the Fetch Standard, "CORS protocol").

Nothing is kept from whoever is no browser: who may send is for API keys to say.
"""

import re
from collections.abc import Iterable
from typing import Final

from app.settings import CorsSettings
from app.settings.origins import origin_pattern

__all__ = ["Cors"]

Headers = list[tuple[bytes, bytes]]

_ANY: Final = "*"
_OTLP: Final = ("accept", "authorization", "content-encoding", "content-type", "traceparent", "tracestate", "x-api-key")
_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, -]{1,2048}")
"""Names of headers: what else a client may ask for is not sent back to it."""
_REMEMBER: Final = b"7200"  # seconds; no browser remembers an answer for longer


class Cors:
    """Answers browsers about the origins of `settings`."""

    def __init__(self, settings: CorsSettings) -> None:
        self.on = bool(settings.allowed_origins)
        self._origins = origin_pattern(settings.allowed_origins)
        self._any_header = _ANY in settings.allowed_headers
        self._headers = ", ".join([*_OTLP, *settings.allowed_headers]).encode()

    def allows(self, origin: bytes) -> bool:
        """Whether pages of `origin`, as its header says, may send."""
        return self.on and self._origins.fullmatch(origin.decode("latin-1").lower()) is not None

    def of_answer(self, origin: bytes) -> Headers:
        """Headers that let a page of `origin` read its answer; caches are told that others get others."""
        vary: Headers = [(b"vary", b"origin")] if self.on else []
        if not self.allows(origin):
            return vary
        return [
            *vary,
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),  # beacons ask for it, though there are no cookies here
            (b"access-control-expose-headers", b"retry-after"),
        ]

    def of_preflight(self, origin: bytes, asked: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Headers of the answer to a question (``OPTIONS``) with the headers `asked`, of an origin that is allowed."""
        wanted = next((value for name, value in asked if name == b"access-control-request-headers"), b"")
        as_asked = self._any_header and _NAMES.fullmatch(wanted)
        return [
            *self.of_answer(origin),
            (b"access-control-allow-methods", b"POST"),
            (
                b"access-control-allow-headers",
                wanted if as_asked else self._headers,
            ),
            (b"access-control-max-age", _REMEMBER),
        ]
