"""Whoever comes from outside reaches the port that speaks as he does, and nothing but OTLP."""

from collections.abc import Iterator

from app.core.request import Signal
from app.settings import Settings
from tests.support.manifests.configuration import settings_of
from tests.support.manifests.objects import Manifest, Render, Workload, name_of

__all__ = [
    "a_listener_is_for_one_kind_of_route",
    "each_route_speaks_its_port",
    "each_service_says_what_its_ports_speak",
    "every_route_names_its_port",
]

_BACKEND = "nginx.ingress.kubernetes.io/backend-protocol"


def each_route_speaks_its_port(render: Render) -> Iterator[str]:
    """A route speaks as the ports do that it leads to, a path leads where it is answered, and only OTLP is public."""
    itself, _ = render.gateway
    settings = settings_of(render)
    for ingress in render.kind("Ingress"):
        said = (ingress["metadata"].get("annotations") or {}).get(_BACKEND, "HTTP")
        for path, service, port in _ingress_paths(ingress):
            spoken = _spoken(render, itself, settings, service, port)
            if spoken and spoken != said:
                yield f"{name_of(ingress)}: it speaks {said} to {service}:{port}, which speaks {spoken}"
            yield from _public(ingress, path, grpc=said.startswith("GRPC"))
    for route in render.kind("HTTPRoute", "GRPCRoute"):
        said = "HTTP" if route["kind"] == "HTTPRoute" else "GRPC"
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                spoken = _spoken(render, itself, settings, backend["name"], backend.get("port"))
                if spoken and spoken != said:
                    way = f"{backend['name']}:{backend.get('port')}"
                    yield f"{name_of(route)}: it speaks {said} to {way}, which speaks {spoken}"
            for path in _route_paths(rule):
                yield from _public(route, path, grpc=said == "GRPC")
    for virtual in render.kind("VirtualService"):
        yield from _virtual(render, itself, settings, virtual)


def every_route_names_its_port(render: Render) -> Iterator[str]:
    """A route of a VirtualService is matched by its port and leads to one, or it takes what is for the others."""
    for virtual in render.kind("VirtualService"):
        for route in virtual["spec"]["http"]:
            name = f"{name_of(virtual)}: the route {route.get('name', '')!r}"
            if not route.get("match") or any("port" not in match for match in route["match"]):
                yield f"{name} has a match without a port, and takes what is for the other routes too"
            for match in route.get("match") or ():
                for gateway in set(match.get("gateways") or ()) - set(virtual["spec"].get("gateways") or ("mesh",)):
                    yield f"{name} is for {gateway}, which the VirtualService does not name"
            if any("number" not in way["destination"].get("port", {}) for way in route["route"]):
                yield f"{name} leads to no port"


def each_service_says_what_its_ports_speak(render: Render) -> Iterator[str]:
    """What is spoken at a port is its appProtocol, by which meshes and gateways go; none keeps clients to a pod."""
    itself, _ = render.gateway
    settings = settings_of(render)
    for service in render.kind("Service"):
        if itself not in render.behind(service):
            continue
        if service["spec"].get("sessionAffinity", "None") != "None":
            yield f"{name_of(service)}: sessionAffinity keeps all that is behind one address on one pod"
        for port in service["spec"]["ports"]:
            spoken = _spoken(render, itself, settings, service["metadata"]["name"], port["port"])
            own = itself.port(port.get("targetPort", port["port"])) == settings.metrics.port
            wanted = "http" if own else {"HTTP": "http", "GRPC": "grpc"}.get(str(spoken), "https")
            if port.get("appProtocol") != wanted:
                said = port.get("appProtocol")
                yield f"{name_of(service)}: appProtocol of {port['port']} is {said}, and not {wanted}"


def a_listener_is_for_one_kind_of_route(render: Render) -> Iterator[str]:
    """Where an HTTPRoute and a GRPCRoute have a host in common on one listener, one of them is not accepted."""
    kinds: dict[tuple[str, str, str], set[str]] = {}
    for route in render.kind("HTTPRoute", "GRPCRoute"):
        for parent in route["spec"]["parentRefs"]:
            for host in route["spec"].get("hostnames") or ("",):
                key = (parent["name"], parent.get("sectionName", ""), host)
                kinds.setdefault(key, set()).add(route["kind"])
    for (gateway, listener, host), both in kinds.items():
        if len(both) > 1:
            yield f"an HTTPRoute and a GRPCRoute share {host} on the listener {listener!r} of {gateway}"


def _spoken(render: Render, itself: Workload, settings: Settings, service: str, port: object) -> str | None:
    """What is spoken at a port of a Service of ours; None where it is none, or not OTLP's."""
    found = render.resolve(service)
    way = render.service_port(found, port) if found else None
    if not found or not way or itself not in render.behind(found):
        return None
    secure = "S" if settings.server.tls.cert_file else ""
    number = itself.port(way.get("targetPort", way["port"]))
    return {settings.server.port: f"HTTP{secure}", settings.server.grpc_port: f"GRPC{secure}"}.get(number or 0, "HTTP")


def _ingress_paths(ingress: Manifest) -> Iterator[tuple[str, str, object]]:
    for rule in ingress["spec"].get("rules") or ():
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            yield path["path"], service["name"], next(iter(service["port"].values()))


def _route_paths(rule: Manifest) -> Iterator[str]:
    if not rule.get("matches"):
        yield "/"
    for match in rule.get("matches") or ():
        if "method" in match:
            yield f"/{match['method'].get('service', '')}"
        else:
            yield (match.get("path") or {}).get("value", "/")


def _public(route: Manifest, path: str, *, grpc: bool) -> Iterator[str]:
    """What is wrong with leading a path there from outside."""
    own = {signal.method.rpartition("/")[0] if grpc else signal.path for signal in Signal}
    if (path.rstrip("/") if grpc else path) not in own:
        yield f"{name_of(route)}: {path} is no path of OTLP over {'gRPC' if grpc else 'HTTP'}"


def _virtual(render: Render, itself: Workload, settings: Settings, virtual: Manifest) -> Iterator[str]:
    """A match by a port of our own Service leads to one that speaks the same; what is from outside is OTLP."""
    for route in virtual["spec"]["http"]:
        for way in route["route"]:
            host, port = way["destination"]["host"], way["destination"].get("port", {}).get("number")
            spoken = _spoken(render, itself, settings, host, port)
            name = f"{name_of(virtual)}: the route {route.get('name', '')!r}"
            if spoken and spoken.endswith("S"):
                yield f"{name} leads to {port}, which speaks {spoken}: what is encrypted cannot be told apart"
            for match in route.get("match") or ():
                if "uri" not in match:
                    if "mesh" not in match.get("gateways", ()):
                        yield f"{name} lets everything in from outside; name the paths of OTLP"
                    asked = _spoken(render, itself, settings, host, match.get("port"))
                    if asked and spoken and asked != spoken:
                        yield f"{name} leads from {match['port']} ({asked}) to {port} ({spoken})"
                    continue
                path = next(iter(match["uri"].values()))
                yield from _outside(name, path, spoken)


def _outside(name: str, path: str, spoken: str | None) -> Iterator[str]:
    over_http = path in {signal.path for signal in Signal}
    over_grpc = path.startswith("/opentelemetry.proto.collector.")
    if not over_http and not over_grpc:
        yield f"{name} lets {path} in from outside, which is no path of OTLP"
    elif spoken and spoken[:4] != ("HTTP" if over_http else "GRPC"):
        yield f"{name} leads {path} to a port that speaks {spoken}"
