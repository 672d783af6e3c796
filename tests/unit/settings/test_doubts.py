"""Settings that are possible, and most likely not what was meant."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.settings import Settings, warnings

ELSEWHERE = {"directory": "/srv/queue", "max_bytes": 32 << 20}
"""A queue that no disk is too small for, wherever the tests lie."""


def doubts(**sections: dict[str, Any]) -> list[str]:
    return warnings(Settings.model_validate({"queue": ELSEWHERE, "server": {"host": "127.0.0.1"}} | sections))


def test_a_sensible_configuration_raises_no_doubt() -> None:
    assert doubts() == []
    assert doubts(exporter={"endpoint": "https://c:4317", "protocol": "grpc"}) == []


@pytest.mark.parametrize(
    ("exporter", "doubt"),
    [
        (
            {"endpoint": "http://c:4317"},
            "exporter.endpoint: 'http://c:4317' has the port of gRPC; write 4318, or grpc as exporter.protocol",
        ),
        (
            {"endpoint": "c:4318", "protocol": "grpc"},
            "exporter.endpoint: 'c:4318' has the port of HTTP; write 4317, or http/protobuf as exporter.protocol",
        ),
        (
            {"traces_endpoint": "http://c:4317/v1/traces"},
            (
                "exporter.traces_endpoint: 'http://c:4317/v1/traces' has the port of gRPC; "
                "write 4318, or grpc as exporter.protocol"
            ),
        ),
        (
            {"endpoint": "http://c:4317/v1/traces", "protocol": "grpc"},
            "exporter.endpoint: 'http://c:4317/v1/traces' has a path, which gRPC does not use; leave it out",
        ),
        (
            {"endpoint": "http://u:hush@c/v1/logs/"},
            (
                "exporter.endpoint: 'http://u:****@c/v1/logs/' is a base URL, to which /v1/traces and so on are added; "
                "leave /v1/logs out"
            ),
        ),
        (
            {"logs_endpoint": "http://c/"},
            "exporter.logs_endpoint: 'http://c/' is used as it is; add /v1/logs if the destination expects it",
        ),
        (
            {"tls": {"ca_file": "ca"}},
            "exporter.tls.ca_file: has no effect, because no endpoint begins with https://",
        ),
        (
            {"protocol": "grpc", "endpoint": "c:4317", "max_batch_bytes": 5 << 20},
            "exporter.max_batch_bytes: 5MiB is above the 4MiB that a collector takes by gRPC",
        ),
        ({"timeout": "30ms"}, "exporter.timeout: 30ms is unusually short; is its unit right?"),
        ({"timeout": "30m"}, "exporter.timeout: 30m is unusually long; is its unit right?"),
        ({"max_batch_bytes": "4KiB"}, "exporter.max_batch_bytes: 4KiB is unusually small; is its unit right?"),
        ({"max_batch_bytes": "32MiB"}, "exporter.max_batch_bytes: 32MiB is unusually large; is its unit right?"),
    ],
)
def test_a_doubt_about_the_exporter_is_told_with_its_remedy(exporter: dict[str, Any], doubt: str) -> None:
    assert doubts(exporter=exporter) == [doubt]


def test_one_endpoint_with_tls_is_enough_for_files_of_tls() -> None:
    assert doubts(exporter={"logs_endpoint": "https://c/v1/logs", "tls": {"ca_file": "ca"}}) == []


def test_an_endpoint_that_no_signal_uses_raises_no_doubt() -> None:
    own = {f"{signal}_endpoint": f"http://c/v1/{signal}" for signal in ("traces", "metrics", "logs")}
    assert doubts(exporter={"endpoint": "http://c:4317", **own}) == []


def test_a_console_raises_no_doubt_about_endpoints() -> None:
    assert doubts(exporter={"endpoint": "http://c:4317", "protocol": "console", "tls": {"ca_file": "ca"}}) == []


def test_a_wait_that_clients_do_not_wait_for_is_told() -> None:
    assert doubts(queue=ELSEWHERE | {"wait": "10s"}) == ["queue.wait: 10s is unusually long; is its unit right?"]


def test_a_queue_that_does_not_outlive_the_machine_is_told() -> None:
    (doubt,) = doubts(queue=ELSEWHERE | {"directory": "/run/queue"})
    assert doubt == "queue.directory: '/run/queue' does not outlive a restart of the machine; write another"


def test_a_queue_in_memory_raises_no_doubt_about_the_disk() -> None:
    assert doubts(queue=ELSEWHERE | {"storage": "memory", "directory": "/run/queue"}) == []


def disk_of(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let every disk have `free` bytes left."""
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))


def about_size(directory: Path, max_bytes: int) -> list[str]:
    found = doubts(queue={"directory": str(directory), "max_bytes": max_bytes})
    return [doubt for doubt in found if doubt.startswith("queue.max_bytes")]


def test_a_queue_larger_than_the_disk_under_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_of(monkeypatch, 64 << 20)
    there = tmp_path / "not" / "made" / "yet"
    assert about_size(there, 64 << 20) == []
    assert about_size(there, 65 << 20) == [
        f"queue.max_bytes: 65MiB is more than the disk under '{there}' has, 64MiB; lower it"
    ]


def test_what_the_queue_has_already_counts_as_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_of(monkeypatch, 64 << 20)
    (tmp_path / "data.mdb").write_bytes(bytes(1 << 20))
    assert about_size(tmp_path, 65 << 20) == []
    assert about_size(tmp_path, 66 << 20) != []


def test_a_directory_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = doubts(queue=ELSEWHERE | {"directory": str(tmp_path / "file")})
    assert f"queue.directory: '{tmp_path / 'file'}' cannot be looked into: Not a directory" in found


def test_a_key_that_can_be_guessed_is_told() -> None:
    keys = {"api_keys": ["web:sesame", "app:0123456789abcdef"]}
    assert doubts(auth=keys) == [
        "auth.api_keys: the key 'web' has 6 characters, which can be guessed; make it of 32 random ones"
    ]


def test_budgets_that_do_not_fit_the_memory_limit_are_doubtful() -> None:
    settings = Settings.model_validate({"queue": ELSEWHERE})
    assert warnings(settings, 256 << 20) == []
    (doubt,) = warnings(settings, 128 << 20)
    assert doubt == (
        "server.max_inflight_bytes: with 64MiB, 16MiB of server.max_request_size, 4MiB of server.max_json_size and "
        "64MiB of queue.memory_bytes the service may take 192MiB, above the memory limit of 128MiB, and will tell "
        "clients to come back; raise the limit, or lower these"
    )


def test_the_largest_request_in_json_has_to_fit_the_memory_limit_with_all_that_it_is_read_into() -> None:
    settings = Settings.model_validate({"queue": ELSEWHERE, "server": {"max_json_size": "16MiB"}})
    assert "the service may take 287MiB" in "".join(warnings(settings, 255 << 20))
    assert warnings(settings, 320 << 20) == []


def test_a_queue_in_memory_has_to_fit_the_memory_limit_as_a_whole() -> None:
    settings = Settings.model_validate({"queue": {"storage": "memory"}})
    assert "the service may take 288MiB" in "".join(warnings(settings, 256 << 20))
    assert warnings(settings, 320 << 20) == []
