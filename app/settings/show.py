"""What is in force and where it came from, as YAML that could be loaded again but for what is masked."""

import json
import re
from collections.abc import Iterator
from functools import reduce
from typing import Any

from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from app.settings.api_keys import parse_keys
from app.settings.endpoint import mask_url
from app.settings.keys import KEYS
from app.settings.load import Loaded
from app.settings.model import Settings

__all__ = ["in_force", "show", "written"]

_PLAIN = re.compile(r"[A-Za-z0-9./_][A-Za-z0-9./_:-]*[A-Za-z0-9./_-]")
_MASK = "****"
_WIDTH = 48


def show(loaded: Loaded) -> str:
    """The settings in force as YAML; a comment after each tells its source, secrets are masked."""
    lines: list[str] = []
    opened: list[str] = []
    for key, written, origin in in_force(loaded):
        *sections, last = key.split(".")
        for depth, section in enumerate(sections):
            if opened[depth : depth + 1] != [section]:
                opened = [*sections[:depth], section]
                lines.append(f"{'  ' * depth}{section}:")
        entry = f"{'  ' * len(sections)}{last}: {written}"
        lines.append(f"{entry:<{_WIDTH}}  # {origin}")
    return "\n".join(lines) + "\n"


def in_force(loaded: Loaded) -> Iterator[tuple[str, str, str]]:
    """Each key, its value as YAML has it, and where that came from; secrets are masked."""
    plain = loaded.settings.model_dump(mode="json")
    for key in KEYS:
        yield key, _written(key, reduce(dict.__getitem__, key.split("."), plain)), loaded.origins[key]


def written(settings: Settings, key: str) -> str:
    """The value of a key as YAML has it; secrets are masked."""
    return _written(key, reduce(dict.__getitem__, key.split("."), settings.model_dump(mode="json")))


def _written(key: str, value: Any) -> str:
    if not KEYS[key].info.repr:
        masked = dict.fromkeys(value, _MASK) if KEYS[key].is_map else [f"{name}:{_MASK}" for name in parse_keys(value)]
        return json.dumps(masked)
    if isinstance(value, str):
        shown = mask_url(value) if key.endswith(("endpoint", "handoff")) else value
        return shown if _is_plain(shown) else json.dumps(shown)
    return json.dumps(value)


def _is_plain(text: str) -> bool:
    """Whether YAML reads the text as text without quotes."""
    kind = Resolver().resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return bool(_PLAIN.fullmatch(text)) and kind == "tag:yaml.org,2002:str"
