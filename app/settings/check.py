"""What no key says alone: settings that contradict each other, and settings that are likely mistakes."""

from collections.abc import Iterator
from typing import NamedTuple

from app.core.request import Signal
from app.settings.api_keys import QUOTA_OF_A_KEY, parse_keys
from app.settings.endpoint import endpoint_problem, mask_url
from app.settings.model import (
    DISK_RESERVE,
    AuthSettings,
    ExporterSettings,
    QueueSettings,
    ServerSettings,
    ServerTlsSettings,
    Settings,
    TlsSettings,
)
from app.settings.ourselves import own_port
from app.settings.units import format_duration, format_size

__all__ = ["Conflict", "conflicts"]

_MiB = 1 << 20
_LARGEST_BATCH = 64 * _MiB
_LARGEST_REQUEST = 1024 * _MiB  # gRPC counts bytes and milliseconds in 32 bits
_LONGEST = 7 * 24 * 3600.0
_SMALLEST_DISK = 2 * DISK_RESERVE


class Conflict(NamedTuple):
    """Keys that contradict each other, the one to change first, and what is wrong with its remedy."""

    keys: tuple[str, ...]
    text: str


def conflicts(settings: Settings) -> Iterator[Conflict]:
    """Every contradiction."""
    yield from _server(settings.server)
    yield from _pair("server.tls", settings.server.tls)
    if settings.server.tls.client_ca_file and not settings.server.tls.cert_file:
        yield Conflict(("server.tls.client_ca_file",), "needs a certificate of our own; set server.tls.cert_file too")
    yield from _quotas(settings.auth)
    yield from _ports(settings)
    yield from _queue(settings.queue, settings.server.max_request_size)
    yield from _exporter(settings.exporter)
    yield from _endpoints(settings)
    for taken, asker in (("/health", "the probes ask"), ("/queue", "otlp-service queue asks")):
        if settings.metrics.path == taken or settings.metrics.path.startswith(f"{taken}/"):
            yield Conflict(
                ("metrics.path",), f"{settings.metrics.path!r} is where {asker}; write another, such as /metrics"
            )

    if settings.console.enabled and (
        settings.metrics.path == "/" or f"{settings.metrics.path}/".startswith("/console/")
    ):
        yield Conflict(
            ("metrics.path", "console.enabled"),
            f"{settings.metrics.path!r} is where the console is; write another, such as /metrics",
        )


def _server(server: ServerSettings) -> Iterator[Conflict]:
    if server.grpc_engine == "native" and server.tls.cert_file:
        yield Conflict(
            ("server.grpc_engine", "server.tls.cert_file"),
            "'native' has no TLS; write grpcio, or leave TLS to a mesh and server.tls.cert_file out",
        )
    if server.max_json_size > server.max_request_size:
        yield Conflict(
            (
                "server.max_json_size",
                "server.max_request_size",
            ),
            f"{format_size(server.max_json_size)} is above server.max_request_size, "
            f"{format_size(server.max_request_size)}; lower the one or raise the other",
        )
    if server.max_request_size > server.max_inflight_bytes:
        yield Conflict(
            (
                "server.max_inflight_bytes",
                "server.max_request_size",
            ),
            f"{format_size(server.max_inflight_bytes)} leaves no room for one request of server.max_request_size, "
            f"{format_size(server.max_request_size)}; raise the one or lower the other",
        )

    if server.max_request_size > _LARGEST_REQUEST:
        yield Conflict(
            ("server.max_request_size",),
            f"{format_size(server.max_request_size)} is more than gRPC can take; "
            f"write at most {format_size(_LARGEST_REQUEST)}",
        )
    for name in ("header_timeout", "body_timeout", "max_connection_age"):
        if (seconds := getattr(server, name)) > _LONGEST:
            yield Conflict(
                (f"server.{name}",),
                f"{format_duration(seconds)} is too long; write at most {format_duration(_LONGEST)}",
            )


def _pair(section: str, tls: ServerTlsSettings | TlsSettings) -> Iterator[Conflict]:
    """A certificate and its key come together."""
    if tls.cert_file and not tls.key_file:
        yield Conflict((f"{section}.cert_file",), f"{str(tls.cert_file)!r} needs its key; set {section}.key_file too")
    if tls.key_file and not tls.cert_file:
        yield Conflict(
            (f"{section}.key_file",), f"{str(tls.key_file)!r} needs its certificate; set {section}.cert_file too"
        )


def _quotas(auth: AuthSettings) -> Iterator[Conflict]:
    keys = parse_keys(auth.api_keys)
    for name in sorted(auth.quotas.keys() - keys.keys()):
        if name in keys.values():
            yield Conflict(("auth.quotas", "auth.api_keys"), QUOTA_OF_A_KEY)
        elif auth.api_keys_file is None:  # which may get the names yet
            yield Conflict(("auth.quotas", "auth.api_keys"), f"{name!r} names no key of auth.api_keys; write its name")


