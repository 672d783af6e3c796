"""Whatever is named is there."""

from collections.abc import Iterator
from itertools import chain

from tests.support.manifests.objects import Manifest, Render, Workload, group, matches, name_of

__all__ = ["every_reference_is_there"]

_ISSUER = "cert-manager.io/cluster-issuer"
_VOLUMES = (
    ("configMap", "ConfigMap", "name"),
    ("secret", "Secret", "secretName"),
    ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
)
_VARIABLES = (("configMapRef", "ConfigMap"), ("secretRef", "Secret"))
_VARIABLE = (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret"))


def every_reference_is_there(render: Render) -> Iterator[str]:
    """Accounts, configuration, volumes, ports, what is scaled or led to: what is named is in the render, or given."""
    for workload in render.workloads:
        for kind, name, keys in chain(_named(workload), *(_read(container) for container in workload.containers)):
            yield from _missing(render, workload, kind, name, keys)
        yield from _headless(render, workload)
        yield from _mounts(workload)
        yield from _probes(workload)
    yield from _ports(render)
    yield from _doors(render)
    yield from _monitors(render)
    yield from _backends(render)
    yield from _certificates(render)
    yield from _gateways(render)
    yield from _namespaces(render)


def _named(workload: Workload) -> Iterator[tuple[str, str, list[str]]]:
    """What a pod names: kind, name, and keys that it needs of it."""
    if "serviceAccountName" in workload.pod:
        yield "ServiceAccount", workload.pod["serviceAccountName"], []
    if "serviceName" in workload.spec:
        yield "Service", workload.spec["serviceName"], []
    for volume in workload.volumes.values():
        for what, kind, key in _VOLUMES:
            source = volume.get(what)
            if source and not source.get("optional"):
                yield kind, source[key], [item["key"] for item in source.get("items") or ()]


def _read(container: Manifest) -> Iterator[tuple[str, str, list[str]]]:
    """The same of a container's environment."""
    for source in container.get("envFrom") or ():
        for what, kind in _VARIABLES:
            if what in source and not source[what].get("optional"):
                yield kind, source[what]["name"], []
    for variable in container.get("env") or ():
        for what, kind in _VARIABLE:
            source = (variable.get("valueFrom") or {}).get(what)
            if source and not source.get("optional"):
                yield kind, source["name"], [source["key"]]


def _missing(render: Render, workload: Workload, kind: str, name: str, keys: list[str]) -> Iterator[str]:
    found = render.find(kind, name, given=True)
    if not found:
        yield f"{workload}: there is no {kind}/{name}"
        return
    content = {**(found.get("data") or {}), **(found.get("stringData") or {})}
    yield from (f"{workload}: {kind}/{name} has no key {key!r}" for key in keys if key not in content)


def _headless(render: Render, workload: Workload) -> Iterator[str]:
    service = render.find("Service", workload.spec.get("serviceName", ""))
    if service and (service["spec"].get("clusterIP") != "None" or workload not in render.behind(service)):
        yield f"{workload}: {name_of(service)} does not name its pods; it has to be headless"


def _mounts(workload: Workload) -> Iterator[str]:
    for container in workload.containers:
        for mount in container.get("volumeMounts") or ():
            if mount["name"] not in workload.volumes:
                yield f"{workload}: there is no volume {mount['name']!r} for {mount['mountPath']}"


def _probes(workload: Workload) -> Iterator[str]:
    for container in workload.containers:
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            asked = container.get(probe) or {}
            port = (asked.get("httpGet") or asked.get("tcpSocket") or {}).get("port")
            if port is not None and workload.port(port) is None:
                yield f"{workload}: {probe} asks the port {port!r}, which it does not have"


def _ports(render: Render) -> Iterator[str]:
    for service in render.kind("Service"):
        for port in service["spec"].get("ports") or ():
            aim = port.get("targetPort", port["port"])
            for workload in render.behind(service):
                if workload.port(aim) is None:
                    yield f"{name_of(service)}: {workload} has no port {aim!r}"


def _doors(render: Render) -> Iterator[str]:
    """A policy's names of ports are those of the pods that it is for."""
    for policy in render.kind("NetworkPolicy"):
        for workload in render.selected(policy["spec"]["podSelector"]):
            for port in chain(*(rule.get("ports") or () for rule in policy["spec"].get("ingress") or ())):
                if isinstance(port.get("port"), str) and workload.port(port["port"]) is None:
                    yield f"{name_of(policy)}: {workload} has no port {port['port']!r}"


def _monitors(render: Render) -> Iterator[str]:
    for scaler in render.kind("HorizontalPodAutoscaler", "VerticalPodAutoscaler"):
        target = scaler["spec"].get("scaleTargetRef") or scaler["spec"]["targetRef"]
        if not render.find(target["kind"], target["name"]):
            yield f"{name_of(scaler)}: there is no {target['kind']}/{target['name']}"
    for monitor in render.kind("ServiceMonitor"):
        selector = monitor["spec"]["selector"]
        chosen = [each for each in render.kind("Service") if matches(selector, each["metadata"].get("labels") or {})]
        for endpoint in monitor["spec"]["endpoints"]:
            if not any(render.service_port(service, endpoint["port"]) for service in chosen):
                yield f"{name_of(monitor)}: no Service that it chooses has the port {endpoint['port']!r}"


def _backends(render: Render) -> Iterator[str]:
    for manifest, host, port in _led_to(render):
        service = render.resolve(host)
        if not service:
            yield f"{name_of(manifest)}: there is no Service/{host}"
        elif port is not None and not render.service_port(service, port):
            yield f"{name_of(manifest)}: {name_of(service)} has no port {port!r}"


def _led_to(render: Render) -> Iterator[tuple[Manifest, str, object]]:
    """Where routes lead: the route, the host or name of a Service, and the port, if it says one."""
    for ingress in render.kind("Ingress"):
        for rule in ingress["spec"].get("rules") or ():
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield ingress, service["name"], next(iter(service["port"].values()))
    for route in render.kind("HTTPRoute", "GRPCRoute"):
        for backend in chain(*(rule["backendRefs"] for rule in route["spec"]["rules"])):
            yield route, backend["name"], backend.get("port")
    for virtual in render.kind("VirtualService"):
        for way in chain(*(route["route"] for route in virtual["spec"]["http"])):
            yield virtual, way["destination"]["host"], way["destination"].get("port", {}).get("number")
    for rule in render.kind("DestinationRule"):
        yield rule, rule["spec"]["host"], None


def _certificates(render: Render) -> Iterator[str]:
    """A Secret with a certificate is given, or cert-manager makes it for who asks it by an annotation."""
    shown = list(_shown(render))
    issued = {secret for manifest, secret in shown if _ISSUER in (manifest["metadata"].get("annotations") or {})}
    for manifest, secret in shown:
        if not render.find("Secret", secret, given=True) and secret not in issued:
            yield f"{name_of(manifest)}: there is no Secret/{secret}, and nothing here has it issued"


def _shown(render: Render) -> Iterator[tuple[Manifest, str]]:
    """Who shows which certificate; one of Istio's gateway is in the namespace of its own pods."""
    for ingress in render.kind("Ingress"):
        for tls in ingress["spec"].get("tls") or ():
            yield ingress, tls["secretName"]
    for gateway in _of_the_group(render, "gateway.networking.k8s.io"):
        for listener in gateway["spec"]["listeners"]:
            for reference in (listener.get("tls") or {}).get("certificateRefs") or ():
                yield gateway, reference["name"]


def _gateways(render: Render) -> Iterator[str]:
    """A route's own Gateway is there, with the listener; one of another namespace is somebody else's."""
    own = {each["metadata"]["name"]: each for each in _of_the_group(render, "gateway.networking.k8s.io")}
    for route in render.kind("HTTPRoute", "GRPCRoute"):
        for parent in route["spec"]["parentRefs"]:
            if parent["name"] in own:
                listeners = [listener["name"] for listener in own[parent["name"]]["spec"]["listeners"]]
                if parent.get("sectionName", listeners[0]) not in listeners:
                    yield f"{name_of(route)}: Gateway/{parent['name']} has no listener {parent['sectionName']!r}"
            elif "namespace" not in parent:
                yield f"{name_of(route)}: there is no Gateway/{parent['name']}"
    known = {"mesh", *(each["metadata"]["name"] for each in _of_the_group(render, "networking.istio.io"))}
    for virtual in render.kind("VirtualService"):
        matched = chain(*(route.get("match", ()) for route in virtual["spec"]["http"]))
        used = {*virtual["spec"].get("gateways", ()), *chain(*(match.get("gateways", ()) for match in matched))}
        for gateway in sorted(used - known):
            if "/" not in gateway:
                yield f"{name_of(virtual)}: there is no Gateway/{gateway}"


def _of_the_group(render: Render, name: str) -> Iterator[Manifest]:
    """Gateways, of which there is a kind in two groups."""
    return (each for each in render.kind("Gateway") if group(each) == name)


def _namespaces(render: Render) -> Iterator[str]:
    made = {each["metadata"]["name"] for each in render.kind("Namespace")}
    used = {each["metadata"].get("namespace", "") for each in render.objects if each["kind"] != "Namespace"}
    if len(used) > 1:
        yield f"the objects are in several namespaces, {sorted(used)}, and do not find each other"
    if made and used - made:
        yield f"there is no Namespace/{', '.join(sorted(used - made))}"
