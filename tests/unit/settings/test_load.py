"""From the sources to settings: who wins, and every mistake at once."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from app.settings import AuthSettings, Loaded, Settings, SettingsError, check_files, load
from app.settings.file import read_text
from app.settings.keys import KEYS
from tests.support.certificates import Certificates

CONFIG = Path(__file__).parents[3] / "config"


def config(directory: Path, text: str) -> Path:
    path = directory / "c.yaml"
    path.write_text(text)
    return path


def mistakes(overrides: Mapping[str, str], environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(overrides, environ or {})
    return caught.value.problems


def test_without_any_source_all_is_default() -> None:
    loaded = load({}, {})
    assert loaded.settings == Settings()
    assert loaded.origins == dict.fromkeys(KEYS, "default")


def test_a_settings_object_made_in_python_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER", '{"port": 1}')
    monkeypatch.setenv("OTLP_SERVER__PORT", "1")
    assert Settings().server.port == 8080


def test_each_source_wins_over_the_next(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        "exporter:\n  endpoint: http://file:1\n  timeout: 1s\n  compression: none\n  protocol: grpc\n",
    )
    environ = {
        "CONFIG_PATH": str(path),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://standard:2",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTLP_EXPORTER__ENDPOINT": "http://own:3",
        "OTLP_EXPORTER__TIMEOUT": "3s",
    }
    loaded = load({"exporter.endpoint": "http://line:4"}, environ)
    exporter = loaded.settings.exporter
    assert (exporter.endpoint, exporter.timeout, exporter.compression, exporter.protocol) == (
        "http://line:4",
        3.0,
        "gzip",
        "grpc",
    )
    assert {key: origin for key, origin in loaded.origins.items() if origin != "default"} == {
        "exporter.endpoint": "command line",
        "exporter.timeout": "OTLP_EXPORTER__TIMEOUT",
        "exporter.compression": "OTEL_EXPORTER_OTLP_COMPRESSION",
        "exporter.protocol": f"{path}:5",
    }


def test_a_file_that_is_named_by_hand_wins_over_config_path(tmp_path: Path) -> None:
    path = config(tmp_path, "server: {port: 1}")
    assert load({}, {"CONFIG_PATH": "/nowhere"}, config=path).settings.server.port == 1


def test_an_empty_config_path_is_none() -> None:
    assert load({}, {"CONFIG_PATH": ""}).settings == Settings()


def test_a_missing_file_is_an_error() -> None:
    (problem,) = mistakes({}, {"CONFIG_PATH": "no/such.yaml"})
    assert problem == "no/such.yaml: the configuration file does not exist; correct CONFIG_PATH or --config"


def test_a_map_is_taken_whole_from_who_wins(tmp_path: Path) -> None:
    path = config(tmp_path, "exporter: {headers: {a: '1', b: '2'}}")
    assert load({}, {"OTLP_EXPORTER__HEADERS": "C=3"}, config=path).settings.exporter.headers == {"c": "3"}
    assert load({"exporter.headers": '{"d": "4,5"}'}, {}, config=path).settings.exporter.headers == {"d": "4,5"}
    assert load({"exporter.headers": ""}, {}, config=path).settings.exporter.headers == {}


@pytest.mark.parametrize("text", ["", "null"])
def test_no_value_is_written_as_null_or_as_nothing(text: str) -> None:
    loaded = load({"queue.max_age": text, "exporter.tls.ca_file": text, "logging.format": text}, {})
    assert loaded.settings.queue.max_age is None
    assert loaded.settings.exporter.tls.ca_file is None
    assert loaded.settings.logging.format == Settings().logging.format


def test_texts_become_values_whoever_says_them() -> None:
    settings = load(
        {
            "server.port": "0",
            "exporter.batch_size": "1e+06",
            "exporter.retry.multiplier": "2",
            "queue.max_age": "1h",
            "queue.max_bytes": "1GiB",
            "queue.storage": "Disk",
            "logging.level": "WARN",
            "logging.format": "Text",
            "health.unready_when_full": "true",
            "metrics.enabled": "off",
        },
        {},
    ).settings
    assert settings.server.port == 0
    assert settings.exporter.batch_size == 1_000_000
    assert settings.exporter.retry.multiplier == 2.0
    assert settings.queue.max_age == 3600.0
    assert settings.queue.max_bytes == 1 << 30
    assert (settings.queue.storage, settings.logging.level, settings.logging.format) == ("disk", "warning", "text")
    assert settings.health.unready_when_full
    assert not settings.metrics.enabled


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("exporter.timeout", "30x", "'30x' is not a duration; write 30s, 500ms or 5m"),
        ("exporter.timeout", "30", "'30' is not a duration; a number needs its unit; write 30s or 30ms"),
        ("exporter.timeout", "0", "'0' is too small; it must be above 0"),
        ("exporter.max_batch_bytes", "3Mi", "'3Mi' is not a size; write 64MiB, 512KiB or a number of bytes"),
        ("server.port", "http", "'http' is not a whole number; write one such as 8080"),
        ("server.port", "70000", "'70000' is too large; it must be at most 65535"),
        ("server.max_connections", "3000000000", "'3000000000' is too large; it must be at most 2147483647"),
        ("server.port", "-1", "'-1' is too small; it must be at least 0"),
        ("server.port", "1.5", "'1.5' is not a whole number; write one such as 8080"),
        ("server.port", "null", "'null' is not a whole number; write one such as 8080"),
        ("server.max_connections", "1e999", "'1e999' is not a whole number; write one such as 8080"),
        ("server.max_connections", "1e-1", "'1e-1' is not a whole number; write one such as 8080"),
        ("server.max_connections", "eleven", "'eleven' is not a whole number; write one such as 8080"),
        ("server.host", "", "is empty; write a value, or leave the key out"),
        ("queue.directory", "", "'' is not a path; write one"),
        ("queue.directory", "a\0b", "'a\\x00b' is not a path; write one"),
        ("server.tls.cert_file", "\ud800", "'\\ud800' is not a path; write one"),
        ("exporter.retry.multiplier", "0.9", "'0.9' is too small; it must be at least 1"),
        ("exporter.retry.multiplier", "inf", "'inf' is not a number; write one such as 1.5"),
        ("exporter.retry.multiplier", "much", "'much' is not a number; write one such as 1.5"),
        ("metrics.enabled", "maybe", "'maybe' is not true or false; write one of them"),
        ("metrics.path", "metrics", "'metrics' is not a path; write one such as /metrics"),
        ("exporter.protocol", "grcp", "'grcp' is not 'http/protobuf', 'grpc' or 'console'; did you mean grpc?"),
        ("queue.storage", "tape", "'tape' is not 'disk' or 'memory'; write 'disk' or 'memory'"),
        (
            "auth.api_keys",
            "web:hu sh",
            "entry 1: its key is empty or has characters that no header may; write name:key",
        ),
        (
            "server.cors.allowed_origins",
            "app.example",
            "'app.example' is not an origin; write https://app.example, https://*.example or *",
        ),
        ("server.cors.allowed_headers", "x y", "'x y' is not a header's name; use letters, digits and hyphens"),
        (
            "auth.api_keys",
            "[" * 100_000,
            'it begins like JSON but is not; write a,b or ["a", "b"]',
        ),
        (
            "exporter.headers",
            '{"a":' * 100_000,
            "it begins like JSON but is not; write name=value,name=value or a JSON object",
        ),
        ("auth.quotas", '{"a":' * 100_000, 'it is not JSON; write {"name": {"items_per_second": 1000}}'),
        ("auth.quotas", "web", 'it is not JSON; write {"name": {"items_per_second": 1000}}'),
        ("auth.quotas", "[]", 'it is not a map of names to maps; write {"name": {"items_per_second": 1000}}'),
        ("auth.quotas", '{"w": 1}', 'w: it is not a map of names to maps; write {"name": {"items_per_second": 1000}}'),
        (
            "server.cors.allowed_origins",
            "https://me:hush@a.example",
            "'https://me:****@a.example' is not an origin; write https://app.example, https://*.example or *",
        ),
        ("auth.quotas", '{"w": {"items": 1}}', "w.items: unknown; write items_per_second, bytes_per_second or burst"),
        (
            "auth.quotas",
            '{"w": {"burst": "5"}}',
            "w.burst: '5' is not a duration; a number needs its unit; write 5s or 5ms",
        ),
        ("auth.quotas", '{"w": {"items_per_second": 0}}', "w.items_per_second: 0 is too small; it must be above 0"),
        ("exporter.headers", "x y=hush", "'x y' is not a header's name; use letters, digits and hyphens"),
    ],
)
def test_a_wrong_value_is_told_with_its_remedy_and_source(key: str, text: str, problem: str) -> None:
    assert mistakes({key: text}) == [f"{key}: {problem} (command line)"]


def test_a_key_without_a_value_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load({}, {}, config=config(tmp_path, "exporter:\n  timeout:\n"))
    assert caught.value.problems == [
        f"exporter.timeout: has no value; write one, or leave the key out ({tmp_path}/c.yaml:2)"
    ]


def test_an_unknown_key_on_the_command_line_is_told() -> None:
    assert mistakes({"exporter.timout": "1s", "queue": "x"}) == [
        "exporter.timout: unknown key; did you mean exporter.timeout? (command line)",
        "queue: is a section; set a key in it (command line)",
    ]


def test_a_share_of_traces_is_between_none_and_all() -> None:
    assert load({"tracing.sampling_rate": "0.25"}, {}).settings.tracing.sampling_rate == 0.25
    assert mistakes({"tracing.sampling_rate": "100"}) == [
        "tracing.sampling_rate: '100' is too large; it must be at most 1 (command line)"
    ]


def test_every_mistake_of_every_source_is_told_at_once(tmp_path: Path) -> None:
    path = config(tmp_path, "server:\n  prot: 1\n  port: many\nqueue: {wait: 5}\n")
    environ = {"OTLP_FOO": "1", "OTLP_METRICS__PORT": "x", "OTEL_EXPORTER_OTLP_TIMEOUT": "1s"}
    with pytest.raises(SettingsError) as caught:
        load({"exporter.compression": "zip", "exporter.tls.key_file": "k"}, environ, config=path)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "server.prot",
        "exporter.timeout",
        "OTLP_FOO",
        "server.port",
        "exporter.compression",
        "queue.wait",
        "metrics.port",
        "exporter.tls.key_file",
    ]
    assert str(caught.value) == "\n".join(caught.value.problems)


def test_a_contradiction_names_the_sources_of_both_sides() -> None:
    problems = mistakes({"exporter.protocol": "grpc"}, {"OTLP_EXPORTER__COMPRESSION": "zstd"})
    assert [problem[problem.rindex("(") :] for problem in problems] == ["(OTLP_EXPORTER__COMPRESSION, command line)"]


def test_a_contradiction_with_a_wrong_value_is_not_made_up() -> None:
    assert len(mistakes({"server.max_request_size": "1TB x", "server.max_inflight_bytes": "1MiB"})) == 1


def test_no_message_holds_a_secret() -> None:
    problems = mistakes(
        {"exporter.endpoint": "ftp://user:hush@c", "exporter.traces_endpoint": "http://c:0/?hush"},
        {"OTLP_EXPORTER__HEADERS": "a=hush,hush", "OTEL_EXPORTER_OTLP_HEADERS": "b=hush%0A,hush"},
    )
    assert len(problems) == 4
    assert "hush" not in "\n".join(problems)


def test_settings_do_not_show_secrets() -> None:
    assert "hush" not in repr(load({"exporter.headers": "a=hush", "auth.api_keys": "web:hush"}, {}))


def test_keys_and_quotas_come_from_the_file_or_one_line(tmp_path: Path) -> None:
    text = "auth: {api_keys: ['web:a', b], quotas: {web: {items_per_second: 1e+03, burst: 1m}}}"
    in_file = load({}, {}, config=config(tmp_path, text)).settings.auth
    quotas = '{"web": {"items_per_second": 1000, "burst": "1m"}}'
    assert in_file == load({}, {"OTLP_AUTH__API_KEYS": "web:a,b", "OTLP_AUTH__QUOTAS": quotas}).settings.auth
    assert load({"auth.quotas": "", "auth.api_keys": ""}, {}).settings.auth == AuthSettings()


def with_files(directory: Path, **contents: str) -> Loaded:
    overrides = {"headers": "exporter.headers_file", "ca": "exporter.tls.ca_file", "keys": "auth.api_keys_file"}
    for name, content in contents.items():
        (directory / name).write_text(content)
    return load({overrides[name]: str(directory / name) for name in contents}, {})


def test_files_that_can_be_read_are_fine(tmp_path: Path) -> None:
    check_files(load({}, {}))
    ca_file = Certificates(tmp_path).ca_file
    check_files(with_files(tmp_path, headers="a: b", ca=ca_file.read_text()))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    loaded = with_files(tmp_path, headers="hush", ca="pem")
    (tmp_path / "ca").unlink()
    with pytest.raises(SettingsError) as caught:
        check_files(loaded)
    headers, authority, source = tmp_path / "headers", tmp_path / "ca", "(command line)"
    assert caught.value.problems == [
        f"exporter.headers_file: '{headers}' does not hold headers: line 1 is not a header; write name: value {source}",
        f"exporter.tls.ca_file: '{authority}' cannot be read: No such file or directory {source}",
    ]


def test_a_file_that_holds_no_keys_is_told(tmp_path: Path) -> None:
    check_files(with_files(tmp_path, keys="web:sesame\n# none\n"))
    with pytest.raises(SettingsError, match=r"keys' does not hold API keys: line 1: its key is empty") as caught:
        check_files(with_files(tmp_path, keys="web:hush hush"))
    assert "hush" not in str(caught.value)


def test_an_authority_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"exporter\.tls\.ca_file: .* holds no certificates"):
        check_files(with_files(tmp_path, ca="pem"))


def with_tls(certificates: Certificates, **files: Path) -> Loaded:
    given = {"cert_file": certificates.server_cert_file, "key_file": certificates.server_key_file} | files
    return load({f"server.tls.{name}": str(path) for name, path in given.items()}, {})


def test_files_of_tls_that_fit_together_are_fine(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    check_files(with_tls(certificates))
    check_files(with_tls(certificates, client_ca_file=certificates.ca_file))


def test_files_of_tls_that_do_not_are_told(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with pytest.raises(SettingsError, match=r"server\.tls\.cert_file, key_file: .* are no certificate and its key"):
        check_files(with_tls(certificates, key_file=certificates.client_key_file))
    with pytest.raises(SettingsError, match=r"server\.tls\.client_ca_file: .* holds no certificates"):
        check_files(with_tls(certificates, client_ca_file=certificates.server_key_file))
    with pytest.raises(SettingsError, match=r"server\.tls\.client_ca_file: .* cannot be read: No such file"):
        check_files(with_tls(certificates, client_ca_file=tmp_path / "none"))


def test_a_key_with_a_password_is_told_and_asked_for_by_nobody(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    plain = serialization.load_pem_private_key(certificates.server_key_file.read_bytes(), None)
    locked = plain.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hush"),
    )
    (tmp_path / "locked").write_bytes(locked)
    with pytest.raises(SettingsError, match="the key is encrypted; write it without a password"):
        check_files(with_tls(certificates, key_file=tmp_path / "locked"))


def test_the_default_file_has_every_key_with_its_default() -> None:
    loaded = load({}, {}, config=CONFIG / "default.yaml")
    assert loaded.settings == Settings()
    assert [key for key, origin in loaded.origins.items() if origin == "default"] == []


@pytest.mark.parametrize("name", ["production", "local"])
def test_a_shipped_file_has_no_mistake(name: str) -> None:
    assert load({}, {}, config=CONFIG / f"{name}.yaml").settings != Settings()


def test_the_production_file_has_the_guides_values() -> None:
    settings = load({}, {}, config=CONFIG / "production.yaml").settings
    assert (settings.server.host, settings.server.port, settings.server.grpc_port) == ("0.0.0.0", 8080, 4317)
    assert settings.exporter.endpoint == "http://otel-collector:4318"
    assert (settings.exporter.timeout, settings.exporter.batch_size) == (30.0, 1000)
    assert (settings.logging.level, settings.logging.format) == ("info", "json")
    assert (settings.metrics.enabled, settings.metrics.port, settings.metrics.path) == (True, 9090, "/metrics")
    assert settings.queue.directory == Path("/data/queue")
    assert (settings.tracing.enabled, settings.tracing.service_name) == (True, "otlp-service")
    assert settings.tracing.sampling_rate == 1.0


@given(st.sampled_from(sorted(KEYS)), st.text() | st.from_regex(r"[0-9.e+]{1,6}[a-zA-Z]{0,3}", fullmatch=True))
def test_any_text_for_any_key_is_taken_or_told(key: str, text: str) -> None:
    problems: list[str] = []
    try:
        assert load({key: text}, {}).origins[key] == "command line"
    except SettingsError as error:
        problems = error.problems
    assert all(key in problem for problem in problems)


@given(st.text(alphabet=st.characters(codec="utf-8")) | st.text(alphabet="ab:-[]{}#&*!|>'\"\n\t ,?%@`"))
def test_any_text_as_a_file_is_taken_or_told(text: str) -> None:
    values, problems = read_text(f"server:\n  port: 1\n{text}", "c.yaml")
    assert values or problems
