"""Who is called is there, and may be."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.settings.endpoint import target
from tests.support.manifests.configuration import endpoints, settings_of
from tests.support.manifests.objects import Manifest, Render, Workload, matches, name_of

__all__ = ["every_host_is_there", "the_network_policy_lets_no_more_through", "the_network_policy_lets_through"]


def every_host_is_there(render: Render) -> Iterator[str]:
    """Every host in the configuration is a Service of the render, with that port, or a parameter."""
    for key, host, port in _called(render):
        service = render.resolve(host)
        if service and not render.service_port(service, port):
            yield f"{key}: {name_of(service)} has no port {port}"
        if not service and host not in render.hosts:
            yield f"{key}: there is no Service of the name {host!r}"


def the_network_policy_lets_through(render: Render) -> Iterator[str]:
    """What Services lead to and what is scraped may come in; DNS and what the configuration names may go out."""
    for workload in render.workloads:
        inward = _rules(render, workload, "Ingress")
        for number in sorted(_asked_for(render, workload)):
            if inward is not None and not any(_port(workload, rule, number) for rule in inward):
                yield f"{workload}: no NetworkPolicy lets anybody in at the port {number}"
        outward = _rules(render, workload, "Egress")
        for protocol in ("UDP", "TCP"):
            if outward is not None and not any(
                not rule.get("to") and _port(None, rule, 53, protocol) for rule in outward
            ):
                yield f"{workload}: no NetworkPolicy lets it ask for names (port 53, {protocol})"
    itself, _ = render.gateway
    for key, host, port in _called(render):
        yield from _way(render, itself, key, host, port)


def the_network_policy_lets_no_more_through(render: Render) -> Iterator[str]:
    """Metrics are for who is named, and what goes out goes to who is named, but for names and what is elsewhere."""
    itself, _ = render.gateway
    settings = settings_of(render)
    free = {53} | {port for _, host, port in _called(render) if not render.resolve(host)}
    for rule in _rules(render, itself, "Ingress") or ():
        if not rule.get("ports") or (_everybody(rule.get("from")) and _port(itself, rule, settings.metrics.port)):
            yield f"{itself}: a NetworkPolicy lets anybody in at {settings.metrics.port}, or everywhere"
    for rule in _rules(render, itself, "Egress") or ():
        out = {each.get("port") for each in rule.get("ports") or ()}
        if _everybody(rule.get("to")) and (not out or out - free):
            yield f"{itself}: a NetworkPolicy lets it reach anybody at {sorted(map(str, out - free)) or 'every port'}"


def _everybody(peers: Sequence[Manifest] | None) -> bool:
    """Whether nobody is named: no peer, or one that chooses all pods, or all namespaces."""
    return not peers or any(
        not any(
            (each or {}).get("matchLabels") or (each or {}).get("matchExpressions") or (each or {}).get("cidr")
            for each in peer.values()
        )
        for peer in peers
    )


def _called(render: Render) -> Iterator[tuple[str, str, int]]:
    for key, endpoint in endpoints(settings_of(render)).items():
        host, _, port = target(endpoint).rpartition(":")
        yield key, host, int(port)


def _way(render: Render, itself: Workload, key: str, host: str, port: int) -> Iterator[str]:
    """Whether policies of both ends let the service reach what it is to call."""
    outward = _rules(render, itself, "Egress")
    service = render.resolve(host)
    if not service:
        if outward is not None and not any(_port(None, rule, port) for rule in outward):
            yield f"{itself}: no NetworkPolicy lets it reach {host}:{port} ({key})"
        return
    behind = render.service_port(service, port) or {}
    for other in render.behind(service):
        number = other.port(behind.get("targetPort", port))
        if number is None:
            continue  # the reference is wrong, which another invariant tells
        if outward is not None and not any(
            _peer(rule.get("to"), other, itself) and _port(other, rule, number) for rule in outward
        ):
            yield f"{itself}: no NetworkPolicy lets it reach {other} at {number} ({key})"
        inward = _rules(render, other, "Ingress")
        if inward is not None and not any(
            _peer(rule.get("from"), itself, other) and _port(other, rule, number) for rule in inward
        ):
            yield f"{other}: no NetworkPolicy lets {itself} in at {number} ({key})"


def _rules(render: Render, workload: Workload, way: str) -> list[Manifest] | None:
    """Those of all policies for a workload; None where none restricts it."""
    chosen = [
        policy
        for policy in render.kind("NetworkPolicy")
        if way in _restricted(policy) and matches(policy["spec"]["podSelector"], workload.labels)
    ]
    return [rule for policy in chosen for rule in policy["spec"].get(way.lower()) or ()] if chosen else None


def _restricted(policy: Manifest) -> Sequence[str]:
    """Which ways a policy is about: where it does not say so, in, and out if it has rules for that."""
    types: Sequence[str] = policy["spec"].get("policyTypes") or (
        ("Ingress", "Egress") if policy["spec"].get("egress") else ("Ingress",)
    )
    return types


def _asked_for(render: Render, workload: Workload) -> set[int]:
    """The ports that Services lead to, and what is scraped."""
    found = {
        workload.port(port.get("targetPort", port["port"]))
        for service in render.kind("Service")
        if workload in render.behind(service)
        for port in service["spec"].get("ports") or ()
    }
    found |= {int(port) for key, port in workload.annotations.items() if key == "prometheus.io/port"}
    return {number for number in found if number is not None}


def _port(workload: Workload | None, rule: Manifest, number: int, protocol: str = "TCP") -> bool:
    """Whether a rule is about a port, which may be named as the workload names it."""
    ports: Sequence[Mapping[str, Any]] = rule.get("ports") or ()
    return not ports or any(
        each.get("protocol", "TCP") == protocol
        and (
            each.get("port", number) == number
            or (workload is not None and workload.port(each.get("port")) == number)
            or (isinstance(each.get("port"), int) and each["port"] <= number <= each.get("endPort", each["port"]))
        )
        for each in ports
    )


def _peer(peers: Sequence[Manifest] | None, workload: Workload, own: Workload) -> bool:
    """Whether a rule's other end may be the pods of `workload`; without peers it may be anybody."""
    namespace = workload.manifest["metadata"].get("namespace", "")
    same = namespace == own.manifest["metadata"].get("namespace", "")
    for peer in peers or ():
        chosen = matches(peer.get("podSelector") or {}, workload.labels) and "ipBlock" not in peer
        if "namespaceSelector" in peer:
            here = matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
        else:
            here = same
        if chosen and here:
            return True
    return not peers
