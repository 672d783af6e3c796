"""The JSON Schema for editors says what the service says."""

from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from app.cli import main
from app.settings import SettingsError, load, schema
from app.settings.keys import KEYS, SECTIONS

CONFIG = Path(__file__).parents[3] / "config"
FILES = sorted(CONFIG.glob("*.yaml"))
VALIDATOR = Draft7Validator(schema())


def flagged(document: object) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(document)]


def refused(tmp_path: Path, text: str) -> list[str]:
    """What the service itself has against a file, but for what does not fit together."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    try:
        load({}, {}, config=path)
    except SettingsError as error:
        return error.problems
    return []


def property_of(key: str) -> dict[str, Any]:
    found: dict[str, Any] = reduce(lambda section, name: section["properties"][name], key.split("."), schema())
    return found


def test_the_file_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert capsys.readouterr().out == (CONFIG / "schema.json").read_text("utf-8"), "run scripts/configuration-reference"


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_file_names_the_schema_and_keeps_to_it(file: Path) -> None:
    text = file.read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert flagged(yaml.safe_load(text)) == []


def test_there_are_files_to_check() -> None:
    assert [file.name for file in FILES] == ["default.yaml", "local.yaml", "production.yaml"]


def test_every_key_and_section_is_described() -> None:
    for name in [*KEYS, *SECTIONS]:
        assert property_of(name)["description"], name


def test_defaults_are_those_of_the_settings_and_keep_to_the_schema() -> None:
    defaults = {key: property_of(key)["default"] for key in KEYS}
    assert (defaults["exporter.batch_timeout"], defaults["exporter.max_batch_bytes"]) == ("200ms", "3.5MiB")
    assert (defaults["queue.directory"], defaults["queue.max_age"], defaults["logging.format"]) == (
        "data/queue",
        None,
        None,
    )
    for key, default in defaults.items():
        assert not list(Draft7Validator(property_of(key)).iter_errors(default)), key


@pytest.mark.parametrize(
    "text",
    [
        "server: {port: 0, max_connections: 1}",
        "server:",
        "exporter: {timeout: 1m30s, batch_timeout: 0}",
        "exporter: {batch_timeout: 0s, max_batch_bytes: 1.5MiB}",
        "exporter: {max_batch_bytes: 1048576, retry: {multiplier: 2}}",
        "exporter: {max_batch_bytes: 4096}",
        "exporter: {headers: {a: text, b: 5, c: true}}",
        "exporter: {headers_file: null, tls:}",
        "queue: {storage: memory, max_age: 1h, memory_bytes: 64 MiB}",
        "queue: {max_age: null, wait: .5s, max_bytes: 1GB}",
        "logging: {level: debug, format: null}",
        "logging: {format: text}",
        "metrics: {enabled: false, path: /m}",
    ],
)
def test_what_the_service_takes_is_not_flagged(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text) == []
    assert flagged(yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "sever: {}",
        "server: {prot: 1}",
        "server: [1]",
        "server: {port: 65536}",
        "server: {port: -1}",
        "server: {port: x}",
        "server: {port: null}",
        "server: {host: ''}",
        "server: {max_connections: 0}",
        "exporter: {timeout: 5}",
        "exporter: {timeout: 0s}",
        "exporter: {timeout: 0}",
        "exporter: {timeout: 30 s}",
        "exporter: {timeout: 30sec}",
        "exporter: {batch_timeout: -1}",
        "exporter: {batch_timeout: 1}",
        "exporter: {max_batch_bytes: 0}",
        "exporter: {max_batch_bytes: 3.5MB/s}",
        "exporter: {protocol: http}",
        "exporter: {headers: [a]}",
        "exporter: {retry: {multiplier: 0.5}}",
        "exporter: {retry: {interval: 1s}}",
        "queue: {storage: null}",
        "queue: {max_age: 0s}",
        "logging: {format: xml}",
        "metrics: {path: metrics}",
        "metrics: {enabled: maybe}",
    ],
)
def test_what_the_service_refuses_is_flagged(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text) != []
    assert flagged(yaml.safe_load(text)) != []
