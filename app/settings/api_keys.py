"""API keys as people write them: ``name:key``, or ``key`` alone; in a list, in one line, or one a line in a file."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

__all__ = ["QUOTA_OF_A_KEY", "all_keys", "first_key", "parse_keys", "read_list"]

QUOTA_OF_A_KEY = "a key itself stands where its name is wanted; write the name, which is key1 for a first key without"

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
    except (ValueError, RecursionError) as error:
        raise ValueError('it begins like JSON but is not; write a,b or ["a", "b"]') from error
    if not all(isinstance(item, str) for item in parsed):
        raise ValueError('it is not a list of text; write a,b or ["a", "b"]')
    return parsed


def parse_keys(entries: Iterable[str], *, lines: Iterable[tuple[int, str]] = ()) -> dict[str, str]:
    """Keys by name, of entries and of numbered lines. One without a name is called by its place: ``key1`` and so on.

    Raises:
        ValueError: an entry is not a key, or a name or a key is there twice; the message never holds a key.
    """
    keys: dict[str, str] = {}
    placed = [(f"entry {number}", entry) for number, entry in enumerate(entries, start=1)]
    placed += [(f"line {number}", line) for number, line in lines]
    for number, (where, entry) in enumerate(placed, start=1):
        name, colon, key = entry.strip().partition(":")
        if not colon:
            name, key = f"key{number}", name
        if not _NAME.fullmatch(name):
            raise ValueError(f"{where}: its name is not one; use letters, digits, dots, hyphens: name:key")
        if not _KEY.fullmatch(key):
            raise ValueError(f"{where}: its key is empty or has characters that no header may; write name:key")
        if name in keys:
            raise ValueError(f"{where}: the name {name!r} is there already; give each key its own")
        if key in keys.values():
            raise ValueError(f"{where}: its key is there already, under another name; keep one")
        keys[name] = key
    return keys


def first_key(entries: Sequence[str], file: Path | None) -> str | None:
    """Return a key to show those who know the same ones; None where there is none.

    Raises:
        OSError, ValueError: the file cannot be read, or as for `all_keys`.
    """
    keys = all_keys(entries, file.read_text("utf-8") if file else "")
    return next(iter(keys.values()), None)


def all_keys(entries: Sequence[str], text: str, quotas: Collection[str] = ()) -> dict[str, str]:
    """The keys of the configuration and those of a file's lines, of which empty ones and comments (#) are left out.

    Raises:
        ValueError: as for `parse_keys`, or one of the names in `quotas` is a key.
    """
    lines = enumerate(map(str.strip, text.removeprefix("\ufeff").split("\n")), start=1)
    keys = parse_keys(entries, lines=[(number, line) for number, line in lines if line and not line.startswith("#")])
    if any(name not in keys and name in keys.values() for name in quotas):
        raise ValueError(f"auth.quotas: {QUOTA_OF_A_KEY}")
    return keys
