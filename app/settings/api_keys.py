"""API keys as people write them: ``name:key``, or ``key`` alone; in a list, in one line, or one a line in a file."""

import json
import re
from collections.abc import Iterable, Sequence

__all__ = ["all_keys", "parse_keys", "read_list"]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY = re.compile(r"[\x21-\x7e]+")


def read_list(value: object) -> object:
    """A list may come as one line of text: ``a,b``, or JSON for entries with commas.

    Raises:
        ValueError: it begins like JSON but is not a list of text; the message never holds the text.
    """
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise ValueError('it begins like JSON but is not; write a,b or ["a", "b"]') from error
    if not all(isinstance(item, str) for item in parsed):
        raise ValueError('it is not a list of text; write a,b or ["a", "b"]')
    return parsed


def parse_keys(entries: Iterable[str], *, where: str = "entry") -> dict[str, str]:
    """Keys by name. One without a name is called by its place: ``key1`` and so on.

    Raises:
        ValueError: an entry is not a key, or a name or a key is there twice; the message never holds a key.
    """
    keys: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        name, colon, key = entry.strip().partition(":")
        if not colon:
            name, key = f"key{number}", name
        if not _NAME.fullmatch(name):
            raise ValueError(f"{where} {number}: its name is not one; use letters, digits, dots, hyphens: name:key")
        if not _KEY.fullmatch(key):
            raise ValueError(f"{where} {number}: its key is empty or has characters that no header may; write name:key")
        if name in keys:
            raise ValueError(f"{where} {number}: the name {name!r} is there already; give each key its own")
        if key in keys.values():
            raise ValueError(f"{where} {number}: its key is there already, under another name; keep one")
        keys[name] = key
    return keys


def all_keys(entries: Sequence[str], text: str) -> dict[str, str]:
    """The keys of the configuration and those of a file's lines, of which empty ones and comments (#) are left out.

    Raises:
        ValueError: as for `parse_keys`.
    """
    lines = [line.strip() for line in text.splitlines()]
    return parse_keys([*entries, *(line for line in lines if line and not line.startswith("#"))], where="key")
