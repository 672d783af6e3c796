"""Whatever chooses chooses something."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.manifests.objects import Render, Workload, matches, name_of

__all__ = ["every_selector_chooses", "nothing_that_cannot_change_has_a_version"]

_VERSIONS = {"app.kubernetes.io/version", "helm.sh/chart", "version"}


def every_selector_chooses(render: Render) -> Iterator[str]:
    """Every selector chooses pods, or a Service, of the same render; a workload's own choose its pods."""
    for workload in render.workloads:
        for selector in _own(workload):
            if not matches(selector, workload.labels):
                yield f"{workload}: {selector} does not choose its own pods"
    for service in render.kind("Service"):
        if not render.behind(service):
            yield f"{name_of(service)}: its selector {service['spec'].get('selector')} chooses nothing"
    for manifest in render.kind("PodDisruptionBudget", "NetworkPolicy"):
        selector = manifest["spec"].get("selector") or manifest["spec"].get("podSelector") or {}
        if not render.selected(selector):
            yield f"{name_of(manifest)}: its selector {selector} chooses nothing"
    labels = [service["metadata"].get("labels") or {} for service in render.kind("Service")]
    for monitor in render.kind("ServiceMonitor"):
        if not any(matches(monitor["spec"]["selector"], each) for each in labels):
            yield f"{name_of(monitor)}: its selector {monitor['spec']['selector']} chooses no Service"


def nothing_that_cannot_change_has_a_version(render: Render) -> Iterator[str]:
    """Selectors and claims are for ever: no label of theirs is another one in the next version."""
    for workload in render.workloads:
        selector = workload.spec.get("selector") or {}
        claims = (claim["metadata"].get("labels") or {} for claim in workload.spec.get("volumeClaimTemplates") or ())
        for labels in (selector.get("matchLabels") or {}, *claims):
            for key in sorted(_VERSIONS & labels.keys()):
                yield f"{workload}: {key} is in what cannot be changed, and the next version could not be applied"


def _own(workload: Workload) -> Iterator[Mapping[str, Any]]:
    """By what it knows its own pods, and whom it spreads them from."""
    if "selector" in workload.spec:
        yield workload.spec["selector"]
    apart = (workload.pod.get("affinity") or {}).get("podAntiAffinity") or {}
    for term in apart.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
        yield term["podAffinityTerm"]["labelSelector"]
    for term in apart.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        yield term["labelSelector"]
    for constraint in workload.pod.get("topologySpreadConstraints") or ():
        yield constraint["labelSelector"]
