"""Which pages of which sites may send: origins as a browser names them, with ``*`` for any part of one."""

import re
from collections.abc import Sequence

from app.settings.endpoint import mask_url

__all__ = ["check_origins", "origin_pattern"]

_WITHIN = r"[a-z0-9._\[\]:-]*"
_ANYTHING = r"[\x21-\x7e]*"
_USUAL_PORT = re.compile(r"^(?:(https://.*):443|(http://.*):80)$")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9.*_\[\]:-]+")


def check_origins(origins: Sequence[str]) -> list[str]:
    """The origins as browsers write them: in lower case, and without the port that a scheme has anyway.

    Raises:
        ValueError: one is not an origin.
    """
    checked = [_USUAL_PORT.sub(r"\1\2", origin.strip().lower().rstrip("/")) for origin in origins]
    for given, origin in zip(origins, checked, strict=True):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{mask_url(given)!r} is not an origin; write https://app.example, https://*.example or *")
    return checked


def origin_pattern(origins: Sequence[str]) -> re.Pattern[str]:
    """Match the origins that are meant; a ``*`` stands for any text within a host and its port, or alone for all."""

    def pattern(origin: str) -> str:
        return _ANYTHING if origin == "*" else _WITHIN.join(map(re.escape, origin.split("*")))

    return re.compile("|".join(map(pattern, origins)))
