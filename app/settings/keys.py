"""The names that a configuration may hold, and what to say about one that it may not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from app.settings.model import Settings

__all__ = ["KEYS", "PREFIX", "SECTIONS", "Key", "Value", "meant", "near", "unknown", "variable"]

PREFIX = "OTLP_"


@dataclass(frozen=True, slots=True)
class Value:
    """What a source says about a key: text, None, a list of text, or a map of text or of such maps; and where."""

    raw: str | Sequence[str] | Mapping[str, str | Mapping[str, str]] | None
    origin: str


@dataclass(frozen=True, slots=True)
class Key:
    """One knob: its dotted name and how the model describes it."""

    name: str
    info: FieldInfo

    @property
    def default(self) -> Any:
        return self.info.get_default(call_default_factory=False)

    @property
    def is_map(self) -> bool:
        return isinstance(self.default, dict)

    @property
    def is_map_of_maps(self) -> bool:
        return self.is_map and get_args(self.kind)[1] is not str

    @property
    def is_list(self) -> bool:
        return isinstance(self.default, list)

    @property
    def may_be_null(self) -> bool:
        return NoneType in get_args(self.info.annotation)

    @property
    def kind(self) -> Any:
        """The type of a value that is not null: a class, a `Literal` or a ``dict[…]``."""
        annotation = self._annotation
        return getattr(annotation, "__origin__", annotation) if self.may_be_null else annotation

    @property
    def metadata(self) -> list[Any]:
        """What the annotation says beyond the type: parsers and bounds."""
        inner = getattr(self._annotation, "__metadata__", ())
        bounds = [bound for item in inner if isinstance(item, FieldInfo) for bound in item.metadata]
        return [*self.info.metadata, *inner, *bounds]

    @property
    def parsers(self) -> list[Any]:
        """The functions that read its text."""
        return [item.func for item in self.metadata if isinstance(item, BeforeValidator)]

    @property
    def _annotation(self) -> Any:
        alternatives = get_args(self.info.annotation) if self.may_be_null else ()
        return next((kind for kind in alternatives if kind is not NoneType), self.info.annotation)


def _walk(model: type[BaseModel], prefix: str) -> tuple[dict[str, Key], dict[str, type[BaseModel]]]:
    keys: dict[str, Key] = {}
    sections: dict[str, type[BaseModel]] = {}
    for field, info in model.model_fields.items():
        name = prefix + field
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            sections[name] = info.annotation
            inner_keys, inner_sections = _walk(info.annotation, f"{name}.")
            keys |= inner_keys
            sections |= inner_sections
        else:
            keys[name] = Key(name, info)
    return keys, sections


KEYS, SECTIONS = _walk(Settings, "")


def variable(name: str) -> str:
    """The environment variable of a key: ``OTLP_EXPORTER__RETRY__MULTIPLIER``."""
    return PREFIX + name.replace(".", "__").upper()


def near(name: str, known: list[str]) -> str | None:
    """The one of `known` that `name` is most likely meant to be."""
    match = get_close_matches(name, known, n=1, cutoff=0.6)
    return match[0] if match else None


def meant(name: str) -> str | None:
    """The key or section that an unknown name is most likely meant to be."""
    section, _, last = name.rpartition(".")
    known = [*KEYS, *SECTIONS]
    if section and section not in SECTIONS:
        return near(name, known)
    namesakes = [key for key in KEYS if key.rpartition(".")[2] == last]
    sisters = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == section}
    return namesakes[0] if namesakes else sisters.get(near(last, list(sisters)) or "")


def unknown(name: str) -> str:
    """The problem of a name that is neither a key nor a section."""
    match = meant(name)
    hint = f"did you mean {match}?" if match else "docs/configuration.md lists all"
    return f"{name}: unknown {'key' if '.' in name else 'section'}; {hint}"
