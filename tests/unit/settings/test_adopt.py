"""What of a configuration can take effect while the service runs."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from app.settings import SettingsError, adopt, changes, load
from app.settings.adopt import is_live
from app.settings.keys import KEYS
from app.settings.units import parse_duration

OTHERS: Mapping[str, str] = {
    "server.tls.client_ca_file": "",
    "exporter.tls.key_file": "other.key",
    "exporter.tls.cert_file": "other.pem",
    "exporter.tls.ca_file": "other-ca.pem",
    "exporter.endpoint": "https://other:4318",
    "exporter.protocol": "console",
    "exporter.traces_endpoint": "https://other:1/traces",
    "exporter.metrics_endpoint": "https://other:1/metrics",
    "exporter.logs_endpoint": "https://other:1/logs",
    "exporter.headers": "a=b",
    "exporter.compression": "none",
    "exporter.retry.max_interval": "31s",
    "exporter.retry.initial_interval": "2s",
    "queue.storage": "memory",
    "queue.acknowledge": "delivered",
    "queue.max_age": "24h",
    "logging.level": "debug",
    "logging.format": "text",
    "metrics.path": "/other",
    "tracing.sampling_rate": "0.5",
    "auth.api_keys": "web:sesame",
    "auth.quotas": '{"web": {"items_per_second": 1}}',
    "server.cors.allowed_origins": "https://other.example",
    "server.cors.allowed_headers": "x-other",
    "server.host": "127.0.0.1",
    "shutdown.handoff": "http://other:8080",
}
"""Another value for a key of which it is not plain how to make one."""

FIRST = {
    "server.tls.cert_file": "first.pem",
    "server.tls.key_file": "first.key",
    "exporter.tls.cert_file": "first.pem",
    "exporter.tls.key_file": "first.key",
    "logging.format": "json",
}


def another(key: str) -> str:
    if key in OTHERS:
        return OTHERS[key]
    default = KEYS[key].default
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(default, int | float):
        unit = "s" if parse_duration in KEYS[key].parsers else ""
        return f"{default + 2}{unit}"
    return f"{default or key}-other"


@pytest.mark.parametrize("key", sorted(KEYS.keys() - {"server.tls.client_ca_file", "server.grpc_engine"}))
def test_what_is_said_to_take_effect_does_and_nothing_else(key: str) -> None:
    more = {"auth.api_keys": "web:sesame"} if key == "auth.quotas" else {}
    first = load(FIRST | more, {})
    read = load(FIRST | more | {key: another(key)}, {})
    after = adopt(first, read)
    live = is_live(key)
    assert [name for name, *_ in changes(first, after)] == ([key] if live else [])
    assert [name for name, *_ in changes(after, read)] == ([] if live else [key])
    assert after.origins[key] == ("command line" if live or key in FIRST else "default")


@pytest.mark.parametrize("key", ["server.tls.cert_file", "server.tls.client_ca_file"])
def test_what_clients_are_asked_for_stays(key: str) -> None:
    first = load(FIRST | ({key: "ca.pem"} if key.endswith("ca_file") else {}), {})
    without = {name: value for name, value in FIRST.items() if not name.startswith("server.") or "ca_file" in key}
    after = adopt(first, load(without, {}))
    assert after.settings == first.settings


def test_what_does_not_go_with_what_stays_is_a_mistake() -> None:
    first = load({"exporter.protocol": "grpc"}, {})
    read = load({"exporter.headers": "trace-bin=1"}, {})
    with pytest.raises(SettingsError, match=r"exporter\.headers"):
        adopt(first, read)


def test_a_configuration_can_be_loaded_again(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("logging: {level: info}")
    environ = {"CONFIG_PATH": str(file), "OTLP_QUEUE__WAIT": "3s"}
    first = load({"exporter.concurrency": "3"}, environ)
    file.write_text("logging: {level: debug}\nqueue: {wait: 9s}\nexporter: {concurrency: 9}")
    again = first.again().again()
    assert (again.settings.logging.level, again.settings.queue.wait, again.settings.exporter.concurrency) == (
        "debug",
        3,
        3,
    )
    assert list(changes(first, again)) == [("logging.level", "info", "debug", f"{file}:1")]


def test_secrets_are_masked_in_what_changed() -> None:
    first, second = load({"auth.api_keys": "web:sesame"}, {}), load({"auth.api_keys": "web:other"}, {})
    assert list(changes(first, second)) == [("auth.api_keys", '["web:****"]', '["web:****"]', "command line")]