def _ports(settings: Settings) -> Iterator[Conflict]:
    ports = {
        "server.port": settings.server.port,
        "server.grpc_port": settings.server.grpc_port,
        "metrics.port": settings.metrics.port,
    }
    seen: dict[int, str] = {}
    for key, port in ports.items():
        if port and port in seen:
            yield Conflict((key, seen[port]), f"{port} is {seen[port]} already; write another")
        seen.setdefault(port, key)


def _queue(queue: QueueSettings, largest: int) -> Iterator[Conflict]:
    if queue.storage == "memory":
        if largest > queue.memory_bytes:
            yield Conflict(
                (
                    "queue.memory_bytes",
                    "server.max_request_size",
                ),
                f"{format_size(queue.memory_bytes)} cannot hold one request of server.max_request_size, "
                f"{format_size(largest)}; raise the one or lower the other",
            )
    elif queue.max_bytes < _SMALLEST_DISK:
        yield Conflict(
            ("queue.max_bytes",),
            f"{format_size(queue.max_bytes)} is too small; {format_size(DISK_RESERVE)} of it is a reserve, "
            f"so write at least {format_size(_SMALLEST_DISK)}",
        )
    elif largest > queue.max_bytes - DISK_RESERVE:
        yield Conflict(
            (
                "queue.max_bytes",
                "server.max_request_size",
            ),
            f"{format_size(queue.max_bytes)}, less a reserve of {format_size(DISK_RESERVE)}, cannot hold one request "
            f"of server.max_request_size, {format_size(largest)}; raise the one or lower the other",
        )


def _exporter(exporter: ExporterSettings) -> Iterator[Conflict]:
    if exporter.protocol == "grpc":
        if exporter.compression == "zstd":
            yield Conflict(
                (
                    "exporter.compression",
                    "exporter.protocol",
                ),
                "zstd is not known to gRPC; write gzip or none, or http/protobuf as exporter.protocol",
            )
        binary = [name for name in exporter.headers if name.endswith("-bin")]
        if binary:
            yield Conflict(
                (
                    "exporter.headers",
                    "exporter.protocol",
                ),
                f"{binary[0]!r} would be binary in gRPC; give it a name without -bin",
            )
    yield from _pair("exporter.tls", exporter.tls)
    if exporter.max_batch_bytes > _LARGEST_BATCH:
        yield Conflict(
            ("exporter.max_batch_bytes",),
            f"{format_size(exporter.max_batch_bytes)} is more than a destination takes at once; "
            f"write at most {format_size(_LARGEST_BATCH)}",
        )
    retry = exporter.retry
    if retry.initial_interval > retry.max_interval:
        yield Conflict(
            (
                "exporter.retry.initial_interval",
                "exporter.retry.max_interval",
            ),
            f"{format_duration(retry.initial_interval)} is above exporter.retry.max_interval, "
            f"{format_duration(retry.max_interval)}; lower the one or raise the other",
        )


def _endpoints(settings: Settings) -> Iterator[Conflict]:
    exporter, handoff = settings.exporter, settings.shutdown.handoff
    if exporter.protocol != "console":
        own = {f"exporter.{signal.value}_endpoint": exporter.own_endpoint(signal) for signal in Signal}
        grpc = exporter.protocol == "grpc"
        yield from _endpoint(
            settings,
            "exporter.endpoint",
            exporter.endpoint,
            grpc=grpc,
            base=True,
            meant="the collector's address" if None in own.values() else None,
        )
        for key, endpoint in own.items():
            if endpoint is not None:
                yield from _endpoint(settings, key, endpoint, grpc=grpc, base=False, meant="the collector's address")
    if handoff is not None:
        yield from _endpoint(settings, "shutdown.handoff", handoff, grpc=False, base=True, meant="its siblings")


def _endpoint(
    settings: Settings, key: str, endpoint: str, *, grpc: bool, base: bool, meant: str | None
) -> Iterator[Conflict]:
    """What is wrong with an endpoint; `meant` is what to name in place of ourselves, None where it is not used."""
    shown = repr(mask_url(endpoint))
    if problem := endpoint_problem(endpoint, grpc=grpc, base=base):
        keys = (key, "exporter.protocol") if key.startswith("exporter.") else (key,)
        yield Conflict(keys, f"{shown} {problem}")
    elif meant and (port := own_port(endpoint, settings)):
        yield Conflict((key, port, "server.host"), f"{shown} is this service's own {port}; name {meant}")
