"""Settings that contradict each other."""

from pathlib import Path

import pytest

from app.settings import (
    AuthSettings,
    ConsoleSettings,
    ExporterSettings,
    MetricsSettings,
    QueueSettings,
    RetrySettings,
    ServerSettings,
    ServerTlsSettings,
    Settings,
    ShutdownSettings,
    TlsSettings,
)
from app.settings.check import conflicts

MiB = 1 << 20


def found(settings: Settings) -> dict[str, str]:
    """The first key of each conflict, and its text."""
    return {conflict.keys[0]: conflict.text for conflict in conflicts(settings)}


def test_the_defaults_do_not_contradict_each_other() -> None:
    assert found(Settings()) == {}


def test_a_json_request_may_be_as_large_as_any_request_but_not_larger() -> None:
    assert found(Settings(server=ServerSettings(max_request_size=4 * MiB))) == {}
    assert found(Settings(server=ServerSettings(max_request_size=4 * MiB, max_json_size=5 * MiB))) == {
        "server.max_json_size": "5MiB is above server.max_request_size, 4MiB; lower the one or raise the other"
    }


def test_one_request_fits_in_what_all_may_hold() -> None:
    assert found(Settings(server=ServerSettings(max_inflight_bytes=16 * MiB))) == {}
    assert (
        "16MiB; raise the one"
        in found(Settings(server=ServerSettings(max_inflight_bytes=15 * MiB)))["server.max_inflight_bytes"]
    )


def test_a_request_is_no_larger_than_grpc_can_take() -> None:
    large = ServerSettings(max_request_size=1 << 30, max_inflight_bytes=1 << 30)
    assert found(Settings(server=large, queue=QueueSettings(max_bytes=2 << 30))) == {}
    larger = ServerSettings(max_request_size=2 << 30, max_inflight_bytes=2 << 30)
    assert found(Settings(server=larger, queue=QueueSettings(max_bytes=4 << 30))) == {
        "server.max_request_size": "2GiB is more than gRPC can take; write at most 1GiB"
    }


@pytest.mark.parametrize("name", ["header_timeout", "body_timeout", "max_connection_age"])
def test_a_connection_is_a_week_old_at_most(name: str) -> None:
    assert found(Settings(server=ServerSettings.model_validate({name: "168h"}))) == {}
    assert found(Settings(server=ServerSettings.model_validate({name: "720h"}))) == {
        f"server.{name}": "720h is too long; write at most 168h"
    }


def test_ports_differ_unless_any_will_do() -> None:
    assert found(Settings(server=ServerSettings(port=0, grpc_port=0), metrics=MetricsSettings(port=0))) == {}
    assert found(Settings(server=ServerSettings(port=9090, grpc_port=9090))) == {
        "server.grpc_port": "9090 is server.port already; write another",
        "metrics.port": "9090 is server.port already; write another",
    }


def test_a_queue_on_disk_has_room_beside_its_reserve() -> None:
    assert found(Settings(queue=QueueSettings(max_bytes=32 * MiB))) == {}
    assert found(Settings(queue=QueueSettings(max_bytes=31 * MiB))) == {
        "queue.max_bytes": "31MiB is too small; 16MiB of it is a reserve, so write at least 32MiB"
    }


def test_a_queue_on_disk_takes_the_largest_request() -> None:
    server = ServerSettings(max_request_size=20 * MiB)
    assert found(Settings(server=server, queue=QueueSettings(max_bytes=36 * MiB))) == {}
    text = found(Settings(server=server, queue=QueueSettings(max_bytes=35 * MiB)))["queue.max_bytes"]
    assert text.startswith("35MiB, less a reserve of 16MiB, cannot hold one request of server.max_request_size, 20MiB")


def test_a_queue_in_memory_takes_the_largest_request_and_needs_no_disk() -> None:
    assert found(Settings(queue=QueueSettings(storage="memory", memory_bytes=16 * MiB, max_bytes=1))) == {}
    text = found(Settings(queue=QueueSettings(storage="memory", memory_bytes=15 * MiB)))["queue.memory_bytes"]
    assert text.startswith("15MiB cannot hold one request of server.max_request_size, 16MiB")


