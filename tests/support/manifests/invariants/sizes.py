"""What is kept fits into what there is."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from tests.support.manifests.configuration import settings_of
from tests.support.manifests.objects import Manifest, Render, Workload, name_of
from tests.support.manifests.quantity import quantity

__all__ = ["every_container_says_what_it_takes", "large_requests_come_through", "the_sizes_fit"]

_BODY: Final = "nginx.ingress.kubernetes.io/proxy-body-size"

_BESIDE: Final = 64 << 20
"""What else is on a volume: its filesystem's own, and the lock."""

_ITSELF: Final = 128 << 20
"""What the service takes with nothing in it."""


def the_sizes_fit(render: Render) -> Iterator[str]:
    """The queue fits its volume, volumes fit the limit of the node's disk, and what is in memory fits its limit."""
    workload, container = render.gateway
    settings = settings_of(render)
    limits = (container.get("resources") or {}).get("limits") or {}
    if settings.queue.storage == "disk":
        queue = settings.queue.max_bytes + _BESIDE
        volume = _around(workload, container, str(settings.queue.directory))
        size = _size(render, volume)
        if queue > size:
            yield f"{workload}: queue.max_bytes and 64MiB are {queue >> 20}MiB, its volume has {size / 2**20:.0f}MiB"
    kept = [volume["emptyDir"] for volume in workload.volumes.values() if _on_disk(volume)]
    if kept and "ephemeral-storage" in limits:
        taken, limit = (
            sum(quantity(each.get("sizeLimit", "1Ti")) for each in kept),
            quantity(limits["ephemeral-storage"]),
        )
        if taken >= limit:
            yield f"{workload}: its emptyDirs may have {taken / 2**20:.0f}MiB, above the limit of ephemeral-storage"
    if "memory" in limits:
        needed = settings.queue.memory_bytes + settings.server.max_inflight_bytes + _ITSELF
        if needed > quantity(limits["memory"]):
            yield f"{workload}: it may take {needed >> 20}MiB of memory, above the limit of {limits['memory']}"


def every_container_says_what_it_takes(render: Render) -> Iterator[str]:
    """Requests and limits of processor and memory, none of which is above its limit."""
    for workload in render.workloads:
        for container in workload.containers:
            resources = container.get("resources") or {}
            requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
            for name in ("cpu", "memory"):
                if name not in requests or name not in limits:
                    yield f"{workload}: {container['name']} has no request, or no limit, of {name}"
            for name in sorted(requests.keys() & limits.keys()):
                if quantity(requests[name]) > quantity(limits[name]):
                    yield f"{workload}: {container['name']} asks for {requests[name]} of {name}, above {limits[name]}"


def large_requests_come_through(render: Render) -> Iterator[str]:
    """An Ingress lets through what the service takes."""
    largest = settings_of(render).server.max_request_size
    for ingress in render.kind("Ingress"):
        text = (ingress["metadata"].get("annotations") or {}).get(_BODY, "1m")
        bound = quantity(text.upper().replace("K", "Ki").replace("M", "Mi").replace("G", "Gi"))
        if 0 < bound < largest:
            yield f"{name_of(ingress)}: proxy-body-size {text} is below server.max_request_size, {largest >> 20}MiB"


def _around(workload: Workload, container: Manifest, path: str) -> Manifest:
    """The volume that is mounted innermost around `path`."""
    mounts = [
        each for each in container.get("volumeMounts") or () if PurePosixPath(path).is_relative_to(each["mountPath"])
    ]
    innermost = max(mounts, key=lambda mount: len(mount["mountPath"]), default=None)
    return workload.volumes.get(innermost["name"], {}) if innermost else {}


def _size(render: Render, volume: Manifest) -> float:
    """Bytes; none where there is no volume, or one that may not be written to."""
    claim = volume.get("claim")
    if "persistentVolumeClaim" in volume:
        found = render.find("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
        claim = found["spec"] if found else None
    if claim:
        return quantity(claim["resources"]["requests"]["storage"])
    return quantity(volume["emptyDir"].get("sizeLimit", "1Ti")) if "emptyDir" in volume else 0


def _on_disk(volume: Manifest) -> bool:
    return "emptyDir" in volume and (volume["emptyDir"] or {}).get("medium") != "Memory"
