"""Markup that is right by construction: what is not markup already is escaped, wherever it is put.

Names of spans, attributes and messages come from whoever may send; there is no other way than this into a page.
"""

from collections.abc import Iterable
from html import escape

__all__ = ["Child", "Markup", "join", "tag"]


class Markup(str):
    """Text that a browser may read as it is."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]
"""What an element may hold; None is nothing."""

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element. ``class_`` is the attribute `class`, ``aria_label`` is `aria-label`; None and False leave one out."""
    written = "".join(
        f' {_attribute(key)}="{escape("" if value is True else str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """One after another."""
    return Markup("".join(map(_text, children)))


def _text(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    if child is None:
        return ""
    if isinstance(child, str | int | float):
        return escape(str(child))
    return "".join(map(_text, child))


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
