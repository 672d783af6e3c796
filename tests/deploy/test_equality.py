"""Two renders are compared by what they mean, and not by what their objects are called."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.support.manifests.equality import differences
from tests.support.manifests.objects import Manifest, Render
from tests.support.manifests.render import build, given, kustomize

COMPONENTS = ("collector", "persistence", "ingress", "monitoring")


def patch(kind: str, op: str, path: str, value: object = None) -> dict[str, Any]:
    operation = {"op": op, "path": path} | ({} if value is None else {"value": value})
    target = {"kind": kind, "labelSelector": "app=otlp-service"}
    return {"patches": [{"target": target, "patch": yaml.safe_dump([operation])}]}


CONTAINER = "/spec/template/spec/containers/0"


def test_names_and_labels_make_no_difference() -> None:
    labels = [{"pairs": {"helm.sh/chart": "otlp-service-1.0.0"}, "includeSelectors": True}]
    more = {"namePrefix": "release-", "labels": labels, "namespace": "elsewhere"}
    own, other = kustomize("collector", "ingress"), Render(build("base", ("collector", "ingress"), more), given())
    names, others = ({each["metadata"]["name"] for each in render.objects} for render in (own, other))
    assert names.isdisjoint(others)
    assert differences(own, other) == []


def test_how_the_configuration_comes_into_the_pod_makes_no_difference() -> None:
    def inline(manifest: Manifest) -> Manifest:
        if manifest["kind"] != "Deployment" or manifest["metadata"]["name"] != "otlp-service":
            return manifest
        config = next(each for each in whole.objects if each["metadata"]["name"].startswith("otlp-env"))
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        variables = [{"name": name, "value": value} for name, value in config["data"].items()]
        changed = {**container, "env": [*container["env"], *variables], "envFrom": []}
        pod = {**manifest["spec"]["template"]["spec"], "containers": [changed]}
        return {**manifest, "spec": {**manifest["spec"], "template": {**manifest["spec"]["template"], "spec": pod}}}

    whole = kustomize("collector")
    assert differences(whole, Render(tuple(inline(each) for each in whole.objects), whole.given)) == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"configMapGenerator": [{"name": "otlp-env", "behavior": "merge", "literals": ["OTLP_QUEUE__WAIT=2s"]}]},
            ["settings.queue.wait: '1s', and '2s'"],
        ),
        (
            patch("HorizontalPodAutoscaler", "replace", "/spec/maxReplicas", 10),
            ["HorizontalPodAutoscaler[0].spec.maxReplicas: 20, and 10"],
        ),
        (
            patch("Ingress", "replace", "/spec/ingressClassName", "public"),
            [
                "Ingress (HTTP)[0].spec.ingressClassName: 'nginx', and 'public'",
                "Ingress (GRPC)[0].spec.ingressClassName: 'nginx', and 'public'",
            ],
        ),
        (
            patch("Ingress", "remove", "/metadata/annotations/nginx.ingress.kubernetes.io~1ssl-redirect"),
            [
                "Ingress (HTTP)[0].annotations.nginx.ingress.kubernetes.io/ssl-redirect: 'true', and None",
                "Ingress (GRPC)[0].annotations.nginx.ingress.kubernetes.io/ssl-redirect: 'true', and None",
            ],
        ),
        (
            patch("StatefulSet", "remove", "/spec/podManagementPolicy"),
            ["StatefulSet.podManagementPolicy: 'Parallel', and None"],
        ),
        (
            patch("StatefulSet", "replace", f"{CONTAINER}/resources/limits/memory", "2Gi"),
            ["pod.containers.itself.resources.limits.memory: '1Gi', and '2Gi'"],
        ),
        (
            patch("StatefulSet", "replace", f"{CONTAINER}/env/2/valueFrom/fieldRef/fieldPath", "metadata.uid"),
            ["of the pod.POD_NAMESPACE: 'metadata.namespace', and 'metadata.uid'"],
        ),
        (patch("NetworkPolicy", "remove", "/spec/egress/2"), ["NetworkPolicy[0].spec.egress: ["]),
        (patch("PodDisruptionBudget", "replace", "/spec/selector/matchLabels/app", "b"), ["PodDisruptionBudget: ["]),
    ],
)
def test_what_differs_is_told(more: Mapping[str, Any], told: list[str]) -> None:
    found = differences(kustomize(*COMPONENTS), Render(build("base", COMPONENTS, more), given()))
    assert len(found) == len(told), found
    assert all(any(each.startswith(start) for each in found) for start in told), found
