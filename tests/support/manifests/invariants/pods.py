"""What a pod may be."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.support.manifests.configuration import settings_of
from tests.support.manifests.objects import Manifest, Render, Workload, name_of

__all__ = [
    "a_pod_gets_nothing_that_it_does_not_use",
    "a_read_only_root_has_what_is_written_to",
    "every_root_is_read_only",
    "no_image_is_the_latest",
    "no_secret_is_in_the_environment",
    "pod_security_is_restricted",
]

_VOLUMES = {
    "claim",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_MODES = ("enforce", "audit", "warn")


def no_secret_is_in_the_environment(render: Render) -> Iterator[str]:
    """No Secret as a whole becomes variables: a key of a certificate would be one of them."""
    for workload in render.workloads:
        for container in workload.containers:
            for source in container.get("envFrom") or ():
                if "secretRef" in source:
                    name = source["secretRef"]["name"]
                    yield f"{workload}: {container['name']} has all of Secret/{name} in its environment"


def every_root_is_read_only(render: Render) -> Iterator[str]:
    """Nothing that runs can change what it is."""
    for workload in render.workloads:
        for container in workload.containers:
            if (container.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
                yield f"{workload}: {container['name']}: readOnlyRootFilesystem is not true"


def a_pod_gets_nothing_that_it_does_not_use(render: Render) -> Iterator[str]:
    """No token of the API server; and no variables of Services, one of which may be called as a setting is."""
    itself, container = render.gateway
    for workload in render.workloads:
        if workload.pod.get("automountServiceAccountToken") is not False:
            yield f"{workload}: it has a token of the API server (automountServiceAccountToken)"
        ours = any(each["image"] == container["image"] for each in workload.containers)
        if (ours or workload == itself) and workload.pod.get("enableServiceLinks") is not False:
            yield f"{workload}: it has variables of every Service (enableServiceLinks)"
    account = render.find("ServiceAccount", itself.pod.get("serviceAccountName", ""))
    if account and account.get("automountServiceAccountToken") is not False:
        yield f"{name_of(account)}: pods get its token (automountServiceAccountToken)"


def a_read_only_root_has_what_is_written_to(render: Render) -> Iterator[str]:
    """Where the root cannot be written to, /tmp can, and the service's queue."""
    service, itself = render.gateway
    for workload in render.workloads:
        for container in workload.containers:
            if (container.get("securityContext") or {}).get("readOnlyRootFilesystem"):
                needed = ["/tmp"]  # noqa: S108 - that of a container
                if workload == service and container is itself:
                    needed += ["/data", str(settings_of(render).queue.directory)]
                for path in needed:
                    if not _writable(workload, container, path):
                        yield f"{workload}: {container['name']} cannot write to {path}; mount a volume there"


def pod_security_is_restricted(render: Render) -> Iterator[str]:
    """Pod Security's `restricted` admits every container, those that come first too, and the namespace asks for it."""
    for namespace in render.kind("Namespace"):
        for mode in _MODES:
            if (namespace["metadata"].get("labels") or {}).get(f"pod-security.kubernetes.io/{mode}") != "restricted":
                yield f"{name_of(namespace)}: it has not pod-security.kubernetes.io/{mode}: restricted"
    for workload in render.workloads:
        yield from (f"{workload}: {mistake}" for mistake in _pod(workload))
        for container in workload.containers:
            for mistake in _container(workload.pod, container):
                yield f"{workload}: {container['name']}: {mistake}"


def no_image_is_the_latest(render: Render) -> Iterator[str]:
    """Every image has a version, or a digest."""
    for workload in render.workloads:
        for container in workload.containers:
            image, _, digest = container["image"].partition("@")
            tag = image.rpartition("/")[2].partition(":")[2]
            if not digest and tag in {"", "latest"}:
                yield f"{workload}: {container['image']} is another image tomorrow; give a version or a digest"


def _pod(workload: Workload) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if workload.pod.get(key):
            yield key
    for name, volume in workload.volumes.items():
        if not _VOLUMES & volume.keys():
            yield f"the volume {name!r} is of a kind that is not admitted"
    if (workload.pod.get("securityContext") or {}).get("sysctls"):
        yield "sysctls"


def _container(pod: Manifest, container: Manifest) -> Iterator[str]:
    outer, own = pod.get("securityContext") or {}, container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "not all capabilities are dropped"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"capabilities {capabilities['add']} are added"
    if not own.get("runAsNonRoot", outer.get("runAsNonRoot")):
        yield "runAsNonRoot is not true"
    if own.get("runAsUser", outer.get("runAsUser")) == 0:
        yield "it runs as root"
    if (own.get("seccompProfile") or outer.get("seccompProfile") or {}).get("type") not in {
        "RuntimeDefault",
        "Localhost",
    }:
        yield "it has no seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any("hostPort" in port for port in container.get("ports") or ()):
        yield "hostPort"


def _writable(workload: Workload, container: Manifest, path: str) -> bool:
    """Whether the innermost volume that is mounted around `path` can be written to."""
    around = [
        mount for mount in container.get("volumeMounts") or () if PurePosixPath(path).is_relative_to(mount["mountPath"])
    ]
    innermost = max(around, key=lambda mount: len(mount["mountPath"]), default=None)
    if innermost is None or innermost.get("readOnly"):
        return False
    return bool(
        {"emptyDir", "claim", "persistentVolumeClaim", "ephemeral"} & workload.volumes.get(innermost["name"], {}).keys()
    )
