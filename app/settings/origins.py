"""Which pages of which sites may send: origins as a browser names them, with ``*`` for any part of one."""

import re
from collections.abc import Sequence

__all__ = ["check_origins", "origin_pattern"]

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9.*_\[\]:-]+")


def check_origins(origins: Sequence[str]) -> list[str]:
    """The origins in lower case, as browsers write them.

    Raises:
        ValueError: one is not an origin.
    """
    checked = [origin.strip().lower().rstrip("/") for origin in origins]
    for given, origin in zip(origins, checked, strict=True):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{given!r} is not an origin; write https://app.example, https://*.example or *")
    return checked


def origin_pattern(origins: Sequence[str]) -> re.Pattern[str]:
    """Match the origins that are meant; a ``*`` stands for any text."""
    return re.compile("|".join(".*".join(map(re.escape, origin.split("*"))) for origin in origins))
