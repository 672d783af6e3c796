"""What goes through a sidecar, and what goes past it."""

from collections.abc import Iterator
from typing import Final

import yaml

from tests.support.manifests.configuration import settings_of
from tests.support.manifests.objects import Manifest, Render, name_of

__all__ = ["the_mesh_resends_nothing_that_was_heard", "the_sidecar_lets_the_pod_live"]

_CONTROL_PLANE: Final = 15012
_EXCLUDED: Final = "traffic.sidecar.istio.io/excludeInboundPorts"
_REWRITTEN: Final = "sidecar.istio.io/rewriteAppHTTPProbers"
_UNHEARD: Final = {"connect-failure", "refused-stream"}


def the_sidecar_lets_the_pod_live(render: Render) -> Iterator[str]:
    """A sidecar is there first, has its control plane, lets probes through, and others know what goes past it."""
    workload, container = render.gateway
    if workload.labels.get("sidecar.istio.io/inject") != "true":
        return
    proxy = yaml.safe_load(workload.annotations.get("proxy.istio.io/config", "{}"))
    if proxy.get("holdApplicationUntilProxyStarts") is not True:
        yield f"{workload}: the service may start before its proxy (holdApplicationUntilProxyStarts)"
    past = {int(port) for port in workload.annotations.get(_EXCLUDED, "").split(",") if port}
    metrics = settings_of(render).metrics.port
    if metrics not in past:
        yield f"{workload}: a Prometheus that is not in the mesh does not get to {metrics} ({_EXCLUDED})"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        asked = ((container.get(probe) or {}).get("httpGet") or {}).get("port")
        if workload.port(asked) not in past and workload.annotations.get(_REWRITTEN) != "true":
            yield f"{workload}: {probe} asks the port {asked!r} through a proxy that wants certificates ({_REWRITTEN})"
    if workload not in render.selected({"matchLabels": _controlled(render)}):
        yield f"{workload}: no NetworkPolicy lets its proxy reach the control plane (istio-system, {_CONTROL_PLANE})"
    for service in render.kind("Service"):
        for port in service["spec"].get("ports") or ():
            number = workload.port(port.get("targetPort", port["port"])) if workload in render.behind(service) else None
            if number in past and service["spec"].get("clusterIP") != "None" and not _plain(render, service, port):
                yield f"{workload}: the mesh encrypts what goes to {port['port']}, and no proxy is there to read it"


def the_mesh_resends_nothing_that_was_heard(render: Render) -> Iterator[str]:
    """Only what has not reached the service is sent again, connections are kept, and an honest 503 ejects nobody."""
    settings = settings_of(render)
    otlp = {settings.server.port, settings.server.grpc_port}
    for virtual in render.kind("VirtualService"):
        for route in virtual["spec"]["http"]:
            name = f"{name_of(virtual)}: the route {route.get('name', '')!r}"
            again = set((route.get("retries") or {}).get("retryOn", "").split(",")) - {""}
            if again - _UNHEARD:
                yield f"{name} is tried again on {', '.join(sorted(again - _UNHEARD))}"
            if not again and any(way["destination"].get("port", {}).get("number") in otlp for way in route["route"]):
                yield f"{name} has the mesh's own retries, which are for a 503 too"
    for rule in render.kind("DestinationRule"):
        policy = rule["spec"]["trafficPolicy"]
        if "maxRequestsPerConnection" in ((policy.get("connectionPool") or {}).get("http") or {}):
            yield f"{name_of(rule)}: maxRequestsPerConnection closes connections that are of use"
        outliers = policy.get("outlierDetection") or {}
        if outliers and not (
            outliers.get("splitExternalLocalOriginErrors")
            and outliers.get("consecutive5xxErrors") == 0
            and not outliers.get("consecutiveGatewayErrors")
        ):
            yield f"{name_of(rule)}: a pod is ejected for an honest 503"


def _controlled(render: Render) -> Manifest:
    """The labels of pods that may reach the control plane; of none where there is no such policy."""
    for policy in render.kind("NetworkPolicy"):
        for rule in policy["spec"].get("egress") or ():
            for peer in rule.get("to") or ():
                spaces = (peer.get("namespaceSelector") or {}).get("matchLabels") or {}
                ports = {port.get("port") for port in rule.get("ports") or ()}
                if spaces.get("kubernetes.io/metadata.name") == "istio-system" and _CONTROL_PLANE in ports:
                    labels: Manifest = policy["spec"]["podSelector"]["matchLabels"]
                    return labels
    return {"": ""}


def _plain(render: Render, service: Manifest, port: Manifest) -> bool:
    """Whether a DestinationRule has a port of a Service spoken to without mutual TLS."""
    return any(
        setting["port"]["number"] == port["port"] and (setting.get("tls") or {}).get("mode") == "DISABLE"
        for rule in render.kind("DestinationRule")
        if rule["spec"]["host"] == service["metadata"]["name"]
        for setting in rule["spec"]["trafficPolicy"].get("portLevelSettings") or ()
    )
