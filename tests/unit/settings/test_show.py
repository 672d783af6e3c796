"""What is in force and where it came from."""

from pathlib import Path

import yaml

from app.settings import Loaded, load, show

SECRETS = {
    "exporter.endpoint": "http://user:hush@c:4318",
    "exporter.traces_endpoint": "http://c/v1/traces?key=hush",
    "auth.api_keys": "web:hush-hush,hush",
    "exporter.headers": "authorization=hush,x-tenant=hush",
    "shutdown.handoff": "http://user:hush@sibling:8080",
}


def shown_again(loaded: Loaded, directory: Path) -> Loaded:
    path = directory / "shown.yaml"
    path.write_text(show(loaded))
    return load({}, {}, config=path)


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    loaded = load(
        {
            "server.host": "::",
            "server.max_request_size": "5000001",
            "server.max_json_size": "1000",
            "queue.directory": "a b: #c",
            "queue.max_age": "1h",
            "exporter.logs_endpoint": "https://c/é",
            "exporter.timeout": "1500us",
            "exporter.tls.ca_file": "null_",
            "metrics.path": "/true",
        },
        {},
    )
    assert shown_again(loaded, tmp_path).settings == loaded.settings


def test_the_defaults_can_be_loaded_again(tmp_path: Path) -> None:
    loaded = load({}, {})
    assert shown_again(loaded, tmp_path).settings == loaded.settings


def test_any_reader_of_yaml_sees_the_same() -> None:
    seen = yaml.safe_load(show(load({"server.host": "1:2", "queue.directory": "yes"}, {})))
    assert seen["server"] == {
        "host": "1:2",
        "port": 8080,
        "grpc_port": 4317,
        "grpc_engine": "grpcio",
        "max_request_size": "16MiB",
        "max_json_size": "4MiB",
        "max_inflight_bytes": "64MiB",
        "max_connections": 1000,
        "max_concurrent_streams": 32,
        "header_timeout": "10s",
        "body_timeout": "30s",
        "max_connection_age": "5m",
        "tls": {"cert_file": None, "key_file": None, "client_ca_file": None},
        "cors": {"allowed_origins": [], "allowed_headers": []},
    }
    assert seen["queue"]["directory"] == "yes"
    assert seen["exporter"]["headers"] == {}
    assert seen["exporter"]["retry"]["multiplier"] == 1.5
    assert seen["exporter"]["tls"] == {"ca_file": None, "cert_file": None, "key_file": None}


def test_each_value_tells_where_it_came_from() -> None:
    lines = show(load({"server.port": "1"}, {"OTLP_EXPORTER__RETRY__MAX_HINT": "1m"})).splitlines()
    assert [line.split("#")[1].strip() for line in lines if line.startswith("  port: 1 ")] == ["command line"]
    assert [line.split("#")[1].strip() for line in lines if "max_hint: 1m " in line] == [
        "OTLP_EXPORTER__RETRY__MAX_HINT"
    ]
    assert sum("# default" in line for line in lines) == len(lines) - 2 - 14


def test_secrets_are_masked_and_their_names_shown() -> None:
    text = show(load(SECRETS, {}))
    assert "hush" not in text
    exporter = yaml.safe_load(text)["exporter"]
    assert exporter["endpoint"] == "http://user:****@c:4318"
    assert exporter["traces_endpoint"] == "http://c/v1/traces?****"
    assert exporter["headers"] == {"authorization": "****", "x-tenant": "****"}
    assert yaml.safe_load(text)["auth"]["api_keys"] == ["web:****", "key2:****"]


def test_quotas_are_no_secret() -> None:
    loaded = load({"auth.api_keys": "web:hush", "auth.quotas": '{"web": {"items_per_second": 5, "burst": "1m"}}'}, {})
    quotas = yaml.safe_load(show(loaded))["auth"]["quotas"]
    assert quotas == {"web": {"items_per_second": 5.0, "bytes_per_second": None, "burst": "1m"}}
