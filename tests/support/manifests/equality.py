"""Whether two renders, of kustomize and of Helm, are the same service, whatever their objects are called.

Names, labels, and how the configuration gets into the pod are each maker's own. What is compared: the settings and the
environment that come of it, the pod, and everything that is about it: its Services, scaling, policies and routes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.manifests.configuration import told
from tests.support.manifests.objects import Manifest, Render, Workload, matches, name_of

__all__ = ["differences"]

_METADATA = frozenset({"apiVersion", "kind", "metadata", "status"})
_SETTINGS = ("OTLP_", "OTEL_EXPORTER_OTLP_")
"""Variables that settings come of, as they may come of the file."""

_NAMES = frozenset({"name", "serviceAccountName", "serviceName", "host"})
_SELECTORS = frozenset({"selector", "podSelector", "labelSelector"})


def differences(left: Render, right: Render) -> list[str]:
    """What one of two renders has otherwise, each as ``path: this, and that``; not of what is beside the service."""
    return list(_compare("", _meaning(left), _meaning(right)))


def _meaning(render: Render) -> dict[str, Any]:
    workload, container = render.gateway
    what = told(render)
    found: dict[str, Any] = {
        "settings": what.settings().model_dump(),
        "environment": {k: v for k, v in what.environment.items() if not k.startswith(_SETTINGS)},
        "of the pod": {
            variable["name"]: variable["valueFrom"]["fieldRef"]["fieldPath"]
            for variable in container.get("env") or ()
            if "fieldRef" in (variable.get("valueFrom") or {})
        },
        workload.manifest["kind"]: _plain(
            render, workload, {k: v for k, v in workload.spec.items() if k != "template"}
        ),
        "pod": _plain(render, workload, _pod(workload, container)),
        "annotations": {key: value for key, value in workload.annotations.items() if not key.startswith("checksum/")},
    }
    for manifest in render.objects:
        if _about(render, workload, manifest):
            content = {k: v for k, v in manifest.items() if k not in _METADATA}
            content["annotations"] = manifest["metadata"].get("annotations") or {}
            plain = _plain(render, workload, content)
            found[_role(manifest)] = sorted([*found.get(_role(manifest), ()), plain], key=repr)
    return found


def _pod(workload: Workload, container: Manifest) -> dict[str, Any]:
    """The pod's specification with what is listed by name as maps, and without what the configuration comes from."""
    plain = {key: value for key, value in container.items() if key not in {"name", "env", "envFrom"}}
    plain |= {
        "volumeMounts": {mount["mountPath"]: mount for mount in container.get("volumeMounts") or ()},
        "ports": {port["name"]: port for port in container.get("ports") or ()},
    }
    others = [each for each in workload.containers if each is not container]
    return {**workload.pod, "containers": {"itself": plain, "others": others}, "volumes": workload.volumes}


def _about(render: Render, workload: Workload, manifest: Manifest) -> bool:
    """Whether an object beside the workload is about it."""
    spec = manifest.get("spec") or {}
    target = spec.get("scaleTargetRef") or spec.get("targetRef")
    if target:
        return bool(target["name"] == workload.manifest["metadata"]["name"])
    match manifest["kind"]:
        case "Service":
            return workload in render.behind(manifest)
        case "PodDisruptionBudget" | "NetworkPolicy":
            return matches(spec.get("selector") or spec.get("podSelector") or {}, workload.labels)
        case "Ingress" | "Gateway" | "HTTPRoute" | "GRPCRoute" | "ServiceMonitor":
            return True
        case "ServiceAccount":
            return bool(manifest["metadata"]["name"] == workload.pod.get("serviceAccountName"))
    return False


def _role(manifest: Manifest) -> str:
    """What an object is for, which two renders may call by different names."""
    spec = manifest.get("spec") or {}
    if spec.get("clusterIP") == "None":
        return "Service (headless)"
    annotations = manifest["metadata"].get("annotations") or {}
    protocol = annotations.get("nginx.ingress.kubernetes.io/backend-protocol")
    return f"Ingress ({protocol})" if protocol else str(manifest["kind"])


def _plain(render: Render, workload: Workload, value: Any) -> Any:
    """The same without names: those of the workload, its Services, account and configuration, and what chooses pods."""
    names = {workload.manifest["metadata"]["name"]: "(itself)", workload.pod.get("serviceAccountName"): "(account)"}
    names |= {service["metadata"]["name"]: f"({_role(service)})" for service in render.kind("Service")}

    def plain(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            if key in _SELECTORS:
                chosen = [name_of(each.manifest) for each in render.selected(value)]
                return "(own pods)" if chosen == [name_of(workload.manifest)] else "(others)"
            left_out = {"name", "secretName"} if key in {"configMap", "secret"} else set()
            return {inner: plain(inner, each) for inner, each in value.items() if inner not in left_out}
        if isinstance(value, list):
            return [plain(key, each) for each in value]
        return names.get(value, value) if key in _NAMES else value

    return plain("", value)


def _compare(path: str, left: Any, right: Any) -> Iterator[str]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in dict.fromkeys((*left, *right)):
            yield from _compare(f"{path}.{key}" if path else str(key), left.get(key), right.get(key))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _compare(f"{path}[{number}]", one, other)
    elif left != right:
        yield f"{path}: {left!r}, and {right!r}"
