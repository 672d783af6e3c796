"""Each invariant catches its defect: a manifest that is right but for one thing."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest

from tests.support.manifests.invariants import (
    INVARIANTS,
    Invariant,
    a_disruption_budget_leaves_room,
    a_listener_is_for_one_kind_of_route,
    a_pod_gets_nothing_that_it_does_not_use,
    a_read_only_root_has_what_is_written_to,
    an_autoscaler_has_something_to_go_by,
    autoscalers_do_not_fight,
    each_route_speaks_its_port,
    each_service_says_what_its_ports_speak,
    every_container_says_what_it_takes,
    every_host_is_there,
    every_name_may_be_one,
    every_reference_is_there,
    every_root_is_read_only,
    every_route_names_its_port,
    every_selector_chooses,
    every_word_is_one_of_its_kind,
    large_requests_come_through,
    no_image_is_the_latest,
    no_replicas_beside_an_autoscaler,
    no_secret_is_in_the_environment,
    nothing_is_said_twice,
    nothing_that_cannot_change_has_a_version,
    pod_security_is_restricted,
    the_configuration_loads,
    the_grace_period_is_long_enough,
    the_mesh_resends_nothing_that_was_heard,
    the_network_policy_lets_no_more_through,
    the_network_policy_lets_through,
    the_pods_are_scraped_once,
    the_ports_agree,
    the_probes_are_answered,
    the_sidecar_lets_the_pod_live,
    the_sizes_fit,
    violations,
)
from tests.support.manifests.objects import Render, group
from tests.support.manifests.render import COMPONENTS, kustomize

Change = Callable[[Render], Render]

EVERYTHING = tuple(name for name in COMPONENTS if name not in {"tls", "persistence"})
POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
INIT = {
    "name": "check-dependencies",
    "image": "busybox:1.36",
    "command": ["sh", "-c", "until nc -z otel-collector 4318"],
}


def each(kind: str, name: str, change: Callable[[list[Any]], list[Any]], api: str = "") -> Change:
    """Put what `change` makes of the objects of a kind whose name is, or else begins with, `name` in their place."""

    def of_a(render: Render) -> Render:
        of_kind = [each for each in render.objects if each["kind"] == kind and group(each).startswith(api)]
        named = [each for each in of_kind if each["metadata"]["name"] == name]
        meant = named or [each for each in of_kind if each["metadata"]["name"].startswith(name)]
        assert meant, f"there is no {kind}/{name}"
        others = [each for each in render.objects if not any(each is one for one in meant)]
        return replace(render, objects=(*others, *change(copy.deepcopy(meant))))

    return of_a


def put(kind: str, name: str, *path: str | int, value: object, api: str = "") -> Change:
    """Write `value` at a path of an object; a list at its end is appended to."""

    def change(meant: list[Any]) -> list[Any]:
        for manifest in meant:
            above = reduce(
                lambda at, key: at.setdefault(key, {}) if isinstance(at, dict) else at[key], path[:-1], manifest
            )
            if path[-1] == "+":
                above.append(value)
            else:
                above[path[-1]] = value
        return meant

    return each(kind, name, change, api)


def cut(kind: str, name: str, *path: str | int, api: str = "") -> Change:
    """Leave out what is at a path of an object, or without a path the object."""

    def change(meant: list[Any]) -> list[Any]:
        for manifest in meant:
            above = reduce(lambda at, key: at[key], path[:-1], manifest)
            del above[path[-1]]
        return meant

    return each(kind, name, change if path else lambda _: [], api)


def tell(**environment: str) -> Change:
    """Give the service variables beside those that it has."""
    variables = [{"name": name, "value": value} for name, value in environment.items()]

    def change(meant: list[Any]) -> list[Any]:
        for manifest in meant:
            manifest["spec"]["template"]["spec"]["containers"][0]["env"] += variables
        return meant

    return each("Deployment", "otlp-service", change)


def both(first: Change, second: Change) -> Change:
    return lambda render: second(first(render))


def ours(*path: str | int, value: object) -> Change:
    return put("Deployment", "otlp-service", *path, value=value)


DEFECTS: dict[Invariant, list[tuple[Change, str]]] = {
    every_reference_is_there: [
        (cut("ServiceAccount", "otlp-service"), "there is no ServiceAccount/otlp-service"),
        (cut("ConfigMap", "otlp-env"), "there is no ConfigMap/otlp-env"),
        (lambda render: replace(render, given=()), "there is no Secret/otlp-secrets"),
        (ours(*POD, "volumes", 0, "secret", "items", 0, "key", value="key"), "Secret/otlp-secrets has no key 'key'"),
        (
            ours(*POD, "volumes", 2, value={"name": "data", "persistentVolumeClaim": {"claimName": "otlp"}}),
            "there is no PersistentVolumeClaim/otlp",
        ),
        (ours(*CONTAINER, "volumeMounts", 0, "name", value="keys"), "there is no volume 'keys'"),
        (
            ours(
                *CONTAINER,
                "env",
                "+",
                value={"name": "A", "valueFrom": {"secretKeyRef": {"name": "otlp-secrets", "key": "url"}}},
            ),
            "Secret/otlp-secrets has no key 'url'",
        ),
        (ours(*CONTAINER, "livenessProbe", "httpGet", "port", value="web"), "livenessProbe asks the port 'web'"),
        (ours("spec", "serviceName", value="pods"), "there is no Service/pods"),
        (put("Service", "otlp-service", "spec", "ports", 0, "targetPort", value="web"), "has no port 'web'"),
        (put("Service", "otel-collector", "spec", "ports", 0, "targetPort", value=4319), "has no port 4319"),
        (
            put("NetworkPolicy", "otel-collector", "spec", "ingress", 1, "ports", 0, "port", value="prometheus"),
            "NetworkPolicy/otel-collector: Deployment/otel-collector has no port 'prometheus'",
        ),
        (
            put("HorizontalPodAutoscaler", "otlp", "spec", "scaleTargetRef", "kind", value="StatefulSet"),
            "there is no StatefulSet/otlp-service",
        ),
        (
            put("VerticalPodAutoscaler", "otlp", "spec", "targetRef", "name", value="otlp"),
            "there is no Deployment/otlp",
        ),
        (
            put("ServiceMonitor", "otlp", "spec", "endpoints", 0, "port", value="prometheus"),
            "has the port 'prometheus'",
        ),
        (
            put(
                "Ingress",
                "otlp-service",
                "spec",
                "rules",
                0,
                "http",
                "paths",
                0,
                "backend",
                "service",
                "port",
                value={"number": 80},
            ),
            "Service/otlp-service has no port 80",
        ),
        (
            put("Ingress", "otlp", "spec", "rules", 0, "http", "paths", 0, "backend", "service", "name", value="otlp"),
            "there is no Service/otlp",
        ),
        (
            both(
                cut("Ingress", "otlp", "metadata", "annotations"),
                cut("Gateway", "otlp", "metadata", "annotations", api="gateway"),
            ),
            "no Secret/otlp-tls",
        ),
        (put("Gateway", "otlp", "spec", "listeners", 0, "name", value="web", api="gateway"), "no listener 'otlp-http'"),
        (put("HTTPRoute", "otlp", "spec", "rules", 0, "backendRefs", 0, "port", value=80), "has no port 80"),
        (put("GRPCRoute", "otlp", "spec", "parentRefs", 0, "name", value="public"), "there is no Gateway/public"),
        (
            put("VirtualService", "otlp", "spec", "http", 0, "route", 0, "destination", "host", value="otlp"),
            "there is no Service/otlp",
        ),
        (put("VirtualService", "otlp", "spec", "gateways", 1, value="public"), "there is no Gateway/public"),
        (put("DestinationRule", "otlp", "spec", "host", value="otlp"), "there is no Service/otlp"),
        (put("Service", "otel-collector", "metadata", "namespace", value="default"), "in several namespaces"),
        (put("Namespace", "otlp", "metadata", "name", value="otlp"), "there is no Namespace/otlp-system"),
    ],
    every_selector_chooses: [
        (ours("spec", "selector", "matchLabels", "app", value="otlp"), "does not choose its own pods"),
        (
            ours(*POD, "topologySpreadConstraints", 0, "labelSelector", "matchLabels", "app", value="otlp"),
            "does not choose its own pods",
        ),
        (put("Service", "otlp-service", "spec", "selector", value={"app": "otlp"}), "chooses nothing"),
        (
            put("PodDisruptionBudget", "otlp", "spec", "selector", "matchLabels", "app", value="otlp"),
            "PodDisruptionBudget/otlp-service: its selector",
        ),
        (
            put("NetworkPolicy", "otel-collector", "spec", "podSelector", "matchLabels", "app", value="collector"),
            "NetworkPolicy/otel-collector: its selector",
        ),
        (put("ServiceMonitor", "otlp", "spec", "selector", "matchLabels", "app", value="otlp"), "chooses no Service"),
    ],
    every_host_is_there: [
        (tell(OTLP_EXPORTER__ENDPOINT="http://collector:4318"), "no Service of the name 'collector'"),
        (tell(OTLP_EXPORTER__LOGS_ENDPOINT="http://logs.otlp-system.svc:80/v1/logs"), "exporter.logs_endpoint"),
        (tell(OTLP_EXPORTER__ENDPOINT="http://otel-collector:55681"), "Service/otel-collector has no port 55681"),
        (tell(OTLP_SHUTDOWN__HANDOFF="http://otlp:8080"), "shutdown.handoff: there is no Service"),
        (cut("Service", "otel-collector"), "no Service of the name 'otel-collector'"),
    ],
    no_secret_is_in_the_environment: [
        (
            ours(*CONTAINER, "envFrom", "+", value={"secretRef": {"name": "otlp-secrets"}}),
            "has all of Secret/otlp-secrets in its environment",
        ),
    ],
    a_read_only_root_has_what_is_written_to: [
        (cut("Deployment", "otlp-service", *CONTAINER, "volumeMounts", 3), "cannot write to /tmp"),
        (ours(*CONTAINER, "volumeMounts", 2, "readOnly", value=True), "cannot write to /data"),
        (tell(OTLP_QUEUE__DIRECTORY="/var/lib/otlp"), "cannot write to /var/lib/otlp"),
        (
            ours(*POD, "initContainers", value=[INIT | {"securityContext": {"readOnlyRootFilesystem": True}}]),
            "check-dependencies cannot",
        ),
    ],
    pod_security_is_restricted: [
        (ours(*POD, "initContainers", value=[INIT]), "check-dependencies: allowPrivilegeEscalation is not false"),
        (ours(*POD, "initContainers", value=[INIT]), "check-dependencies: not all capabilities are dropped"),
        (ours(*POD, "hostNetwork", value=True), "hostNetwork"),
        (ours(*POD, "securityContext", "sysctls", value=[{"name": "a", "value": "b"}]), "sysctls"),
        (ours(*POD, "volumes", "+", value={"name": "host", "hostPath": {"path": "/"}}), "the volume 'host'"),
        (ours(*CONTAINER, "securityContext", "privileged", value=True), "privileged"),
        (ours(*CONTAINER, "securityContext", "runAsUser", value=0), "it runs as root"),
        (ours(*CONTAINER, "securityContext", "runAsNonRoot", value=False), "runAsNonRoot is not true"),
        (ours(*CONTAINER, "securityContext", "capabilities", "add", value=["NET_RAW"]), "['NET_RAW'] are added"),
        (ours(*CONTAINER, "securityContext", "procMount", value="Unmasked"), "procMount"),
        (ours(*CONTAINER, "ports", 0, "hostPort", value=80), "hostPort"),
        (cut("Deployment", "otlp-service", *POD, "securityContext", "seccompProfile"), "no seccompProfile"),
        (put("Namespace", "otlp", "metadata", "labels", value={}), "pod-security.kubernetes.io/enforce"),
        (cut("Namespace", "otlp", "metadata", "labels", "pod-security.kubernetes.io/warn"), "io/warn: restricted"),
    ],
    autoscalers_do_not_fight: [
        (put("VerticalPodAutoscaler", "otlp", "spec", "updatePolicy", "updateMode", value="Auto"), "it acts on cpu"),
        (cut("VerticalPodAutoscaler", "otlp", "spec", "updatePolicy"), "it acts on cpu"),
    ],
    no_replicas_beside_an_autoscaler: [(ours("spec", "replicas", value=3), "replicas 3 beside")],
    each_route_speaks_its_port: [
        (
            put(
                "Ingress",
                "otlp-service",
                "metadata",
                "annotations",
                "nginx.ingress.kubernetes.io/backend-protocol",
                value="GRPC",
            ),
            "it speaks GRPC to otlp-service:http, which speaks HTTP",
        ),
        (
            put(
                "Ingress",
                "otlp-service-grpc",
                "spec",
                "rules",
                0,
                "http",
                "paths",
                0,
                "backend",
                "service",
                "port",
                value={"number": 4318},
            ),
            "it speaks GRPC to otlp-service:4318, which speaks HTTP",
        ),
        (put("Ingress", "otlp", "spec", "rules", 0, "http", "paths", 0, "path", value="/"), "/ is no path of OTLP"),
        (
            put("Ingress", "otlp", "spec", "rules", 0, "http", "paths", 0, "path", value="/health/ready"),
            "/health/ready is no path of OTLP",
        ),
        (put("GRPCRoute", "otlp", "spec", "rules", 0, "backendRefs", 0, "port", value=8080), "which speaks HTTP"),
        (cut("HTTPRoute", "otlp", "spec", "rules", 0, "matches"), "/ is no path of OTLP"),
        (put("GRPCRoute", "otlp", "spec", "rules", 0, "matches", 0, "method", value={}), "/ is no path of OTLP"),
        (
            put("VirtualService", "otlp", "spec", "http", 1, "route", 0, "destination", "port", "number", value=8080),
            "leads from 4317 (GRPC) to 8080 (HTTP)",
        ),
        (
            put("VirtualService", "otlp", "spec", "http", 0, "match", 2, "uri", value={"prefix": "/"}),
            "lets / in from outside",
        ),
        (
            put(
                "VirtualService",
                "otlp",
                "spec",
                "http",
                0,
                "match",
                0,
                value={"port": 443, "gateways": ["otlp-service"]},
            ),
            "lets everything in from outside",
        ),
        (
            put("VirtualService", "otlp", "spec", "http", 1, "match", 1, "uri", value={"exact": "/v1/logs"}),
            "leads /v1/logs to a port that speaks GRPC",
        ),
    ],
    every_route_names_its_port: [
        (put("VirtualService", "otlp", "spec", "http", 0, "match", value=[{"uri": {"prefix": "/"}}]), "without a port"),
        (cut("VirtualService", "otlp", "spec", "http", 2, "match"), "without a port"),
        (put("VirtualService", "otlp", "spec", "gateways", value=["otlp-service"]), "is for mesh, which"),
        (cut("VirtualService", "otlp", "spec", "http", 0, "route", 0, "destination", "port"), "leads to no port"),
    ],
    the_network_policy_lets_through: [
        (cut("NetworkPolicy", "otlp-service", "spec", "egress"), "ask for names (port 53, UDP)"),
        (
            put("NetworkPolicy", "otlp-service", "spec", "ingress", 0, "ports", value=[{"port": "http"}]),
            "the port 4317",
        ),
        (cut("NetworkPolicy", "otlp-service", "spec", "ingress", 1), "in at the port 9090"),
        (
            put(
                "NetworkPolicy",
                "otlp-service",
                "spec",
                "egress",
                1,
                "to",
                0,
                "podSelector",
                "matchLabels",
                value={"a": "b"},
            ),
            "lets it reach Deployment/otel-collector at 4318",
        ),
        (cut("NetworkPolicy", "otlp-service", "spec", "egress", 2), "lets it reach Deployment/otlp-service at 8080"),
        (
            put(
                "NetworkPolicy",
                "otel-collector",
                "spec",
                "ingress",
                0,
                "from",
                0,
                value={"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}},
            ),
            "lets Deployment/otlp-service in at 4318",
        ),
        (tell(OTEL_EXPORTER_OTLP_ENDPOINT="https://otlp.example.org"), "lets it reach otlp.example.org:443"),
    ],
    no_image_is_the_latest: [
        (ours(*CONTAINER, "image", value="ghcr.io/your-org/otlp-service:latest"), "is another image tomorrow"),
        (ours(*CONTAINER, "image", value="localhost:5000/otlp-service"), "is another image tomorrow"),
        (ours(*POD, "initContainers", value=[INIT | {"image": "busybox"}]), "busybox is another image tomorrow"),
    ],
    the_ports_agree: [
        (tell(OTLP_SERVER__HOST="127.0.0.1"), "nobody gets to server.host 127.0.0.1"),
        (tell(OTLP_METRICS__ENABLED="false"), "there is nothing to scrape"),
        (tell(OTLP_SERVER__PORT="8081"), "those of the configuration [4317, 8081, 9090]"),
        (cut("Deployment", "otlp-service", *CONTAINER, "ports", 1), "its ports are [8080, 9090]"),
        (lambda render: replace(render, exposed=frozenset({8080, 9090})), "the image exposes [8080, 9090]"),
        (
            put("ServiceMonitor", "otlp", "spec", "endpoints", 0, "path", value="/prometheus"),
            "it scrapes 9090/prometheus",
        ),
        (put("ServiceMonitor", "otlp", "spec", "endpoints", 0, "port", value="http"), "it scrapes 8080/metrics"),
        (
            ours(
                "spec",
                "template",
                "metadata",
                "annotations",
                value={"prometheus.io/scrape": "true", "prometheus.io/port": "80"},
            ),
            "Prometheus is sent to 80/metrics",
        ),
    ],
    the_probes_are_answered: [
        (ours(*CONTAINER, "readinessProbe", "httpGet", "path", value="/health"), "asks for /health"),
        (ours(*CONTAINER, "startupProbe", "httpGet", "port", value="grpc"), "asks the port 'grpc'"),
        (cut("Deployment", "otlp-service", *CONTAINER, "livenessProbe"), "it has no livenessProbe"),
        (
            tell(OTLP_SERVER__TLS__CERT_FILE="/app/tls/tls.crt", OTLP_SERVER__TLS__KEY_FILE="/app/tls/tls.key"),
            "where it is not answered without TLS",
        ),
    ],
    the_pods_are_scraped_once: [
        (
            put("ServiceMonitor", "otlp", "spec", "endpoints", 0, "scrapeTimeout", value="1m"),
            "1m is above the interval",
        ),
        (
            ours("spec", "template", "metadata", "annotations", "prometheus.io/scrape", value="true"),
            "for their annotations, and for a ServiceMonitor",
        ),
    ],
    the_grace_period_is_long_enough: [
        (ours(*POD, "terminationGracePeriodSeconds", value=30), "it is killed after 30s"),
        (cut("Deployment", "otlp-service", *POD, "terminationGracePeriodSeconds"), "it is killed after 30s"),
        (tell(OTLP_SHUTDOWN__GRACE="55s"), "shutdown.grace, 60s"),
        (
            ours(
                "spec",
                "template",
                "metadata",
                "annotations",
                "proxy.istio.io/config",
                value="terminationDrainDuration: 5s",
            ),
            "its proxy stays for 5s",
        ),
        (ours(*CONTAINER, "lifecycle", value={"preStop": {"sleep": {"seconds": 40}}}), "it is killed after 60s"),
        (
            ours("spec", "template", "metadata", "annotations", "proxy.istio.io/config", value="{}"),
            "its proxy has no terminationDrainDuration",
        ),
    ],
    a_disruption_budget_leaves_room: [
        (put("PodDisruptionBudget", "otlp", "spec", "maxUnavailable", value=0), "none may be evicted"),
        (put("PodDisruptionBudget", "otlp", "spec", "maxUnavailable", value="0%"), "none may be evicted"),
        (
            put(
                "PodDisruptionBudget",
                "otlp",
                "spec",
                value={"minAvailable": 3, "selector": {"matchLabels": {"app": "otlp-service"}}},
            ),
            "of 3 pods of Deployment/otlp-service none may be evicted",
        ),
    ],
    the_configuration_loads: [
        (tell(OTLP_SERVER__PRT="8080"), "OTLP_SERVER__PRT"),
        (tell(OTLP_QUEUE__WAIT="an hour"), "queue.wait"),
        (tell(OTEL_EXPORTER_OTLP_ENDPOINT="http://otel-collector:4317"), "has the port of gRPC"),
        (tell(OTLP_AUTH__API_KEYS_FILE="/app/secrets/keys"), "nothing is mounted as /app/secrets/keys"),
        (
            ours(*CONTAINER, "env", 0, "value", value="/app/config/prod.yaml"),
            "CONFIG_PATH: /app/config/prod.yaml is not",
        ),
    ],
    the_sizes_fit: [
        (tell(OTLP_QUEUE__MAX_BYTES="1GiB"), "1088MiB, its volume has 1024MiB"),
        (ours(*POD, "volumes", 2, "emptyDir", "sizeLimit", value="512Mi"), "its volume has 512MiB"),
        (tell(OTLP_QUEUE__DIRECTORY="/var/lib/otlp"), "its volume has 0MiB"),
        (ours(*POD, "volumes", 2, "emptyDir", "sizeLimit", value="2Gi"), "above the limit of ephemeral-storage"),
        (ours(*POD, "volumes", 3, "emptyDir", value={}), "above the limit of ephemeral-storage"),
        (ours(*CONTAINER, "resources", "limits", "memory", value="128Mi"), "it may take 256MiB of memory"),
    ],
    every_name_may_be_one: [
        (put("Service", "otlp-service", "metadata", "name", value="otlp.service"), "it cannot be called so"),
        (put("NetworkPolicy", "otlp", "metadata", "name", value="Policy"), "NetworkPolicy/Policy"),
        (put("Service", "otlp-service", "metadata", "labels", "version", value="a" * 64), "cannot be a label"),
        (ours("spec", "template", "metadata", "labels", "a b", value="c"), "its pods: a b: c cannot be a label"),
        (ours("spec", "template", "metadata", "annotations", "a b", value="c"), "'a b' cannot be an annotation"),
        (tell(**{"1A": "b"}), "no variable can be called '1A'"),
        (ours(*CONTAINER, "env", 1, "value", value="a"), "POD_NAME has a value and a valueFrom"),
        (ours(*CONTAINER, "ports", 1, "name", value="opentelemetry-grpc"), "called 'opentelemetry-grpc'"),
    ],
    every_word_is_one_of_its_kind: [
        (ours("spec", "strategy", "type", value="Rolling"), "strategy.type: Rolling is none of Recreate"),
        (ours(*CONTAINER, "imagePullPolicy", value="Sometimes"), "imagePullPolicy: Sometimes"),
        (put("Service", "otlp-service", "spec", "ports", 0, "protocol", value="HTTP"), "protocol: HTTP"),
        (put("Service", "otlp-service", "spec", "type", value="Public"), "spec.type: Public"),
        (put("Ingress", "otlp", "spec", "rules", 0, "http", "paths", 0, "pathType", value="Regex"), "pathType: Regex"),
        (put("NetworkPolicy", "otlp-service", "spec", "policyTypes", "+", value="Outward"), "policyTypes: Outward"),
        (
            put("HorizontalPodAutoscaler", "otlp", "spec", "behavior", "scaleUp", "selectPolicy", value="Most"),
            "selectPolicy: Most",
        ),
        (
            put("HorizontalPodAutoscaler", "otlp", "spec", "behavior", "scaleUp", "policies", 0, "type", value="Share"),
            "policies.type: Share",
        ),
    ],
    nothing_is_said_twice: [
        (tell(POD_NAME="a"), "the variable POD_NAME is there 2 times"),
        (ours(*POD, "volumes", "+", value={"name": "data", "emptyDir": {}}), "the volume data is there 2 times"),
        (
            ours(*CONTAINER, "volumeMounts", "+", value={"name": "data", "mountPath": "/app/config"}),
            "the mount /app/config is there 2 times",
        ),
        (ours(*CONTAINER, "ports", 1, "containerPort", value=8080), "the port 8080/TCP is there 2 times"),
        (put("Service", "otlp-service", "spec", "ports", 0, "port", value=4318), "the port 4318/TCP is there 2 times"),
        (put("Service", "otlp-service", "spec", "ports", 0, "name", value="grpc"), "the port grpc is there 2 times"),
        (put("Service", "otlp-service-headless", "metadata", "name", value="otlp-service"), "the object v1 Service/"),
    ],
    nothing_that_cannot_change_has_a_version: [
        (ours("spec", "selector", "matchLabels", "app.kubernetes.io/version", value="0.1.0"), "app.kubernetes.io/vers"),
    ],
    every_root_is_read_only: [
        (ours(*CONTAINER, "securityContext", "readOnlyRootFilesystem", value=False), "readOnlyRootFilesystem"),
        (cut("Deployment", "otel-collector", *CONTAINER, "securityContext", "readOnlyRootFilesystem"), "otel-coll"),
    ],
    a_pod_gets_nothing_that_it_does_not_use: [
        (cut("Deployment", "otlp-service", *POD, "enableServiceLinks"), "it has variables of every Service"),
        (ours(*POD, "automountServiceAccountToken", value=True), "it has a token of the API server"),
        (cut("Deployment", "otel-collector", *POD, "automountServiceAccountToken"), "it has a token"),
        (cut("ServiceAccount", "otlp-service", "automountServiceAccountToken"), "pods get its token"),
    ],
    every_container_says_what_it_takes: [
        (cut("Deployment", "otlp-service", *CONTAINER, "resources", "limits", "memory"), "no limit, of memory"),
        (cut("Deployment", "otel-collector", *CONTAINER, "resources"), "otel-collector has no request"),
        (ours(*CONTAINER, "resources", "requests", "cpu", value="2"), "asks for 2 of cpu, above 1000m"),
        (ours(*POD, "initContainers", value=[INIT]), "check-dependencies has no request"),
    ],
    an_autoscaler_has_something_to_go_by: [
        (cut("HorizontalPodAutoscaler", "otlp", "spec", "metrics"), "it has no metric"),
        (cut("Deployment", "otlp-service", *CONTAINER, "resources"), "share of the cpu that otlp-service asks for"),
        (put("HorizontalPodAutoscaler", "otlp", "spec", "minReplicas", value=30), "30 are above maxReplicas 20"),
    ],
    each_service_says_what_its_ports_speak: [
        (cut("Service", "otlp-service-headless", "spec", "ports", 1, "appProtocol"), "appProtocol of 4317 is None"),
        (put("Service", "otlp-service", "spec", "ports", 1, "appProtocol", value="grpc"), "4318 is grpc, and not http"),
        (put("Service", "otlp-service", "spec", "sessionAffinity", value="ClientIP"), "sessionAffinity keeps"),
    ],
    a_listener_is_for_one_kind_of_route: [
        (
            put("GRPCRoute", "otlp", "spec", "parentRefs", 0, "sectionName", value="otlp-http"),
            "an HTTPRoute and a GRPCRoute share otlp.example.com",
        ),
    ],
    large_requests_come_through: [
        (tell(OTLP_SERVER__MAX_REQUEST_SIZE="32MiB"), "proxy-body-size 16m is below server.max_request_size, 32MiB"),
        (
            cut(
                "Ingress", "otlp-service-grpc", "metadata", "annotations", "nginx.ingress.kubernetes.io/proxy-body-size"
            ),
            "proxy-body-size 1m is below",
        ),
    ],
    the_network_policy_lets_no_more_through: [
        (cut("NetworkPolicy", "otlp-service", "spec", "ingress", 1, "from"), "lets anybody in at 9090"),
        (
            put("NetworkPolicy", "otlp-service", "spec", "ingress", 1, "from", 0, value={"namespaceSelector": {}}),
            "9090",
        ),
        (cut("NetworkPolicy", "otlp-service", "spec", "ingress", 0, "ports"), "or everywhere"),
        (cut("NetworkPolicy", "otlp-service", "spec", "egress", 1, "to"), "reach anybody at ['4317', '4318']"),
        (
            cut("NetworkPolicy", "otlp-service", "spec", "egress", 1, "to", 0, "podSelector", "matchLabels"),
            "reach anybody at ['4317', '4318']",
        ),
        (cut("NetworkPolicy", "otlp-service", "spec", "egress", 0, "ports"), "reach anybody at every port"),
    ],
    the_sidecar_lets_the_pod_live: [
        (cut("NetworkPolicy", "otlp-service-sidecar"), "no NetworkPolicy lets its proxy reach the control plane"),
        (
            put("NetworkPolicy", "otlp-service-sidecar", "spec", "egress", 0, "ports", 0, "port", value=15010),
            "lets its proxy reach the control plane",
        ),
        (
            ours(
                *("spec", "template", "metadata", "annotations", "proxy.istio.io/config"),
                value="terminationDrainDuration: 40s",
            ),
            "holdApplicationUntilProxyStarts",
        ),
        (
            cut(
                "Deployment",
                "otlp-service",
                *("spec", "template", "metadata", "annotations", "sidecar.istio.io/rewriteAppHTTPProbers"),
            ),
            "livenessProbe asks the port 'http' through a proxy",
        ),
        (
            cut(
                "Deployment",
                "otlp-service",
                *("spec", "template", "metadata", "annotations", "traffic.sidecar.istio.io/excludeInboundPorts"),
            ),
            "a Prometheus that is not in the mesh does not get to 9090",
        ),
        (
            cut("DestinationRule", "otlp", "spec", "trafficPolicy", "portLevelSettings"),
            "the mesh encrypts what goes to 9090",
        ),
    ],
    the_mesh_resends_nothing_that_was_heard: [
        (
            put("VirtualService", "otlp", "spec", "http", 0, "retries", "retryOn", value="5xx,refused-stream"),
            "the route 'http' is tried again on 5xx",
        ),
        (cut("VirtualService", "otlp", "spec", "http", 1, "retries"), "the route 'grpc' has the mesh's own retries"),
        (
            put(
                *("DestinationRule", "otlp", "spec", "trafficPolicy", "connectionPool", "http"),
                "maxRequestsPerConnection",
                value=2,
            ),
            "maxRequestsPerConnection closes",
        ),
        (
            put(
                *("DestinationRule", "otlp", "spec", "trafficPolicy", "outlierDetection", "consecutive5xxErrors"),
                value=5,
            ),
            "ejected for an honest 503",
        ),
    ],
}


@pytest.mark.parametrize(
    ("invariant", "change", "told"),
    [
        pytest.param(invariant, change, told, id=f"{invariant.__name__}: {told}")
        for invariant, defects in DEFECTS.items()
        for change, told in defects
    ],
)
def test_a_defect_is_caught(invariant: Invariant, change: Change, told: str) -> None:
    whole = kustomize(*EVERYTHING)
    assert list(invariant(whole)) == []
    found = list(invariant(change(whole)))
    assert any(told in mistake for mistake in found), found


def test_every_invariant_has_a_defect_that_it_catches() -> None:
    assert set(DEFECTS) == set(INVARIANTS)


def test_a_claim_that_is_too_small_is_caught() -> None:
    whole = kustomize("persistence", "collector")
    path = ("spec", "volumeClaimTemplates", 0, "spec", "resources", "requests", "storage")
    small = put("StatefulSet", "otlp-service", *path, value="4Gi")(whole)
    assert any("its volume has 4096MiB" in mistake for mistake in the_sizes_fit(small))
    # A claim that is shared is another object.
    data = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    shared = put("StatefulSet", "otlp-service", *POD, "volumes", "+", value=data)(
        cut("StatefulSet", "otlp-service", "spec", "volumeClaimTemplates")(whole)
    )
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"resources": {"requests": {"storage": "1Gi"}}},
    }
    assert any(
        "its volume has 1024MiB" in told for told in the_sizes_fit(replace(shared, objects=(*shared.objects, claim)))
    )


def test_a_statefulset_that_could_not_be_upgraded_is_caught() -> None:
    whole = kustomize("persistence", "collector")
    labels = ("spec", "volumeClaimTemplates", 0, "metadata", "labels")
    labelled = put("StatefulSet", "otlp-service", *labels, value={"app.kubernetes.io/version": "0.1.0"})(whole)
    assert any("the next version could not be applied" in told for told in violations(labelled))
    other = put("StatefulSet", "otlp-service", "spec", "serviceName", value="otlp-service")(whole)
    assert any("Service/otlp-service does not name its pods" in told for told in violations(other))
    both_of_them = put("StatefulSet", "otlp-service", *POD, "volumes", "+", value={"name": "data", "emptyDir": {}})(
        whole
    )
    assert any("the volume data is there 2 times" in told for told in violations(both_of_them))


def test_the_mutual_form_of_tls_needs_its_files() -> None:
    whole = kustomize("tls", "collector")
    assert violations(whole) == []
    mutual = tell(
        OTLP_SERVER__TLS__CLIENT_CA_FILE="/app/tls/ca.crt",
        OTLP_EXPORTER__TLS__CERT_FILE="/app/tls/tls.crt",
        OTLP_EXPORTER__TLS__KEY_FILE="/app/tls/tls.key",
    )(whole)
    assert violations(mutual) == []
    other = tell(OTLP_SERVER__TLS__CLIENT_CA_FILE="/app/tls/clients.crt")(whole)
    assert any("nothing is mounted as /app/tls/clients.crt" in told for told in violations(other))


def test_a_render_without_the_service_is_no_render_of_it() -> None:
    with pytest.raises(LookupError, match="none is the service"):
        violations(Render(()))
