"""How many pods there are, and who may say so."""

import math
from collections.abc import Iterator

from tests.support.manifests.objects import Manifest, Render, Workload, name_of

__all__ = [
    "a_disruption_budget_leaves_room",
    "an_autoscaler_has_something_to_go_by",
    "autoscalers_do_not_fight",
    "no_replicas_beside_an_autoscaler",
]


def autoscalers_do_not_fight(render: Render) -> Iterator[str]:
    """No VerticalPodAutoscaler acts on a resource that a HorizontalPodAutoscaler scales the same pods by."""
    for vertical in render.kind("VerticalPodAutoscaler"):
        if (vertical["spec"].get("updatePolicy") or {}).get("updateMode", "Auto") == "Off":
            continue
        acts = _controlled(vertical)
        for horizontal in _autoscalers(render, vertical["spec"]["targetRef"]):
            both = sorted(acts & _scaled_by(horizontal))
            if both:
                yield f"{name_of(vertical)}: it acts on {', '.join(both)}, by which {name_of(horizontal)} scales"


def no_replicas_beside_an_autoscaler(render: Render) -> Iterator[str]:
    """What is scaled has no number of its own, to which each apply would set it back."""
    for workload in render.workloads:
        for autoscaler in _autoscalers(render, _reference(workload)):
            if "replicas" in workload.spec:
                yield f"{workload}: replicas {workload.spec['replicas']} beside {name_of(autoscaler)}; leave it out"


def an_autoscaler_has_something_to_go_by(render: Render) -> Iterator[str]:
    """It has a metric, and a share is one of a request that there is."""
    for autoscaler in render.kind("HorizontalPodAutoscaler"):
        spec = autoscaler["spec"]
        if not spec.get("metrics"):
            yield f"{name_of(autoscaler)}: it has no metric"
        least, most = spec["minReplicas"], spec["maxReplicas"]
        if least > most:
            yield f"{name_of(autoscaler)}: minReplicas {least} are above maxReplicas {most}"
        target = render.find(spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
        for container in Workload(target).containers if target else ():
            resources = container.get("resources") or {}
            asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
            for name in sorted(_scaled_by(autoscaler) - asked.keys()):
                yield f"{name_of(autoscaler)}: it goes by a share of the {name} that {container['name']} asks for, none"


def a_disruption_budget_leaves_room(render: Render) -> Iterator[str]:
    """With the fewest pods that there may be, one can be evicted, or nodes could not be drained."""
    for budget in render.kind("PodDisruptionBudget"):
        for workload in render.selected(budget["spec"]["selector"]):
            least = min(
                (autoscaler["spec"].get("minReplicas", 1) for autoscaler in _autoscalers(render, _reference(workload))),
                default=workload.spec.get("replicas", 1),
            )
            if "maxUnavailable" in budget["spec"]:
                room = _number(budget["spec"]["maxUnavailable"], least)
            else:
                room = least - _number(budget["spec"]["minAvailable"], least)
            if room < 1:
                yield f"{name_of(budget)}: of {least} pods of {workload} none may be evicted"


def _autoscalers(render: Render, target: Manifest) -> Iterator[Manifest]:
    for autoscaler in render.kind("HorizontalPodAutoscaler"):
        scaled = autoscaler["spec"]["scaleTargetRef"]
        if (scaled["kind"], scaled["name"]) == (target["kind"], target["name"]):
            yield autoscaler


def _reference(workload: Workload) -> Manifest:
    return {"kind": workload.manifest["kind"], "name": workload.manifest["metadata"]["name"]}


def _controlled(vertical: Manifest) -> set[str]:
    policies = (vertical["spec"].get("resourcePolicy") or {}).get("containerPolicies") or [{}]
    return {each for policy in policies for each in policy.get("controlledResources", ("cpu", "memory"))}


def _scaled_by(horizontal: Manifest) -> set[str]:
    return {
        metric[source]["name"]
        for metric in horizontal["spec"].get("metrics") or ()
        for source in ("resource", "containerResource")
        if source in metric
    }


def _number(value: object, of: int) -> int:
    """Pods; Kubernetes rounds a share up."""
    text = str(value)
    return math.ceil(int(text[:-1]) * of / 100) if text.endswith("%") else int(text)
