"""The configuration file, read as text that knows its line."""

from pathlib import Path

import pytest

from app.settings.file import read_file, read_text
from app.settings.keys import Value


def problems(text: str) -> list[str]:
    return read_text(text, "c.yaml")[1]


def test_a_value_knows_the_line_of_its_key() -> None:
    values, mistakes = read_text("# ours\nserver:\n  port: 1\n\nexporter:\n  retry:\n    max_hint: 5m\n", "c.yaml")
    assert mistakes == []
    assert values == {"server.port": Value("1", "c.yaml:3"), "exporter.retry.max_hint": Value("5m", "c.yaml:7")}


def test_a_value_is_the_text_that_was_written() -> None:
    values, _ = read_text("exporter:\n  headers: {on: yes, a: 1.0, b: 0o7, c: '~', d: null_}\n", "c.yaml")
    assert values["exporter.headers"].raw == {"on": "yes", "a": "1.0", "b": "0o7", "c": "~", "d": "null_"}


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "null\n", "server:\n", "server: {}\n", "exporter: {headers: }"]
)
def test_nothing_is_no_value(text: str) -> None:
    assert read_text(text, "c.yaml") == ({}, [])


def test_null_is_a_value_of_its_own() -> None:
    values, _ = read_text("queue: {max_age: null}\nexporter: {tls: {ca_file: ~}}\n", "c.yaml")
    assert {key: value.raw for key, value in values.items()} == {"queue.max_age": None, "exporter.tls.ca_file": None}


def test_a_file_in_json_is_fine() -> None:
    values, mistakes = read_text('{"server": {"port": 8081, "host": "::"}}', "c.json")
    assert (values["server.port"].raw, values["server.host"].raw, mistakes) == ("8081", "::", [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sever: {}\n", "sever: unknown section; did you mean server? (c.yaml:1)"),
        ("server:\n  prot: 1\n", "server.prot: unknown key; did you mean server.port? (c.yaml:2)"),
        ("queue: {endpoint: x}\n", "queue.endpoint: unknown key; did you mean exporter.endpoint? (c.yaml:1)"),
        ("exporter: {retries: {}}\n", "exporter.retries: unknown key; did you mean exporter.retry? (c.yaml:1)"),
        ("queue: {zzz: x}\n", "queue.zzz: unknown key; docs/configuration.md lists all (c.yaml:1)"),
        (
            "exporter: {retry: {hint: 1s}}\n",
            "exporter.retry.hint: unknown key; did you mean exporter.retry.max_hint? (c.yaml:1)",
        ),
        ("port: 1\n", "port: unknown section; did you mean server.port? (c.yaml:1)"),
    ],
)
def test_an_unknown_name_is_told_with_what_was_probably_meant(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_a_key_that_is_written_twice_is_told_with_both_lines() -> None:
    assert problems("server:\n  port: 1\n  port: 2\nserver: {}\n") == [
        "server.port: is there already, in line 2; keep one (c.yaml:3)",
        "server: is there already, in line 1; keep one (c.yaml:4)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n", "the configuration file: is a map of sections; write its keys beneath it (c.yaml:1)"),
        ("server: 8080\n", "server: is a section; write its keys beneath it (c.yaml:1)"),
        ("server: [a]\n", "server: is a section; write its keys beneath it (c.yaml:1)"),
        ("server:\n  port: [1, 2]\n", "server.port: takes one value, not a list (c.yaml:2)"),
        ("server:\n  port: {a: 1}\n", "server.port: takes one value, not a map (c.yaml:2)"),
        ("exporter: {headers: [a]}\n", "exporter.headers: takes a map of names to text, not a list (c.yaml:1)"),
        (
            "exporter: {headers: {a: [b]}}\n",
            "exporter.headers: takes a map of names to text; write name: value (c.yaml:1)",
        ),
        (
            "exporter: {headers: {a: }}\n",
            "exporter.headers: takes a map of names to text; write name: value (c.yaml:1)",
        ),
        ("exporter: {headers: {a: b, a: c}}\n", "exporter.headers: 'a' is there already; keep one (c.yaml:1)"),
        ("[1, 2]: a\n", "the configuration file: a key must be a plain word (c.yaml:1)"),
        ("server: {[1]: a}\n", "server: a key must be a plain word (c.yaml:1)"),
        ("server: {host: !env HOST}\n", "server.host: the tag !env is not known; write a plain value (c.yaml:1)"),
    ],
)
def test_a_value_of_another_shape_is_told(text: str, problem: str) -> None:
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("server:\n  port: [1\n", "c.yaml:3:1: not YAML: "),
        ("server:\n\tport: 1\n", "c.yaml:2:1: not YAML: "),
        ("a: b: c\n", "c.yaml:1:5: not YAML: "),
        ("server: {}\n---\nserver: {}\n", "c.yaml:2:1: not YAML: "),
        ("server: *nowhere\n", "c.yaml:1:9: not YAML: "),
        ("server: \x01\n", "c.yaml: not YAML: "),
        (f"exporter: {'[' * 20_000}", "c.yaml: not YAML: "),
    ],
)
def test_what_is_no_yaml_is_told_with_line_and_column(text: str, place: str) -> None:
    (mistake,) = problems(text)
    assert mistake.startswith(place)
    assert len(mistake) > len(place)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert read_file(path) == ({}, [f"{path}: the configuration file does not exist; correct CONFIG_PATH or --config"])


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert read_file(tmp_path)[1] == [f"{tmp_path}: the configuration file cannot be read: Is a directory"]


