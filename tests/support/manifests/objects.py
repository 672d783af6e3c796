"""Rendered objects, and how they name each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Manifest", "Render", "Workload", "group", "matches", "name_of"]

Manifest = Mapping[str, Any]

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


def name_of(manifest: Manifest) -> str:
    """``Kind/name``, as messages have it."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def group(manifest: Manifest) -> str:
    """The API group: ``apps``, or nothing for the core."""
    version: str = manifest["apiVersion"]
    return version.rpartition("/")[0]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector, with or without expressions, chooses what has `labels`; an empty one chooses everything."""
    plain = not {"matchLabels", "matchExpressions"} & selector.keys()
    wanted = selector if plain else selector.get("matchLabels") or {}
    expressions: Sequence[Manifest] = [] if plain else selector.get("matchExpressions") or []
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in expressions
    )


def _holds(expression: Manifest, labels: Mapping[str, str]) -> bool:
    own = labels.get(expression["key"])
    return {
        "In": own in expression.get("values", ()),
        "NotIn": own not in expression.get("values", ()),
        "Exists": own is not None,
        "DoesNotExist": own is None,
    }[expression["operator"]]


@dataclass(frozen=True, slots=True)
class Workload:
    """What makes pods."""

    manifest: Manifest

    def __str__(self) -> str:
        return name_of(self.manifest)

    @property
    def spec(self) -> Manifest:
        spec: Manifest = self.manifest["spec"]
        return spec

    @property
    def pod(self) -> Manifest:
        """The pod's specification."""
        pod: Manifest = self.spec["template"]["spec"]
        return pod

    @property
    def labels(self) -> Mapping[str, str]:
        """Of its pods."""
        return self._template("labels")

    @property
    def annotations(self) -> Mapping[str, str]:
        """Of its pods."""
        return self._template("annotations")

    @property
    def containers(self) -> list[Manifest]:
        """All of them, those that come first included."""
        return [*self.pod.get("initContainers", ()), *self.pod["containers"]]

    @property
    def volumes(self) -> dict[str, Manifest]:
        """By name; a claim of its own for each pod is ``{"claim": its specification}``."""
        claims = {
            claim["metadata"]["name"]: {"claim": claim["spec"]} for claim in self.spec.get("volumeClaimTemplates", ())
        }
        return {volume["name"]: volume for volume in self.pod.get("volumes") or ()} | claims

    @property
    def ports(self) -> dict[str, int]:
        """By name."""
        return {
            port.get("name", str(port["containerPort"])): port["containerPort"]
            for container in self.pod["containers"]
            for port in container.get("ports") or ()
        }

    def port(self, named: object) -> int | None:
        """The number of a port that is given by name or number; None where no container has it."""
        return next((number for name, number in self.ports.items() if named in {name, number}), None)

    def _template(self, what: str) -> Mapping[str, str]:
        found: Mapping[str, str] = self.spec["template"].get("metadata", {}).get(what) or {}
        return found


@dataclass(frozen=True, slots=True)
class Render:
    """Everything that is applied together."""

    objects: tuple[Manifest, ...]
    given: tuple[Manifest, ...] = ()
    """What somebody else makes: Secrets."""
    hosts: frozenset[str] = frozenset()
    """Hosts that the configuration may name though no Service here is called so: parameters."""
    exposed: frozenset[int] | None = None
    """The image's EXPOSE, where it is known."""

    def kind(self, *kinds: str) -> Iterator[Manifest]:
        return (manifest for manifest in self.objects if manifest["kind"] in kinds)

    def find(self, kind: str, name: str, *, given: bool = False) -> Manifest | None:
        """The object of that kind and name, also among those that are given."""
        among = (*self.objects, *self.given) if given else self.objects
        return next((each for each in among if each["kind"] == kind and each["metadata"]["name"] == name), None)

    @property
    def workloads(self) -> list[Workload]:
        return [Workload(manifest) for manifest in self.kind(*_WORKLOADS)]

    @property
    def gateway(self) -> tuple[Workload, Manifest]:
        """The service itself, whatever it is called here, and its container: that which is told of a CONFIG_PATH."""
        for workload in self.workloads:
            for container in workload.pod["containers"]:
                if any(variable["name"] == "CONFIG_PATH" for variable in container.get("env") or ()):
                    return workload, container
        raise LookupError("no container here has CONFIG_PATH, so none is the service")

    def selected(self, selector: Mapping[str, Any]) -> list[Workload]:
        """What a selector of pods chooses."""
        return [workload for workload in self.workloads if matches(selector, workload.labels)]

    def behind(self, service: Manifest) -> list[Workload]:
        """Whose pods a Service leads to."""
        selector = service["spec"].get("selector")
        return self.selected(selector) if selector else []

    def service_port(self, service: Manifest, port: object) -> Manifest | None:
        """A port of a Service by its name or number."""
        ports: Sequence[Manifest] = service["spec"].get("ports") or ()
        return next((each for each in ports if port in {each.get("name"), each["port"]}), None)

    def resolve(self, host: str) -> Manifest | None:
        """The Service that a host name is the name of, short or in full."""
        for service in self.kind("Service"):
            name, namespace = service["metadata"]["name"], service["metadata"].get("namespace", "")
            if host in {name, *(f"{name}.{namespace}{rest}" for rest in ("", ".svc", ".svc.cluster.local"))}:
                return service
        return None
