"""The tables of docs/configuration.md, made from the settings themselves: ``python -m app.settings.reference FILE``."""

import json
import re
import sys
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge

from app.settings.adopt import is_live
from app.settings.environment import STANDARD, STANDARD_PREFIX
from app.settings.keys import KEYS, SECTIONS, Key, variable
from app.settings.model import Settings
from app.settings.units import parse_duration, parse_size

__all__ = ["rewrite"]

_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NAMES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    dict: "map",
    list: "list",
}
_ON_SIGHUP = " ↻"
_PLAIN = {str(kind): name for kind, name in _NAMES.items()}


def rewrite(text: str) -> str:
    """The page with its generated blocks as the settings have them now."""
    blocks = {"keys": _keys, "variables": _variables}
    return _BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match[2]]()}\n{match[3]}", text)


def _keys() -> str:
    lines: list[str] = []
    for section, model in SECTIONS.items():
        keys = [key for key in KEYS.values() if key.name.rpartition(".")[0] == section]
        lines += [f"### {section}", "", (model.__doc__ or "").strip(), ""]
        lines += ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{key.name.rpartition('.')[2]}` | {_takes(key)} | {_default(key)} | {_meaning(key)} |" for key in keys
        ]
        lines += ["", f"In the environment: `{variable(keys[0].name)}` and so on.", ""]
    return "\n".join(lines)


def _variables() -> str:
    rows = [f"| `{STANDARD_PREFIX}{suffix}` | `{key}` |" for suffix, key in STANDARD.items()]
    return "\n".join(["| variable | key |", "| --- | --- |", *rows, ""])


def _meaning(key: Key) -> str:
    return f"{key.info.description}{_ON_SIGHUP if is_live(key.name) else ''}"


def _takes(key: Key) -> str:
    if parse_duration in key.parsers:
        name = "duration"
    elif parse_size in key.parsers:
        name = "size"
    elif get_origin(key.kind) is Literal:
        name = ", ".join(f"`{choice}`" for choice in get_args(key.kind))
    else:
        bounds = [item.ge for item in key.metadata if isinstance(item, Ge)]
        least = [f" from {bound:g}" for bound in bounds if isinstance(bound, int | float)]
        name = "".join([_PLAIN[str(get_origin(key.kind) or key.kind)], *least])
    return f"{name}, or null" if key.may_be_null else name


def _default(key: Key) -> str:
    if key.info.default_factory:
        return "`null`"
    value: Any = reduce(dict.__getitem__, key.name.split("."), Settings().model_dump(mode="json"))
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(rewrite(page.read_text("utf-8")), "utf-8")
