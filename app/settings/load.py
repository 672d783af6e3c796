"""From the sources to settings, with every mistake told at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.settings.api_keys import all_keys
from app.settings.check import conflicts
from app.settings.doubts import warnings
from app.settings.environment import read_environment, read_standard
from app.settings.file import read_file
from app.settings.headers import parse_headers_file
from app.settings.keys import KEYS, SECTIONS, Value, unknown
from app.settings.model import Settings
from app.settings.tls import client_context, server_context

__all__ = ["Loaded", "SettingsError", "check_files", "load"]

_COMMAND_LINE = "command line"


class SettingsError(Exception):
    """The configuration has mistakes; `problems` tells each as ``key: value and what is wrong; remedy (source)``."""

    def __init__(self, problems: list[str], doubts: list[str] | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.doubts = doubts or []
        """What is likely a mistake too, in what could be read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each came from: ``default``, ``config/local.yaml:12``, a variable or ``command line``."""

    settings: Settings
    origins: dict[str, str]
    again: Callable[[], "Loaded"] = field(repr=False, compare=False)
    """Load once more, from the same sources with what they hold then; raises as `load`."""


def load(overrides: Mapping[str, str], environ: Mapping[str, str], *, config: Path | None = None) -> Loaded:
    """The settings in force.

    Args:
        overrides: what the command line sets, by dotted key; it wins over the environment, which wins over the file.
        environ: the environment; its `CONFIG_PATH` names the file.
        config: the file, in place of `CONFIG_PATH`.

    Raises:
        SettingsError: they have mistakes.
    """
    path = config or (Path(environ["CONFIG_PATH"]) if environ.get("CONFIG_PATH") else None)
    sources = [
        read_file(path) if path else ({}, []),
        read_standard(environ),
        read_environment(environ),
        _read_overrides(overrides),
    ]
    values: dict[str, Value] = {}
    problems: list[str] = []
    for source, mistakes in sources:
        values |= source
        problems += mistakes
    settings, bad = _validate(values)
    problems += [f"{key}: {text}{_source(values, [key])}" for key, text in bad.items()]
    clashes = list(conflicts(settings))
    problems += [f"{keys[0]}: {text}{_source(values, keys)}" for keys, text in clashes if bad.keys().isdisjoint(keys)]
    if problems:
        # Doubts are about settings that could be in force, so none are raised beside a contradiction.
        doubts = [] if clashes else warnings(settings)
        raise SettingsError(problems, [doubt for doubt in doubts if doubt.partition(":")[0] not in bad])
    origins = {key: values[key].origin if key in values else "default" for key in KEYS}
    return Loaded(settings, origins, partial(load, overrides, environ, config=config))


def check_files(loaded: Loaded) -> None:
    """See whether the files that the settings name can be read. Apart from `load`, because a configuration may be
    looked at where its files are not.

    Raises:
        SettingsError: some cannot be read, or do not hold what they should.
    """
    exporter = loaded.settings.exporter
    auth = loaded.settings.auth
    files = {
        "auth.api_keys_file": auth.api_keys_file,
        "server.tls.cert_file": loaded.settings.server.tls.cert_file,
        "server.tls.key_file": loaded.settings.server.tls.key_file,
        "server.tls.client_ca_file": loaded.settings.server.tls.client_ca_file,
        "exporter.headers_file": exporter.headers_file,
        "exporter.tls.ca_file": exporter.tls.ca_file,
        "exporter.tls.cert_file": exporter.tls.cert_file,
        "exporter.tls.key_file": exporter.tls.key_file,
    }
    contents: dict[str, tuple[str, Callable[[str], object]]] = {
        "auth.api_keys_file": ("API keys", lambda text: all_keys(auth.api_keys, text, auth.quotas)),
        "exporter.headers_file": (
            "headers",
            lambda text: parse_headers_file(text, grpc=exporter.protocol == "grpc"),
        ),
    }
    problems: list[str] = []
    for key, path in files.items():
        try:
            content = path.read_bytes() if path else b""
            if path and key in contents:
                contents[key][1](content.decode())
        except OSError as error:
            problems.append(f"{key}: {str(path)!r} cannot be read: {error.strerror} ({loaded.origins[key]})")
        except ValueError as error:
            problems.append(f"{key}: {str(path)!r} does not hold {contents[key][0]}: {error} ({loaded.origins[key]})")
    if not problems:
        try:
            client_context(exporter.tls)
            server_context(loaded.settings.server.tls)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError(problems)


def _read_overrides(overrides: Mapping[str, str]) -> tuple[dict[str, Value], list[str]]:
    values = {key: Value(text, _COMMAND_LINE) for key, text in overrides.items() if key in KEYS}
    problems = [
        f"{f'{key}: is a section; set a key in it' if key in SECTIONS else unknown(key)} ({_COMMAND_LINE})"
        for key in overrides
        if key not in KEYS
    ]
    return values, problems


def _source(values: Mapping[str, Value], keys: Iterable[str]) -> str:
    origins = [values[key].origin for key in keys if key in values]
    return f" ({', '.join(dict.fromkeys(origins))})" if origins else ""


def _validate(values: Mapping[str, Value]) -> tuple[Settings, dict[str, str]]:
    """The settings with defaults in place of what is wrong, and what is wrong, by key."""
    bad: dict[str, str] = {}
    raw = {key: _null(key, value.raw) for key, value in values.items()}
    try:
        return Settings(**_nest(raw)), bad
    except ValidationError as error:
        for detail in error.errors():
            key = _key(detail["loc"])
            within = ".".join(map(str, detail["loc"][key.count(".") + 1 :]))
            bad.setdefault(key, f"{within}: {_explain(detail)}" if within else _explain(detail))
    return Settings(**_nest({key: value for key, value in raw.items() if key not in bad})), bad


def _key(location: Sequence[int | str]) -> str:
    """The key in a location that may go on into its value."""
    names = accumulate(map(str, location), "{}.{}".format)
    return next(name for name in names if name in KEYS)


def _null(key: str, raw: object) -> object:
    """The environment and the command line know only text, so an empty one and ``null`` stand for no value."""
    if isinstance(raw, str) and raw.strip().lower() in {"", "null"} and KEYS[key].may_be_null:
        return None
    return raw


def _nest(flat: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return nested


def _explain(detail: ErrorDetails) -> str:
    given, context = detail["input"], detail.get("ctx", {})
    if given is None:
        return "has no value; write one, or leave the key out"
    if detail["type"] == "value_error":
        return str(context["error"])
    if detail["type"] == "literal_error":
        return _choice(str(given), context["expected"])
    explain = _EXPLANATIONS.get(detail["type"])
    return explain(given, context) if explain else f"{given!r}: {detail['msg']}"


def _choice(given: str, expected: str) -> str:
    match = get_close_matches(given, expected.replace("' or '", "', '").strip("'").split("', '"), n=1)
    hint = f"did you mean {match[0]}?" if match else f"write {expected}"
    return f"{given!r} is not {expected}; {hint}"


def _whole(bound: float) -> str:
    return str(bound).removesuffix(".0")


_MAP_OF_MAPS = 'it is not a map of names to maps; write {"name": {"items_per_second": 1000}}'
_EXPLANATIONS: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "int_parsing": lambda given, _: f"{given!r} is not a whole number; write one such as 8080",
    "float_parsing": lambda given, _: f"{given!r} is not a number; write one such as 1.5",
    "finite_number": lambda given, _: f"{given!r} is not a number; write one such as 1.5",
    "bool_parsing": lambda given, _: f"{given!r} is not true or false; write one of them",
    "greater_than": lambda given, context: f"{given!r} is too small; it must be above {_whole(context['gt'])}",
    "greater_than_equal": lambda given, context: f"{given!r} is too small; it must be at least {_whole(context['ge'])}",
    "less_than_equal": lambda given, context: f"{given!r} is too large; it must be at most {_whole(context['le'])}",
    "string_pattern_mismatch": lambda given, _: f"{given!r} is not a path; write one such as /metrics",
    "dict_type": lambda *_: _MAP_OF_MAPS,
    "model_type": lambda *_: _MAP_OF_MAPS,
    "extra_forbidden": lambda *_: "unknown; write items_per_second, bytes_per_second or burst",
    "string_too_short": lambda *_: "is empty; write a value, or leave the key out",
}
