"""A hook of MkDocs, so that pages may be written as GitHub reads them.

Links to files beside docs/ lead into the repository, and have to lead somewhere; a bar in a table's code is a bar.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

__all__ = ["on_page_content", "on_page_markdown"]

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)(#[^)\s]*)?(?=\))")
_log = logging.getLogger("mkdocs.hooks.links")  # what it warns of, `mkdocs build --strict` fails for


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Called by MkDocs with the text of each page."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def lead(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        if path.startswith("docs/"):
            return link[0]
        if not (ROOT / path).exists():
            _log.warning("%s: there is no %s in the repository", page.file.src_uri, path)
        return f"{config['extra']['source']}{path}{link[2] or ''}"

    return _LINK.sub(lead, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Called by MkDocs with what it made of a page."""
    return re.sub(r"<td>.*?</td>", lambda cell: cell[0].replace(r"\|", "|"), html, flags=re.DOTALL)
