"""The deployment guide's names and numbers, as it was handed over: docs/guide.md tells what is not kept, and why."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from tests.deploy.test_chart import PARTS, rendered
from tests.deploy.test_chart import parts as values_of
from tests.support.manifests.configuration import told
from tests.support.manifests.objects import Render, group
from tests.support.manifests.render import kustomize

PARTS_OF_THE_GUIDE = ("gateway", "ingress", "monitoring", "vpa")

NAMES = [
    *(("Namespace", "otlp-system"), ("ConfigMap", "otlp-config"), ("ConfigMap", "otlp-env")),
    *(("Deployment", "otlp-service"), ("Service", "otlp-service"), ("Service", "otlp-service-headless")),
    *(("HorizontalPodAutoscaler", "otlp-service-hpa"), ("VerticalPodAutoscaler", "otlp-service-vpa")),
    *(("Ingress", "otlp-service"), ("VirtualService", "otlp-service"), ("DestinationRule", "otlp-service")),
    *(("Service", "otel-collector"), ("ServiceAccount", "otlp-service")),
]

POD: dict[str, Any] = {
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
CONTAINER: dict[str, Any] = {
    "name": "otlp-service",
    "imagePullPolicy": "IfNotPresent",
    "resources": {"requests": {"memory": "512Mi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}},
    "livenessProbe": {
        "httpGet": {"path": "/health/live"},
        "initialDelaySeconds": 30,
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "successThreshold": 1,
        "failureThreshold": 3,
    },
    "readinessProbe": {
        "httpGet": {"path": "/health/ready"},
        "initialDelaySeconds": 10,
        "periodSeconds": 5,
        "timeoutSeconds": 3,
        "successThreshold": 1,
        "failureThreshold": 3,
    },
    "startupProbe": {
        "httpGet": {"path": "/health/startup"},
        "initialDelaySeconds": 0,
        "periodSeconds": 5,
        "timeoutSeconds": 3,
        "successThreshold": 1,
        "failureThreshold": 30,
    },
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
    },
}
WORKLOAD: dict[str, Any] = {
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
}
AUTOSCALER: dict[str, Any] = {
    "minReplicas": 3,
    "maxReplicas": 20,
    "behavior": {
        "scaleDown": {
            "stabilizationWindowSeconds": 300,
            "policies": [
                {"type": "Percent", "value": 50, "periodSeconds": 60},
                {"type": "Pods", "value": 2, "periodSeconds": 60},
            ],
            "selectPolicy": "Min",
        },
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 30},
                {"type": "Pods", "value": 4, "periodSeconds": 30},
            ],
            "selectPolicy": "Max",
        },
    },
    "metrics": [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": "http_requests_per_second"},
                "target": {"type": "AverageValue", "averageValue": "1k"},
            },
        },
    ],
}
ADVICE: dict[str, Any] = {
    "updatePolicy": {"updateMode": "Off"},  # docs/guide.md has the reason
    "resourcePolicy": {
        "containerPolicies": [
            {
                "containerName": "otlp-service",
                "minAllowed": {"cpu": "250m", "memory": "512Mi"},
                "maxAllowed": {"cpu": "2000m", "memory": "4Gi"},
                "controlledResources": ["cpu", "memory"],
            }
        ]
    },
}
INGRESS: dict[str, Any] = {
    "ingressClassName": "nginx",
    "tls": [{"hosts": ["otlp.example.com"], "secretName": "otlp-tls"}],
}
RULE: dict[str, Any] = {
    "connectionPool": {
        "tcp": {"maxConnections": 1000},
        "http": {"http1MaxPendingRequests": 1000, "http2MaxRequests": 1000},
    },
    "loadBalancer": {"simple": "LEAST_REQUEST"},
    "outlierDetection": {
        "consecutiveLocalOriginFailures": 5,
        "interval": "30s",
        "baseEjectionTime": "30s",
        "maxEjectionPercent": 50,
        "minHealthPercent": 40,
    },
}


CONFIGURATION: dict[str, Any] = {
    "server": {"host": "0.0.0.0", "port": 8080, "grpc_port": 4317},
    "exporter": {"timeout": "30s", "batch_size": 1000},
    "tracing": {"service_name": "otlp-service", "sampling_rate": 1.0},
    "logging": {"format": "json"},
    "metrics": {"enabled": True, "port": 9090, "path": "/metrics"},
}


@cache
def manifests() -> Render:
    return kustomize("collector", *PARTS_OF_THE_GUIDE, "istio")


def renders() -> Iterator[Render]:
    yield manifests()
    yield rendered(values_of(*PARTS_OF_THE_GUIDE))


def lost(kept: Any, found: Any, path: str = "") -> Iterator[str]:
    """What of the guide is not found, or is found otherwise; what is found beside it is no matter."""
    if isinstance(kept, Mapping) and isinstance(found, Mapping):
        for key, value in kept.items():
            yield from lost(value, found.get(key), f"{path}.{key}")
    elif isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for number, (one, other) in enumerate(zip(kept, found, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif kept != found:
        yield f"{path}: {found!r}, and the guide has {kept!r}"


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_an_object_has_the_name_that_the_guide_gives_it(kind: str, name: str) -> None:
    named = {
        each["metadata"]["name"].rpartition("-")[0] if kind == "ConfigMap" else each["metadata"]["name"]
        for each in manifests().kind(kind)
    }
    assert name in named
    for render in (manifests(), kustomize()):
        namespaced = [each for each in render.objects if each["kind"] != "Namespace"]
        assert {each["metadata"]["namespace"] for each in namespaced} == {"otlp-system"}


def test_the_pods_are_what_the_guide_makes_them() -> None:
    for render in renders():
        workload, container = render.gateway
        assert list(lost(POD, workload.pod)) == []
        assert list(lost(CONTAINER, container)) == []
        assert list(lost(WORKLOAD, workload.spec)) == []
        assert workload.ports == {"http": 8080, "grpc": 4317, "metrics": 9090}
        assert workload.volumes["data"] == {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}
        (apart,) = workload.pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert (apart["weight"], apart["podAffinityTerm"]["topologyKey"]) == (100, "kubernetes.io/hostname")
        (spread,) = workload.pod["topologySpreadConstraints"]
        assert (spread["maxSkew"], spread["topologyKey"]) == (1, "topology.kubernetes.io/zone")
        variables = {each["name"] for each in container["env"]}
        assert {"CONFIG_PATH", "POD_NAME", "POD_NAMESPACE", "POD_IP"} <= variables


def test_the_configuration_says_what_the_guides_does() -> None:
    for render in renders():
        what = told(render)
        assert list(lost(CONFIGURATION, yaml.safe_load(what.files["/app/config/production.yaml"]))) == []
        assert what.settings().exporter.endpoint == "http://otel-collector:4318"
        assert what.settings().logging.level == "info"
    environment = told(manifests()).environment
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-collector:4318"
    assert environment["OTLP_LOGGING__LEVEL"] == "info"


def test_what_is_around_the_pods_has_the_guides_numbers() -> None:
    for render in renders():
        (scaler,) = render.kind("HorizontalPodAutoscaler")
        (advice,) = render.kind("VerticalPodAutoscaler")
        assert list(lost(AUTOSCALER, scaler["spec"])) == []
        assert list(lost(ADVICE, advice["spec"])) == []
        for ingress in render.kind("Ingress"):
            assert list(lost(INGRESS, ingress["spec"])) == []
            assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["otlp.example.com"]
        issuers = [
            each["metadata"]["annotations"].get("cert-manager.io/cluster-issuer") for each in render.kind("Ingress")
        ]
        assert sorted(map(str, issuers)) == ["None", "letsencrypt-prod"]
        service, headless = [
            next(each for each in render.kind("Service") if each["metadata"]["name"] == name)
            for name in ("otlp-service", "otlp-service-headless")
        ]
        assert service["spec"]["type"] == "ClusterIP"
        assert {each["name"]: each["port"] for each in service["spec"]["ports"]} == {
            "http": 8080,
            "otlp-http": 4318,
            "grpc": 4317,
            "metrics": 9090,
        }
        assert headless["spec"]["clusterIP"] == "None"
        assert {each["name"]: each["port"] for each in headless["spec"]["ports"]} == {"http": 8080, "grpc": 4317}
        assert service["metadata"]["annotations"] == {"service.beta.kubernetes.io/aws-load-balancer-type": "nlb"}


def test_the_mesh_has_the_guides_numbers() -> None:
    (rule,) = manifests().kind("DestinationRule")
    assert list(lost(RULE, rule["spec"]["trafficPolicy"])) == []
    (virtual,) = manifests().kind("VirtualService")
    assert virtual["spec"]["hosts"] == ["otlp-service", "otlp.example.com"]
    for route in virtual["spec"]["http"][:2]:
        assert (route["retries"]["attempts"], route["timeout"]) == (3, "30s")
    (gateway,) = [each for each in manifests().kind("Gateway") if group(each) == "networking.istio.io"]
    (server,) = gateway["spec"]["servers"]
    assert gateway["spec"]["selector"] == {"istio": "ingressgateway"}
    assert (server["hosts"], server["port"]["protocol"]) == (["otlp.example.com"], "HTTPS")
    assert server["tls"] == {"mode": "SIMPLE", "credentialName": "otlp-tls"}
    ways = [match for route in virtual["spec"]["http"] for match in route["match"] if "mesh" not in match["gateways"]]
    assert {match["port"] for match in ways} == {server["port"]["number"]} == {443}
    assert manifests().gateway[0].labels["sidecar.istio.io/inject"] == "true"


def test_a_number_that_is_another_one_is_told() -> None:
    assert list(lost({"a": [{"b": 1}], "c": 2}, {"a": [{"b": 3}], "d": 4})) == [
        ".a[0].b: 3, and the guide has 1",
        ".c: None, and the guide has 2",
    ]
    assert set(PARTS_OF_THE_GUIDE) <= PARTS.keys()
