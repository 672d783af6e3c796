"""The JSON Schema of the configuration file, for editors, made from the settings themselves.

It knows what a key takes and nothing of what has to fit together: that is for ``otlp-service config check``. What it
flags and the service would take (``30S``, ``yes``) is better written otherwise.
"""

from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel

from app.settings.keys import KEYS, SECTIONS, Key
from app.settings.model import Settings
from app.settings.units import parse_duration, parse_size

__all__ = ["schema"]

Schema = dict[str, Any]

_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_DURATION = rf"({_NUMBER}(ms|us|h|m|s))+$"
_SIZE = rf"{_NUMBER} *([KMGT]i?B|kB|B)?$"
_POSITIVE = "(?=.*[1-9])"
_HINTS = {"duration": "write 30s, 500ms or 5m", "size": "write 64MiB, 512KiB or a number of bytes"}
_TYPES: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string", "minLength": 1},
    dict[str, str]: {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    list[str]: {"type": "array", "items": {"type": "string"}},
}


def schema() -> Schema:
    """A schema of draft 7, which editors know best."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "otlp-service",
        **_section(Settings, ""),
        "type": "object",
    }


def _section(model: type[BaseModel], prefix: str) -> Schema:
    """A section may also be there without any key in it, which YAML reads as null."""
    names = {name: f"{prefix}{name}" for name in model.model_fields}
    properties = {
        name: _section(SECTIONS[path], f"{path}.") if path in SECTIONS else _key(KEYS[path])
        for name, path in names.items()
    }
    return {
        "description": (model.__doc__ or "").strip(),
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
    }


def _key(key: Key) -> Schema:
    described: Schema = {"description": key.info.description, **_values(key), "default": _default(key)}
    if key.may_be_null or described["default"] is None:
        described["type"] = [*_listed(described["type"]), "null"]
        if "enum" in described:
            described["enum"] = [*described["enum"], None]
    return described


def _values(key: Key) -> Schema:
    positive = any(isinstance(item, Gt) for item in key.metadata)
    start = f"^{_POSITIVE if positive else ''}"
    if parse_duration in key.parsers:
        text = {"pattern": start + _DURATION, "patternErrorMessage": _HINTS["duration"]}
        zero: Schema = {"type": ["string", "integer"], "minimum": 0, "maximum": 0}  # it needs no unit
        return text | ({"type": "string"} if positive else zero)
    if parse_size in key.parsers:
        text = {"pattern": start + _SIZE, "patternErrorMessage": _HINTS["size"]}
        return {"type": ["string", "integer"], "minimum": int(positive), **text}
    if get_origin(key.kind) is Literal:
        return {"type": "string", "enum": list(get_args(key.kind))}
    if key.is_map_of_maps:
        inner: type[BaseModel] = get_args(key.kind)[1]
        fields = {name: _values(Key(name, info)) for name, info in inner.model_fields.items()}
        each = {"type": "object", "properties": fields, "additionalProperties": False}
        return {"type": "object", "additionalProperties": each}
    described = dict(_TYPES[key.kind])
    for item in key.metadata:
        match item:
            case Ge(ge=bound):
                described["minimum"] = bound
            case Le(le=bound):
                described["maximum"] = bound
            case MinLen(min_length=length):
                described["minLength"] = length
            case _ if pattern := getattr(item, "pattern", None):
                described["pattern"] = pattern
    return described


def _default(key: Key) -> Any:
    if key.info.default_factory:
        return None
    return reduce(dict.__getitem__, key.name.split("."), Settings().model_dump(mode="json"))


def _listed(types: str | list[str]) -> list[str]:
    return [types] if isinstance(types, str) else types
