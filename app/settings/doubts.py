"""Settings that are possible, and most likely not what was meant."""

import os
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

from app.core.request import Signal
from app.memory import COPIES, JSON_COPIES, at_hand, reserve
from app.settings.api_keys import parse_keys
from app.settings.endpoint import mask_url, split_endpoint
from app.settings.model import ExporterSettings, QueueSettings, Settings
from app.settings.units import format_duration, format_size

__all__ = ["warnings"]

_KiB = 1 << 10
_MiB = 1 << 20

_USUAL_BYTES = {
    "server.max_request_size": (64 * _KiB, 256 * _MiB),
    "server.max_json_size": (64 * _KiB, 64 * _MiB),
    "exporter.max_batch_bytes": (64 * _KiB, 20 * _MiB),
    "queue.memory_bytes": (64 * _KiB, 1 << 40),
}
_USUAL_SECONDS = {
    "server.header_timeout": (0.5, 120),
    "server.body_timeout": (0.5, 600),
    "server.max_connection_age": (5, 86400),
    "exporter.timeout": (0.5, 300),
    "exporter.batch_timeout": (0, 30),
    "exporter.retry.initial_interval": (0.05, 60),
    "exporter.retry.max_interval": (0.5, 600),
    "queue.wait": (0, 5),
    "shutdown.delay": (0, 60),
    "shutdown.grace": (0, 600),
}
_SHORT_KEY = 16
_GRPC_BYTES = 4 * _MiB
_OWN_BYTES = 64 * _MiB  # of the service itself: 52 MiB after its start, and what connections take
_FLEETING = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run"))  # noqa: S108 - named to warn of them


def warnings(settings: Settings, memory_limit: int | None = None) -> list[str]:
    """What is likely a mistake, each as ``key: value and why; remedy``. Looks at the disk under the queue.

    `memory_limit` is the bytes that the cgroup allows, if it limits them.
    """
    found = list(_unusual(settings))
    found += [
        f"auth.api_keys: the key {name!r} has {len(key)} characters, which can be guessed; make it of 32 random ones"
        for name, key in parse_keys(settings.auth.api_keys).items()
        if len(key) < _SHORT_KEY
    ]
    if memory_limit is not None:
        found += _memory(settings, memory_limit)
    if settings.exporter.protocol != "console":
        found += _destinations(settings.exporter)
        found += _tls(settings.exporter)
        if settings.exporter.protocol == "grpc" and settings.exporter.max_batch_bytes > _GRPC_BYTES:
            size = format_size(settings.exporter.max_batch_bytes)
            found.append(f"exporter.max_batch_bytes: {size} is above the 4MiB that a collector takes by gRPC")
    if settings.queue.storage == "disk":
        found += _disk(settings.queue)
    return found


def _unusual(settings: Settings) -> Iterator[str]:
    for key, (least, most) in _USUAL_BYTES.items():
        size = int(_value(settings, key))
        if not least <= size <= most:
            word = "small" if size < least else "large"
            yield f"{key}: {format_size(size)} is unusually {word}; is its unit right?"
    for key, (shortest, longest) in _USUAL_SECONDS.items():
        seconds = _value(settings, key)
        if not shortest <= seconds <= longest:
            word = "short" if seconds < shortest else "long"
            yield f"{key}: {format_duration(seconds)} is unusually {word}; is its unit right?"


def _value(settings: Settings, key: str) -> float:
    value: Any = reduce(getattr, key.split("."), settings)
    return float(value)


def _destinations(exporter: ExporterSettings) -> Iterator[str]:
    own = {signal: exporter.own_endpoint(signal) for signal in Signal}
    judge = _grpc if exporter.protocol == "grpc" else _http
    if None in own.values():
        yield from judge("exporter.endpoint", exporter.endpoint, None)
    for signal, endpoint in own.items():
        if endpoint:
            yield from judge(f"exporter.{signal.value}_endpoint", endpoint, signal)


def _grpc(key: str, endpoint: str, _signal: Signal | None) -> Iterator[str]:
    url = split_endpoint(endpoint)
    if url.port == 4318:
        yield f"{key}: {mask_url(endpoint)!r} has the port of HTTP; write 4317, or http/protobuf as exporter.protocol"
    if url.path.strip("/"):
        yield f"{key}: {mask_url(endpoint)!r} has a path, which gRPC does not use; leave it out"


def _http(key: str, endpoint: str, signal: Signal | None) -> Iterator[str]:
    url = split_endpoint(endpoint)
    path = url.path.rstrip("/")
    if url.port == 4317:
        yield f"{key}: {mask_url(endpoint)!r} has the port of gRPC; write 4318, or grpc as exporter.protocol"
    if signal is None and path.endswith(tuple(each.path for each in Signal)):
        yield f"{key}: {mask_url(endpoint)!r} is a base URL, to which /v1/traces and so on are added; leave {path} out"
    if signal is not None and not path:
        yield f"{key}: {mask_url(endpoint)!r} is used as it is; add {signal.path} if the destination expects it"


def _tls(exporter: ExporterSettings) -> Iterator[str]:
    tls = exporter.tls
    given = [name for name in ("ca_file", "cert_file", "key_file") if getattr(tls, name)]
    if given and not any(exporter.secure(signal) for signal in Signal):
        yield f"exporter.tls.{given[0]}: has no effect, because no endpoint begins with https://"


def _memory(settings: Settings, limit: int) -> Iterator[str]:
    """Whether what always has to fit does: ourselves, the queue and its batches, and the largest request."""
    server, queue = settings.server, settings.queue
    memory_bytes = at_hand(queue.memory_bytes, limit) if queue.storage == "disk" else queue.memory_bytes
    largest = max(COPIES * server.max_request_size, JSON_COPIES * server.max_json_size)
    requests = max(largest, server.max_inflight_bytes)
    needed = _OWN_BYTES + 2 * memory_bytes + requests + reserve(limit)
    if needed > limit:
        yield (
            f"server.max_inflight_bytes: with {format_size(server.max_inflight_bytes)}, "
            f"{format_size(server.max_request_size)} of server.max_request_size, "
            f"{format_size(server.max_json_size)} of server.max_json_size and {format_size(queue.memory_bytes)} "
            f"of queue.memory_bytes the service may take {needed // _MiB}MiB, above the memory limit of "
            f"{limit // _MiB}MiB, and will tell clients to come back; raise the limit, or lower these"
        )


def _disk(queue: QueueSettings) -> Iterator[str]:
    directory = queue.directory.absolute()
    if any(directory.is_relative_to(fleeting) for fleeting in _FLEETING):
        yield f"queue.directory: {str(queue.directory)!r} does not outlive a restart of the machine; write another"
    try:
        room = _room(directory)
    except OSError as error:
        yield f"queue.directory: {str(queue.directory)!r} cannot be looked into: {error.strerror}"
    else:
        if queue.max_bytes > room:
            yield (
                f"queue.max_bytes: {format_size(queue.max_bytes)} is more than the disk under {str(queue.directory)!r} "
                f"has, {room // _MiB}MiB; lower it"
            )


def _room(directory: Path) -> int:
    """How many bytes a queue in `directory` could take: what it has and what is free."""
    there = next(place for place in (directory, *directory.parents) if place.exists())
    disk = os.statvfs(there)
    used = sum(file.stat().st_blocks * 512 for file in directory.iterdir()) if there == directory else 0
    return disk.f_bavail * disk.f_frsize + used