def test_grpc_knows_no_zstd() -> None:
    assert found(Settings(exporter=ExporterSettings(compression="zstd"))) == {}
    assert "exporter.compression" in found(Settings(exporter=ExporterSettings(compression="zstd", protocol="grpc")))


def test_grpc_would_take_a_header_for_binary() -> None:
    headers = {"trace-bin": "x"}
    assert found(Settings(exporter=ExporterSettings(headers=headers))) == {}
    assert found(Settings(exporter=ExporterSettings(headers=headers, protocol="grpc"))) == {
        "exporter.headers": "'trace-bin' would be binary in gRPC; give it a name without -bin"
    }


def test_a_certificate_and_its_key_come_together() -> None:
    both = TlsSettings(cert_file=Path("c"), key_file=Path("k"))
    assert found(Settings(exporter=ExporterSettings(tls=both))) == {}
    assert found(Settings(exporter=ExporterSettings(tls=TlsSettings(cert_file=Path("c"))))) == {
        "exporter.tls.cert_file": "'c' needs its key; set exporter.tls.key_file too"
    }
    assert found(Settings(exporter=ExporterSettings(tls=TlsSettings(key_file=Path("k"))))) == {
        "exporter.tls.key_file": "'k' needs its certificate; set exporter.tls.cert_file too"
    }


def test_a_batch_is_no_larger_than_any_destination_takes() -> None:
    assert found(Settings(exporter=ExporterSettings(max_batch_bytes=64 * MiB))) == {}
    assert (
        "at most 64MiB"
        in found(Settings(exporter=ExporterSettings(max_batch_bytes=65 * MiB)))["exporter.max_batch_bytes"]
    )


def test_the_first_wait_is_not_above_the_longest() -> None:
    assert found(Settings(exporter=ExporterSettings(retry=RetrySettings(initial_interval=30)))) == {}
    text = found(Settings(exporter=ExporterSettings(retry=RetrySettings(initial_interval=31))))
    assert text["exporter.retry.initial_interval"].startswith("31s is above exporter.retry.max_interval, 30s; lower")


@pytest.mark.parametrize("key", ["endpoint", "traces_endpoint", "metrics_endpoint", "logs_endpoint"])
def test_every_endpoint_is_looked_at(key: str) -> None:
    exporter = ExporterSettings.model_validate({key: "ftp://user:hush@c"})
    assert found(Settings(exporter=exporter)) == {
        f"exporter.{key}": "'ftp://user:****@c' has the scheme 'ftp'; write http:// or https://"
    }


def test_a_host_and_port_are_an_endpoint_for_grpc_only() -> None:
    exporter = ExporterSettings(endpoint="c:4317", protocol="grpc")
    assert found(Settings(exporter=exporter)) == {}
    assert "has no scheme" in found(Settings(exporter=ExporterSettings(endpoint="c:4317")))["exporter.endpoint"]


def test_a_console_has_no_endpoint() -> None:
    assert found(Settings(exporter=ExporterSettings(endpoint="", protocol="console"))) == {}


@pytest.mark.parametrize(
    ("exporter", "key", "text"),
    [
        (
            {"endpoint": "http://user:hush@localhost:8080"},
            "exporter.endpoint",
            "'http://user:****@localhost:8080' is this service's own server.port; name the collector's address",
        ),
        (
            {"endpoint": "127.0.0.1:4317", "protocol": "grpc"},
            "exporter.endpoint",
            "'127.0.0.1:4317' is this service's own server.grpc_port; name the collector's address",
        ),
        (
            {"metrics_endpoint": "http://127.0.0.1:9090/metrics"},
            "exporter.metrics_endpoint",
            "'http://127.0.0.1:9090/metrics' is this service's own metrics.port; name the collector's address",
        ),
    ],
)
def test_an_endpoint_is_not_the_service_itself(exporter: dict[str, str], key: str, text: str) -> None:
    assert found(Settings(exporter=ExporterSettings.model_validate(exporter))) == {key: text}


