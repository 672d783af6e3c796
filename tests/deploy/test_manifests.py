"""Everything that kustomize renders: it is known to Kubernetes, and keeps what has to hold."""

import json
from itertools import chain, combinations

import pytest

from tests.support.manifests.invariants import violations
from tests.support.manifests.objects import Manifest, Render
from tests.support.manifests.render import COLLECTOR, COMPONENTS, build, kustomize
from tests.support.manifests.schemas import NEWEST, OLDEST, mistakes

ENCRYPTED_AT_THE_DOOR = {"gateway", "istio"}
"""They end TLS themselves and speak in the clear to the pods, so they do not go with the component `tls`."""

ALL = tuple(name for name in COMPONENTS if name != "tls")
PAIRS = [
    (first, second)
    for pair in combinations(COMPONENTS, 2)
    if not ("tls" in pair and ENCRYPTED_AT_THE_DOOR & set(pair))
    for first, second in (pair, pair[::-1])
    if (first, second) != ("tls", "ingress")
]
RENDERS = [
    *((of, ()) for of in ("base", "overlays/development", "overlays/production")),
    *(("base", (name,)) for name in COMPONENTS),
    *(("base", pair) for pair in PAIRS),
    *(("overlays/development", (name,)) for name in COMPONENTS if name not in {"collector", "monitoring"}),
    *(("overlays/production", (name,)) for name in ("gateway", "istio", "monitoring", "tls", "vpa")),
    ("base", ALL),
    ("base", ALL[::-1]),
    ("base", ("collector", "auth", "ingress", "monitoring", "persistence", "tls", "vpa")),
    ("overlays/production", ("monitoring", "vpa", "istio", "gateway")),
]

BUILT_IN = {"apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1", "v1"}


def name_of_a_render(value: object) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("of", "components"), RENDERS, ids=name_of_a_render)
def test_what_has_to_hold_holds(of: str, components: tuple[str, ...]) -> None:
    assert violations(kustomize(*components, of=of)) == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_known_to_kubernetes_with_every_field(version: str) -> None:
    rendered = chain(*(kustomize(*components, of=of).objects for of, components in RENDERS))
    once = {json.dumps(manifest, sort_keys=True): manifest for manifest in rendered}
    assert [mistake for manifest in once.values() for mistake in mistakes(manifest, version)] == []


@pytest.mark.parametrize(
    ("manifest", "mistake"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deploy", "metadata": {"name": "a"}}, "has no Deploy of apps/v1"),
        ({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}, "spec": {}}, "'spec'"),
        (
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"prot": 1}]}},
            "'prot'",
        ),
        (
            {
                "apiVersion": "autoscaling.k8s.io/v1",
                "kind": "VerticalPodAutoscaler",
                "metadata": {"name": "a"},
                "spec": {"targetRef": {"kind": "Deployment", "name": "a"}, "updatePolicy": {"mode": "Off"}},
            },
            "'mode'",
        ),
        (
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": "a", "label": {}},
                "spec": {"groups": []},
            },
            "'label'",
        ),
        (
            {"apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService", "metadata": {"name": "a"}},
            "has no VirtualService of networking.istio.io/v1beta1",
        ),
    ],
)
def test_what_kubernetes_does_not_know_is_a_mistake(manifest: Manifest, mistake: str) -> None:
    assert any(mistake in told for told in mistakes(manifest, NEWEST)), mistakes(manifest, NEWEST)


@pytest.mark.parametrize("components", [(), ("collector",)], ids=["base", "base and collector"])
def test_an_empty_cluster_lacks_nothing_of_the_base(components: tuple[str, ...]) -> None:
    render = kustomize(*components)
    assert {manifest["apiVersion"] for manifest in render.objects} <= BUILT_IN
    without_secrets = Render(render.objects, hosts=render.hosts)
    assert violations(without_secrets) == []
    assert not list(render.kind("Ingress"))


@pytest.mark.parametrize("components", [("tls", "gateway"), ("tls", "istio"), ("tls", "ingress")])
def test_what_does_not_go_together_is_told(components: tuple[str, ...]) -> None:
    assert any("speaks HTTPS" in told for told in violations(kustomize(*components)))


def test_a_changed_configuration_rolls_the_pods() -> None:
    changed = {"configMapGenerator": [{"name": "otlp-env", "behavior": "merge", "literals": ["OTLP_QUEUE__WAIT=2s"]}]}
    before = kustomize().gateway[0]
    after = Render(build("base", (), changed)).gateway[0]
    assert before.manifest["metadata"]["name"] == after.manifest["metadata"]["name"]
    assert before.spec["template"] != after.spec["template"]


def test_the_production_overlay_has_a_claim_for_each_pod_that_outlives_it() -> None:
    workload, _ = kustomize(of="overlays/production").gateway
    assert workload.manifest["kind"] == "StatefulSet"
    assert "claim" in workload.volumes["data"]
    assert set(workload.spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


def test_the_overlays_are_what_docs_kubernetes_says_of_them() -> None:
    development, production = kustomize(of="overlays/development"), kustomize(of="overlays/production")
    workload, container = development.gateway
    assert (workload.manifest["kind"], workload.spec["replicas"]) == ("Deployment", 1)
    assert container["resources"]["requests"] | {"ephemeral-storage": ""} == {
        "cpu": "100m",
        "memory": "256Mi",
        "ephemeral-storage": "",
    }
    assert not list(development.kind("HorizontalPodAutoscaler", "Ingress"))
    assert len(list(production.kind("HorizontalPodAutoscaler"))) == 1
    assert len(list(production.kind("Ingress"))) == 2
    assert "secrets" in production.gateway[0].volumes
    for render, collectors in ((development, 1), (production, 2)):
        (collector,) = [each for each in render.workloads if each.manifest["metadata"]["name"] == COLLECTOR]
        assert collector.spec["replicas"] == collectors


def test_pods_come_at_once_and_go_slowly() -> None:
    (scaler,) = kustomize().kind("HorizontalPodAutoscaler")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 20)
    up, down = scaler["spec"]["behavior"]["scaleUp"], scaler["spec"]["behavior"]["scaleDown"]
    assert (up["stabilizationWindowSeconds"], up["selectPolicy"]) == (0, "Max")
    assert (down["stabilizationWindowSeconds"], down["selectPolicy"]) == (300, "Min")
    assert {(policy["type"], policy["value"], policy["periodSeconds"]) for policy in up["policies"]} == {
        ("Percent", 100, 30),
        ("Pods", 4, 30),
    }
    assert {(policy["type"], policy["value"], policy["periodSeconds"]) for policy in down["policies"]} == {
        ("Percent", 50, 60),
        ("Pods", 2, 60),
    }


def test_no_secret_is_rendered() -> None:
    for of, components in RENDERS:
        assert list(kustomize(*components, of=of).kind("Secret")) == []


def test_another_namespace_has_all_of_it() -> None:
    render = kustomize(*ALL)
    moved = Render(build("base", ALL, {"namespace": "elsewhere"}), render.given)
    assert {each["metadata"].get("namespace", "elsewhere") for each in moved.objects} == {"elsewhere"}
    assert violations(moved) == []
