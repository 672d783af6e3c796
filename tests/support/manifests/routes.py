"""The ways in, as those who read them make routes of them: ingress-nginx, a Gateway API implementation, Istio."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.manifests.objects import Manifest, Render

__all__ = ["Route", "Upstream", "gateway_routes", "ingress_routes", "istio_routes", "upstreams"]

Policy = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a path leads to."""

    path: str
    exact: bool
    """Otherwise it is what paths begin with."""
    port: int
    """Of the container."""
    grpc: bool
    """Whether the upstream is spoken to in gRPC, by HTTP/2."""
    policy: Policy = field(default_factory=dict)
    """An Ingress's annotations, or what Istio's route has beside its destination."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """How a port of the container is spoken to in a mesh."""

    port: int
    grpc: bool
    policy: Policy
    """The trafficPolicy of the DestinationRule."""


def ingress_routes(render: Render) -> Iterator[Route]:
    """What ingress-nginx routes, by the protocol that each Ingress says. A prefix is one of whole elements."""
    for ingress in render.kind("Ingress"):
        said = ingress["metadata"]["annotations"]
        grpc = said["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPC"
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                named = service["port"].get("name") or service["port"]["number"]
                number, _ = _resolve(render, service["name"], named)
                exact = path["pathType"] == "Exact"
                yield Route(path["path"] if exact else f"{path['path']}/", exact, number, grpc, said)


def gateway_routes(render: Render, listener: str) -> Iterator[Route]:
    """What is routed of what comes to a listener of the Gateway, in the protocol of the Service's appProtocol."""
    for route in render.kind("HTTPRoute", "GRPCRoute"):
        if listener not in {parent.get("sectionName") for parent in route["spec"]["parentRefs"]}:
            continue
        for rule in route["spec"]["rules"]:
            for match in rule["matches"]:
                (backend,) = rule["backendRefs"]
                number, grpc = _resolve(render, backend["name"], backend["port"])
                if route["kind"] == "GRPCRoute":
                    yield Route(f"/{match['method']['service']}/", exact=False, port=number, grpc=grpc)
                else:
                    exact = match["path"]["type"] == "Exact"
                    yield Route(match["path"]["value"], exact, number, grpc)


def istio_routes(render: Render, port: int, gateway: str = "mesh") -> Iterator[Route]:
    """What is routed of what comes to a port, inside the mesh or through a Gateway."""
    for virtual in render.kind("VirtualService"):
        for http in virtual["spec"]["http"]:
            for match in http["match"]:
                if match["port"] != port or gateway not in match["gateways"]:
                    continue
                destination = http["route"][0]["destination"]
                number, grpc = _resolve(render, destination["host"], destination["port"]["number"])
                ((kind, path),) = match.get("uri", {"prefix": "/"}).items()
                yield Route(path, kind == "exact", number, grpc, http)


def upstreams(render: Render) -> Iterator[Upstream]:
    """Every port of the service's container, as the mesh speaks to it, or anybody where there is no mesh."""
    service = render.find("Service", "otlp-service")
    assert service is not None
    rules = [rule["spec"]["trafficPolicy"] for rule in render.kind("DestinationRule")]
    seen = set()
    for port in service["spec"]["ports"]:
        number, grpc = _resolve(render, "otlp-service", port["port"])
        if number not in seen:
            seen.add(number)
            yield Upstream(number, grpc, rules[0] if rules else {})


def _resolve(render: Render, service: str, port: object) -> tuple[int, bool]:
    """The container's port behind a Service's, and whether it is gRPC."""
    found = render.find("Service", service)
    assert found is not None, service
    its: Manifest | None = render.service_port(found, port)
    assert its is not None, port
    (workload,) = render.behind(found)
    number = workload.port(its["targetPort"])
    assert number is not None, its
    return number, its.get("appProtocol") == "grpc"