def test_what_is_left_is_not_handed_off_to_the_service_itself() -> None:
    def problem(handoff: str) -> dict[str, str]:
        return found(Settings(shutdown=ShutdownSettings(handoff=handoff)))

    assert problem("http://otlp-service:8080") == {}
    assert problem("http://localhost:8080") == {
        "shutdown.handoff": "'http://localhost:8080' is this service's own server.port; name its siblings"
    }
    assert problem("otlp-service:4317") == {
        "shutdown.handoff": "'otlp-service:4317' has no scheme; write it as http://localhost:4318 or https://…"
    }


def test_an_endpoint_that_no_signal_uses_may_be_anything() -> None:
    own = {f"{signal}_endpoint": f"http://c/v1/{signal}" for signal in ("traces", "metrics", "logs")}
    assert found(Settings(exporter=ExporterSettings(endpoint="http://localhost:8080", **own))) == {}


def test_what_is_printed_has_no_endpoint_that_could_be_ours() -> None:
    assert found(Settings(exporter=ExporterSettings(endpoint="http://localhost:8080", protocol="console"))) == {}


@pytest.mark.parametrize("path", ["/health", "/health/live", "/queue", "/queue/dead"])
def test_metrics_do_not_take_the_place_of_what_else_is_asked_there(path: str) -> None:
    assert "metrics.path" in found(Settings(metrics=MetricsSettings(path=path)))
    assert found(Settings(metrics=MetricsSettings(path="/healthy"))) == {}


@pytest.mark.parametrize("path", ["/", "/console", "/console/traces"])
def test_metrics_do_not_take_the_place_of_the_console_where_there_is_one(path: str) -> None:
    metrics = MetricsSettings(path=path)
    assert "metrics.path" in found(Settings(metrics=metrics, console=ConsoleSettings(enabled=True)))
    assert found(Settings(metrics=metrics)) == {}


def test_a_quota_is_that_of_a_key_unless_a_file_may_have_it() -> None:
    quotas: dict[str, object] = {"app": {"items_per_second": 5}}

    def conflicts_of(**auth: object) -> dict[str, str]:
        return found(Settings(auth=AuthSettings.model_validate({"quotas": quotas} | auth)))

    assert conflicts_of(api_keys=["web:sesame"]) == {
        "auth.quotas": "'app' names no key of auth.api_keys; write its name"
    }
    assert conflicts_of(api_keys=["app:sesame"]) == conflicts_of(api_keys_file="keys") == {}
    (mistake,) = conflicts_of(api_keys=["app"]).values()
    assert mistake.startswith("a key itself stands where its name is wanted")
    assert "app" not in mistake


def test_tls_needs_a_certificate_and_its_key() -> None:
    def conflicts_of(**files: str) -> dict[str, str]:
        tls = ServerTlsSettings.model_validate(files)
        return found(Settings(server=ServerSettings(tls=tls)))

    assert conflicts_of(cert_file="c", key_file="k", client_ca_file="a") == {}
    assert conflicts_of(cert_file="c") == {"server.tls.cert_file": "'c' needs its key; set server.tls.key_file too"}
    assert conflicts_of(key_file="k") == {
        "server.tls.key_file": "'k' needs its certificate; set server.tls.cert_file too"
    }
    assert conflicts_of(client_ca_file="a") == {
        "server.tls.client_ca_file": "needs a certificate of our own; set server.tls.cert_file too"
    }


def test_the_native_engine_has_no_tls() -> None:
    tls = ServerTlsSettings.model_validate({"cert_file": "c", "key_file": "k"})
    assert found(Settings(server=ServerSettings(grpc_engine="native"))) == {}
    assert found(Settings(server=ServerSettings(grpc_engine="native", tls=tls))) == {
        "server.grpc_engine": "'native' has no TLS; write grpcio, or leave TLS to a mesh and server.tls.cert_file out"
    }