def test_a_file_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("# é".encode("latin-1"))
    assert read_file(path)[1] == [f"{path}: the configuration file is not UTF-8; save it as UTF-8"]


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfserver: {port: 1}\n")
    assert read_file(path) == ({"server.port": Value("1", f"{path}:1")}, [])


def test_lists_and_maps_of_maps_are_read() -> None:
    values, mistakes = read_text("auth:\n  api_keys: [web:a, b]\n  quotas:\n    web: {burst: 5s}\n", "f")
    assert not mistakes
    assert {key: value.raw for key, value in values.items()} == {
        "auth.api_keys": ["web:a", "b"],
        "auth.quotas": {"web": {"burst": "5s"}},
    }
    assert read_text("auth: {api_keys: , quotas: }", "f") == ({}, [])


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("auth: {api_keys: {web: hush}}", "auth.api_keys: takes a list of text, not a map (f:1)"),
        (
            "auth: {api_keys: [[hush]]}",
            "auth.api_keys: takes a list of text; write - 'text' (f:1)",
        ),
        (
            "auth: {api_keys: [~]}",
            "auth.api_keys: takes a list of text; write - 'text' (f:1)",
        ),
        ("auth: {quotas: [web]}", "auth.quotas: takes a map of names to maps, not a list (f:1)"),
        (
            "auth: {quotas: {web: 5}}",
            "auth.quotas: takes a map of names to maps; write name: {items_per_second: 1000} (f:1)",
        ),
        (
            "auth: {quotas: {web: {burst: [1]}}}",
            "auth.quotas.web: takes a map of names to values; write name: value (f:1)",
        ),
        ("auth: {quotas: {web: {}, web: {}}}", "auth.quotas: 'web' is there already; keep one (f:1)"),
    ],
)
def test_what_is_no_list_or_no_map_of_maps_is_told(text: str, mistake: str) -> None:
    assert read_text(text, "f")[1] == [mistake]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("auth: {api_keys: [*hush]}", "f:1:19: not YAML: found undefined alias '…'"),
        ("auth: {api_keys: !hush }", "auth.api_keys: the tag is not known; write a plain value, in quotes where it"),
        ("auth: {api_keys: [!hush x]}", "auth.api_keys: the tag is not known; write a plain value, in quotes where it"),
        ("exporter: {headers: {a: !hush x}}", "exporter.headers: the tag is not known; write a plain value, in quotes"),
        ("auth:\n  api_keys: 'hush\n", "f:3:1: not YAML: found unexpected end of stream"),
        ("auth:\n  api_keys:\n  - hush\n  x\n", "f:5:1: not YAML: could not find expected ':'"),
        ("auth:\n  api_keys: web: hush\n", "f:2:16: not YAML: mapping values are not allowed here"),
        ("auth: [}", "f:1:8: not YAML: expected the node content, but found '}'"),
    ],
)
def test_what_may_be_a_secret_is_not_told(text: str, mistake: str) -> None:
    (told,) = read_text(text, "f")[1]
    assert told.startswith(mistake)
    assert "hush" not in told
