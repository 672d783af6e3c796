"""What an API server refuses, and what no schema tells."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tests.support.manifests.objects import Manifest, Render, name_of

__all__ = ["every_name_may_be_one", "every_word_is_one_of_its_kind", "nothing_is_said_twice"]

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_PORT: Final = re.compile(r"(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS: Final[dict[str, set[str]]] = {
    "accessModes": {"ReadWriteOnce", "ReadWriteOncePod"},
    "fsGroupChangePolicy": {"Always", "OnRootMismatch"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "pathType": {"Exact", "Prefix"},
    "podManagementPolicy": {"OrderedReady", "Parallel"},
    "policyTypes": {"Egress", "Ingress"},
    "protocol": {"HTTPS", "SCTP", "TCP", "UDP"},
    "restartPolicy": {"Always", "Never", "OnFailure"},
    "selectPolicy": {"Disabled", "Max", "Min"},
    "unhealthyPodEvictionPolicy": {"AlwaysAllow", "IfHealthyBudget"},
    "whenDeleted": {"Delete", "Retain"},
    "whenScaled": {"Delete", "Retain"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
}
_TYPES: Final[dict[str, set[str]]] = {
    "policies": {"Percent", "Pods"},
    "seccompProfile": {"Localhost", "RuntimeDefault"},
    "spec": {"ClusterIP", "LoadBalancer", "NodePort"},
    "strategy": {"Recreate", "RollingUpdate"},
    "updateStrategy": {"OnDelete", "RollingUpdate"},
}
"""Of what is at `type` below a key."""
_SHORT: Final = {"Service", "Namespace", "StatefulSet", "Job"}
"""Whose names become those of hosts or of labels."""


def every_name_may_be_one(render: Render) -> Iterator[str]:
    """Names of objects, ports and variables, and labels, are spelled as Kubernetes takes them."""
    for manifest in render.objects:
        name = manifest["metadata"]["name"]
        if not (_LABEL if manifest["kind"] in _SHORT else _SUBDOMAIN).fullmatch(name):
            yield f"{manifest['kind']}/{name}: it cannot be called so"
        yield from (f"{name_of(manifest)}: {mistake}" for mistake in _tags(manifest["metadata"]))
    for workload in render.workloads:
        template = workload.spec["template"].get("metadata") or {}
        yield from (f"{workload}: its pods: {mistake}" for mistake in _tags(template))
        for container in workload.containers:
            for variable in container.get("env") or ():
                if not _VARIABLE.fullmatch(variable["name"]):
                    yield f"{workload}: no variable can be called {variable['name']!r}"
                if "value" in variable and "valueFrom" in variable:
                    yield f"{workload}: the variable {variable['name']} has a value and a valueFrom"
            for port in container.get("ports") or ():
                if not _PORT.fullmatch(port.get("name", "port")):
                    yield f"{workload}: no port can be called {port['name']!r}"


def every_word_is_one_of_its_kind(render: Render) -> Iterator[str]:
    """Where Kubernetes knows a few words, it is one of them: its schemas take any text there."""
    for manifest in render.objects:
        yield from (f"{name_of(manifest)}: {mistake}" for mistake in _strange("", manifest))


def nothing_is_said_twice(render: Render) -> Iterator[str]:
    """No two entries of a list are about the same: the API server refuses them, or takes the last."""
    yield from _twice("the render", "object", (f"{each['apiVersion']} {name_of(each)}" for each in render.objects))
    for workload in render.workloads:
        claims = (claim["metadata"]["name"] for claim in workload.spec.get("volumeClaimTemplates") or ())
        volumes = (volume["name"] for volume in workload.pod.get("volumes") or ())
        yield from _twice(str(workload), "volume", (*volumes, *claims))
        yield from _twice(str(workload), "container", (each["name"] for each in workload.containers))
        for container in workload.containers:
            at = f"{workload}: {container['name']}"
            ports = container.get("ports") or ()
            yield from _twice(at, "variable", (each["name"] for each in container.get("env") or ()))
            yield from _twice(at, "mount", (each["mountPath"] for each in container.get("volumeMounts") or ()))
            yield from _twice(at, "port", (f"{each['containerPort']}/{each.get('protocol', 'TCP')}" for each in ports))
            yield from _twice(at, "port", (each["name"] for each in ports if "name" in each))
    for service in render.kind("Service"):
        ports = service["spec"].get("ports") or ()
        yield from _twice(name_of(service), "port", (f"{each['port']}/{each.get('protocol', 'TCP')}" for each in ports))
        yield from _twice(name_of(service), "port", (each["name"] for each in ports if "name" in each))


def _twice(at: str, what: str, names: Iterable[str]) -> Iterator[str]:
    yield from (
        f"{at}: the {what} {name} is there {times} times" for name, times in Counter(names).items() if times > 1
    )


def _tags(metadata: Manifest) -> Iterator[str]:
    """What is wrong with labels, and with the keys of annotations."""
    for key, value in (metadata.get("labels") or {}).items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            yield f"{key}: {value} cannot be a label"
    yield from (
        f"{key!r} cannot be an annotation" for key in metadata.get("annotations") or () if not _KEY.fullmatch(key)
    )


def _strange(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner, each in value.items():
            yield from _strange(inner, each)
        if value.get("type", "") not in {"", *_TYPES.get(key, {value.get("type", "")})}:
            yield f"{key}.type: {value['type']} is none of {', '.join(sorted(_TYPES[key]))}"
    elif isinstance(value, list):
        for each in value:
            yield from _strange(key, each)
    elif key in _WORDS and value not in _WORDS[key]:
        yield f"{key}: {value} is none of {', '.join(sorted(_WORDS[key]))}"
