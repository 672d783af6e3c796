"""Everything that Helm renders of the chart: it is what kustomize renders, and keeps what has to hold."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.dockerfile import exposed
from tests.support.manifests.chart import CHART, RELEASE, ChartError, chart, lint, load, notes, templates
from tests.support.manifests.configuration import settings_of, told
from tests.support.manifests.equality import differences
from tests.support.manifests.invariants import violations
from tests.support.manifests.objects import Render, matches, name_of
from tests.support.manifests.render import COLLECTOR, given, kustomize
from tests.support.manifests.schemas import NEWEST, OLDEST, mistakes

Values = dict[str, Any]

ELSEWHERE = "collector.observability.svc"

# By the names of the components that they are as.
PARTS: dict[str, Values] = {
    "auth": {"auth": {"enabled": True, "existingSecret": "otlp-secrets"}},
    "gateway": {"gatewayApi": {"enabled": True}},
    "ingress": {"ingress": {"enabled": True}},
    "monitoring": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "autoscaling": {"targetRequestsPerSecond": "1k"},
    },
    "persistence": {"persistence": {"enabled": True}},
    "tls": {"tls": {"enabled": True, "existingSecret": "otlp-service-tls"}},
    "vpa": {"verticalPodAutoscaler": {"enabled": True}},
}
ALL = tuple(part for part in PARTS if part != "tls")


def merged(*values: Mapping[str, Any]) -> Values:
    """One over the other, as Helm does it."""
    whole: Values = {}
    for each in values:
        for key, value in each.items():
            both = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping)
            whole[key] = merged(whole[key], value) if both else value
    return whole


def parts(*names: str) -> Values:
    return merged(*(PARTS[name] for name in names))


PAIRS = [pair for pair in combinations(PARTS, 2) if pair != ("gateway", "tls")]
SETS: dict[str, Values] = {
    "defaults": {},
    **PARTS,
    **{"+".join(pair): parts(*pair) for pair in PAIRS},
    "all": parts(*ALL),
    "keys of the chart": {"auth": {"enabled": True, "apiKeys": ["web:0123456789abcdef0123456789abcdef"]}},
    "mutual TLS": merged(PARTS["tls"], {"tls": {"clientCertificates": True}}),
    "mutual TLS, keys, ingress, claims": merged(
        parts("tls", "auth", "ingress", "persistence"), {"tls": {"clientCertificates": True}}
    ),
    "a collector elsewhere": {
        "collector": {"enabled": False},
        "config": {"exporter": {"endpoint": f"http://{ELSEWHERE}:4318"}},
    },
    "a collector elsewhere, over TLS": {
        "collector": {"enabled": False},
        "config": {"exporter": {"endpoint": f"https://{ELSEWHERE}"}},
        "networkPolicy": {"destination": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
    },
    "without autoscaling": {"autoscaling": {"enabled": False}},
    "one pod": {"autoscaling": {"enabled": False}, "replicaCount": 1, "config": {"shutdown": {"handoff": None}}},
    "other names": {"nameOverride": "gateway", "fullnameOverride": "otlp"},
    "long names": {"nameOverride": "n" * 63, "fullnameOverride": "f" * 63},
    "other ports": merged(
        parts("ingress", "monitoring", "persistence"),
        {"config": {"server": {"port": 8000, "grpc_port": 8001}, "metrics": {"port": 8002, "path": "/prometheus"}}},
        {"service": {"http": {"port": 80}, "otlpHttp": {"port": 81}, "grpc": {"port": 82}, "metrics": {"port": 83}}},
    ),
    "no policies": {
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "collector": {"networkPolicy": {"enabled": False}},
    },
    "two hosts": merged(
        parts("ingress", "gateway"),
        {"ingress": {"hosts": [{"host": "otlp.example.com"}, {"host": "otlp.example.org"}]}},
        {"gatewayApi": {"hostnames": ["otlp.example.com", "*.example.org"]}},
    ),
    "a gateway of somebody else": {
        "gatewayApi": {
            "enabled": True,
            "gateway": {"create": False},
            "httpParentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "grpcParentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "grpc"}],
        }
    },
    "a dashboard": {"grafanaDashboard": {"enabled": True, "annotations": {"grafana_folder": "Telemetry"}}},
    "no metrics": {"config": {"metrics": {"enabled": False}}},
    "an account of somebody else": {"serviceAccount": {"create": False, "name": "default"}},
}
SOMEBODY_ELSES = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}


def rendered(values: Values, name: str = RELEASE) -> Render:
    render = chart(values, name=name, hosts=frozenset({ELSEWHERE}))
    return replace(render, given=(*render.given, SOMEBODY_ELSES))


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_what_has_to_hold_holds(values: Values) -> None:
    assert violations(rendered(values)) == []


def test_the_values_that_are_shown_render_to_what_holds() -> None:
    page = (CHART.parents[1] / "docs/kubernetes.md").read_text()
    (shown,) = re.findall(r"```yaml\n# mine.yaml.*?\n(.*?)```", page, re.DOTALL)
    render = rendered(yaml.safe_load(shown))
    assert violations(render) == []
    assert render.gateway[0].manifest["kind"] == "StatefulSet"


@pytest.mark.parametrize("name", ["a", "telemetry", "otlp-service-of-the-shop", "x" * 53])
def test_it_may_be_called_anything(name: str) -> None:
    values = parts(*ALL)
    render = rendered(merged(values, {"auth": {"existingSecret": "otlp-secrets"}}), name)
    assert violations(render) == []
    assert all(len(manifest["metadata"]["name"]) <= 63 for manifest in render.objects)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_known_to_kubernetes_with_every_field(version: str) -> None:
    every = chain(*(rendered(values).objects for values in SETS.values()))
    once = {json.dumps(manifest, sort_keys=True): manifest for manifest in every}
    assert [mistake for manifest in once.values() for mistake in mistakes(manifest, version)] == []


@pytest.mark.parametrize(
    "components",
    [(), *((part,) for part in PARTS), ("ingress", "tls"), ("persistence", "vpa"), ALL],
    ids=lambda components: "+".join(components) or "defaults",
)
def test_it_is_what_kustomize_renders(components: tuple[str, ...]) -> None:
    # There `tls` comes after `ingress`, which it changes.
    base = kustomize("collector", *sorted(components, key=lambda name: name == "tls"))
    assert differences(base, rendered(parts(*components))) == []


def test_its_collector_is_that_of_the_component() -> None:
    def meaning(render: Render) -> Values:
        workload = next(each for each in render.workloads if each.manifest["metadata"]["name"] == COLLECTOR)
        (container,) = workload.containers
        service = render.find("Service", COLLECTOR) or {}
        (config,) = [
            next(iter(manifest["data"].values()))
            for manifest in render.kind("ConfigMap")
            if manifest["metadata"]["name"].startswith(COLLECTOR)
        ]
        policy = render.find("NetworkPolicy", COLLECTOR) or {}
        return {
            "configuration": yaml.safe_load(config),
            "image": container["image"],
            "replicas": workload.spec["replicas"],
            "strategy": workload.spec["strategy"],
            "resources": container["resources"],
            "security": (workload.pod["securityContext"], container["securityContext"]),
            "token": workload.pod["automountServiceAccountToken"],
            "listens": set(workload.ports.values()),
            "takes": {
                port["port"]: (port.get("appProtocol"), workload.port(port["targetPort"]))
                for port in service["spec"]["ports"]
                if port["port"] in {4317, 4318}
            },
            "probes": [
                workload.port(container[f"{probe}Probe"]["httpGet"]["port"]) for probe in ("liveness", "readiness")
            ],
            "writes": workload.volumes["tmp"],
            "peers": [rule.get("from") for rule in policy["spec"]["ingress"]],
        }

    assert meaning(rendered({})) == meaning(kustomize("collector"))


def test_a_plain_cluster_lacks_nothing_of_the_defaults() -> None:
    built_in = {"apps/v1", "autoscaling/v2", "batch/v1", "networking.k8s.io/v1", "policy/v1", "v1"}
    render = rendered({})
    assert {manifest["apiVersion"] for manifest in render.objects} <= built_in
    assert not list(render.kind("Ingress", "Secret"))


def test_every_object_says_of_which_release_it_is() -> None:
    for values in (parts(*ALL), SETS["keys of the chart"]):
        for manifest in rendered(values).objects:
            labels = manifest["metadata"]["labels"]
            assert labels["app.kubernetes.io/instance"] == RELEASE, manifest
            if manifest["kind"] != "Job" and not manifest["metadata"]["name"].startswith(COLLECTOR):
                assert labels["app.kubernetes.io/name"] == "otlp-service"
                assert labels["app.kubernetes.io/managed-by"] == "Helm"
                assert labels["helm.sh/chart"].startswith("otlp-service-")


def test_helm_test_is_a_hook_that_no_service_leads_to() -> None:
    render = rendered({})
    (job,) = [each for each in render.workloads if each.manifest["kind"] == "Job"]
    assert job.manifest["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert (job.spec["backoffLimit"], job.pod["restartPolicy"]) == (0, "Never")
    assert not any(job in render.behind(service) for service in render.kind("Service"))
    assert job.labels["app.kubernetes.io/name"] == "otlp-service-test"
    assert {each["imagePullPolicy"] for each in job.containers} == {"IfNotPresent"}
    (policy,) = [each for each in render.kind("NetworkPolicy") if each["metadata"]["name"] == RELEASE]
    assert policy["spec"]["egress"][1]["to"] == [
        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": COLLECTOR, "app.kubernetes.io/instance": RELEASE}}}
    ]


def test_the_alerts_are_those_of_the_component() -> None:
    (rules,) = rendered(PARTS["monitoring"]).kind("PrometheusRule")
    (own,) = kustomize("monitoring").kind("PrometheusRule")
    assert rules["spec"] == own["spec"], "helm/otlp-service/files/alerts.yaml and prometheusrule.yaml of k8s differ"


def test_the_dashboard_is_that_of_the_folder_config() -> None:
    (found,) = [each for each in rendered(SETS["a dashboard"]).kind("ConfigMap") if "otlp-service.json" in each["data"]]
    own = CHART.parents[1] / "config/grafana/otlp-service.json"
    assert json.loads(found["data"]["otlp-service.json"]) == json.loads(own.read_text())


@pytest.mark.parametrize("values", [{}, {"nameOverride": "gateway", "fullnameOverride": "otlp"}])
def test_prometheus_knows_it_by_the_name_that_alerts_have(values: Values) -> None:
    render = rendered(merged(PARTS["monitoring"], values))
    (monitor,) = render.kind("ServiceMonitor")
    chosen = [
        service["metadata"]["labels"]
        for service in render.kind("Service")
        if matches(monitor["spec"]["selector"], service["metadata"]["labels"])
    ]
    assert {labels[monitor["spec"]["jobLabel"]] for labels in chosen} == {"otlp-service"}
    (rules,) = render.kind("PrometheusRule")
    assert set(re.findall(r'job=\\"([^\\]*)', json.dumps(rules))) == {"otlp-service"}


@pytest.mark.parametrize("version", [f"v1.{minor}.0" for minor in range(30, 38)])
def test_helm_has_nothing_against_it(version: str) -> None:
    for values in ({}, parts(*ALL), SETS["mutual TLS"], SETS["a collector elsewhere"]):
        assert lint(values, kubernetes=version) == []


def test_the_configuration_is_that_of_the_base() -> None:
    assert settings_of(rendered({})) == settings_of(kustomize())


@pytest.mark.parametrize("values", ["defaults", "all", "keys of the chart", "a collector elsewhere, over TLS"])
def test_the_command_takes_what_is_rendered(tmp_path: Path, values: str) -> None:
    assert told(rendered(SETS[values])).check(tmp_path).endswith("no mistakes\n")


def test_the_configuration_rolls_the_pods_when_it_changes() -> None:
    before, after = rendered({}), rendered({"config": {"queue": {"wait": "2s"}}})
    assert before.gateway[0].spec["template"] != after.gateway[0].spec["template"]
    keys = SETS["keys of the chart"]
    changed = merged(keys, {"auth": {"apiKeys": ["web:another-key-of-thirty-two-letters"]}})
    assert rendered(keys).gateway[0].spec["template"] != rendered(changed).gateway[0].spec["template"]


def test_a_deployment_of_its_own_names_may_go_to_a_collector_elsewhere_for_a_signal() -> None:
    traces = {"config": {"exporter": {"traces_endpoint": f"https://{ELSEWHERE}/v1/traces"}}}
    render = rendered(traces)
    assert violations(render) == []
    (policy,) = [each for each in render.kind("NetworkPolicy") if each["metadata"]["name"] == RELEASE]
    assert [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["egress"]] == [
        [53, 53],
        [4317, 4318],
        [443],
        ["http"],
    ]


def test_certificates_that_the_configuration_names_stand_over_those_of_the_receivers() -> None:
    own = {"ca_file": "/app/tls/ca.crt", "cert_file": "/app/tls/tls.crt", "key_file": "/app/tls/tls.key"}
    mutual = merged(PARTS["tls"], {"tls": {"clientCertificates": True}})
    render = rendered(merged(mutual, {"config": {"exporter": {"tls": own}}}))
    assert violations(render) == []
    names = told(render).environment.keys()
    assert "OTLP_SERVER__TLS__CLIENT_CA_FILE" in names
    assert not any(name.startswith("OTLP_EXPORTER__TLS__") for name in names)
    assert "OTLP_EXPORTER__TLS__CA_FILE" in told(rendered(mutual)).environment


def test_what_is_asked_for_stands_over_what_is_the_charts_own() -> None:
    body = "nginx.ingress.kubernetes.io/proxy-body-size"
    values: Values = {
        "podAnnotations": {"prometheus.io/scrape": "false"},
        "ingress": {"annotations": {body: "32m"}, "grpcAnnotations": {body: "64m"}},
        "serviceMonitor": {"labels": {"app": "a"}},
        "prometheusRule": {"labels": {"app": "b"}},
        "grafanaDashboard": {"enabled": True, "labels": {"app": "c"}},
    }
    render = rendered(merged(parts("ingress", "monitoring"), values))
    assert render.gateway[0].annotations["prometheus.io/scrape"] == "false"
    assert sorted(each["metadata"]["annotations"][body] for each in render.kind("Ingress")) == ["32m", "64m"]
    labelled = render.kind("ServiceMonitor", "PrometheusRule", "ConfigMap")
    assert {"a", "b", "c"} <= {each["metadata"]["labels"].get("app") for each in labelled}


def test_a_probe_that_names_the_port_by_number_asks_the_admin_port_too_where_there_is_tls() -> None:
    assert violations(rendered(merged(PARTS["tls"], {"livenessProbe": {"httpGet": {"port": 8080}}}))) == []


def immutable(render: Render) -> dict[str, Any]:
    """What an API server lets nobody change, by object."""
    found: dict[str, Any] = {}
    for workload in render.workloads:
        if workload.manifest["kind"] != "Job":  # a hook, made anew each time
            keys = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
            found[str(workload)] = {key: workload.spec[key] for key in keys if key in workload.spec}
    for service in render.kind("Service"):
        found[name_of(service)] = service["spec"].get("clusterIP")
    return found


NEW_NAMES = {"other names", "long names"}


@pytest.mark.parametrize("claims", [False, True])
def test_an_upgrade_changes_nothing_that_cannot_be_changed(tmp_path: Path, claims: bool) -> None:
    own = PARTS["persistence"] if claims else {}
    before = immutable(rendered(own))
    assert "StatefulSet/otlp-service" in before if claims else "Deployment/otlp-service" in before
    for name in [each for each in SETS if "+" not in each and each not in NEW_NAMES]:
        after = immutable(rendered(merged(SETS[name], {"persistence": {"enabled": claims}})))
        assert {key: after[key] for key in before if key in after} == {
            key: fields for key, fields in before.items() if key in after
        }
        assert before.keys() - after.keys() <= {f"Deployment/{COLLECTOR}", f"Service/{COLLECTOR}"}
    newer = tmp_path / "otlp-service"
    shutil.copytree(CHART, newer)
    about = newer / "Chart.yaml"
    about.write_text(about.read_text().replace("ersion: 0.1.0", "ersion: 2.0.0").replace('"0.1.0"', '"2.0.0"'))
    files = templates(own, path=newer)
    assert "2.0.0" in files["otlp-service/templates/configmap.yaml"]
    after = immutable(Render(tuple(chain(*(load(text) for path, text in files.items() if "NOTES" not in path)))))
    assert after == before


# What its values can do against an invariant: each is told.
DEFECTS: list[tuple[Values, str]] = [
    ({"extraEnv": [{"name": "OTLP_SHUTDOWN__GRACE", "value": "2m"}]}, "it is killed after 60s"),
    ({"extraEnv": [{"name": "OTLP_QUEUE__MAX_BYTES", "value": "2GiB"}]}, "2112MiB, its volume has 1024MiB"),
    ({"extraEnv": [{"name": "OTLP_QUEUE__DIRECTORY", "value": "/var/lib/otlp"}]}, "cannot write to /var/lib/otlp"),
    (
        {"config": {"exporter": {"logs_endpoint": "http://collector:4318/v1/logs"}}},
        "no Service of the name 'collector'",
    ),
    ({"collector": {"image": {"tag": "latest"}}}, "opentelemetry-collector:latest is another image tomorrow"),
    ({"collector": {"enabled": False}}, "no Service of the name 'otel-collector'"),
    ({"config": {"shutdown": {"handoff": "http://otlp:8080"}}}, "shutdown.handoff: there is no Service"),
    (
        {"collector": {"networkPolicy": {"allowIngressFrom": [{"podSelector": {"matchLabels": {"app": "otlp"}}}]}}},
        "lets Deployment/otlp-service in at 4318",
    ),
    (
        {"collector": {"nameOverride": "other", "ports": {"otlp-http": {"containerPort": 1}}}},
        "reach Deployment/otel-collector at 1",
    ),
    ({"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}, "it has no seccompProfile"),
    ({"securityContext": {"runAsUser": 0}}, "it runs as root"),
    ({"collector": {"securityContext": {"capabilities": {"drop": []}}}}, "collector: not all capabilities are dropped"),
    ({"collector": {"extraVolumeMounts": []}}, "collector cannot write to /tmp"),
    ({"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "the volume 'host'"),
    ({"auth": {"enabled": True, "existingSecret": "nowhere"}}, "nothing is mounted as /app/secrets/api-key"),
    ({"tls": {"enabled": True, "existingSecret": "nowhere"}}, "nothing is mounted as /app/tls/"),
    (
        merged(PARTS["ingress"], {"ingress": {"annotations": {"cert-manager.io/cluster-issuer": None}}}),
        "no Secret/otlp-tls",
    ),
    (
        merged(
            PARTS["gateway"],
            {
                "gatewayApi": {
                    "gateway": {"create": False},
                    "httpParentRefs": [{"name": "a"}],
                    "grpcParentRefs": [{"name": "b"}],
                }
            },
        ),
        "there is no Gateway/a",
    ),
    ({"readinessProbe": {"httpGet": {"path": "/health"}}}, "asks for /health"),
    ({"livenessProbe": {"httpGet": {"port": "grpc"}}}, "asks the port 'grpc'"),
    (
        merged(PARTS["monitoring"], {"podAnnotations": {"prometheus.io/scrape": "true"}}),
        "for their annotations, and for a",
    ),
    ({"podAnnotations": {"proxy.istio.io/config": "terminationDrainDuration: 5s"}}, "its proxy stays for 5s"),
    ({"extraEnv": [{"name": "OTLP_SERVER__PORT", "value": "8081"}]}, "those of the configuration [4317, 8081, 9090]"),
    ({"extraEnv": [{"name": "OTLP_SERVER__PRT", "value": "8081"}]}, "OTLP_SERVER__PRT"),
    ({"config": {"exporter": {"endpoint": "http://otel-collector:4317"}}}, "has the port of gRPC"),
    ({"serviceAccount": {"create": False, "name": "nobody"}}, "there is no ServiceAccount/nobody"),
]


@pytest.mark.parametrize(("values", "told"), DEFECTS, ids=[told for _, told in DEFECTS])
def test_a_value_that_breaks_something_is_caught(values: Values, told: str) -> None:
    found = violations(chart(values))
    assert any(told in mistake for mistake in found), found


# What no value can do, a slip in a template can.
SLIPS: list[tuple[str, str, str, Values, str]] = [
    ("vpa.yaml", '"Off"', "Auto", PARTS["vpa"], "it acts on cpu"),
    ("deployment.yaml", "{{- if not .Values.autoscaling.enabled }}", "{{- if true }}", {}, "replicas 3 beside"),
    ("statefulset.yaml", "-headless", "-pods", PARTS["persistence"], "there is no Service/otlp-service-pods"),
    (
        "_helpers.tpl",
        '"StatefulSet" "Deployment"',
        '"Deployment" "Deployment"',
        PARTS["persistence"],
        "no Deployment/otlp",
    ),
    ("ingress-grpc.yaml", '"GRPCS" "GRPC"', '"HTTPS" "HTTP"', PARTS["ingress"], "it speaks HTTP to otlp-service:grpc"),
    ("ingress.yaml", "/v1/{{ . }}", "/", PARTS["ingress"], "/ is no path of OTLP"),
    ("grpcroute.yaml", "service.grpc", "service.http", PARTS["gateway"], "which speaks HTTP"),
    ("httproute.yaml", '"http" .Values', '"web" .Values', PARTS["gateway"], "no listener 'otlp-web'"),
    ("service.yaml", "targetPort: grpc", "targetPort: otlp", {}, "has no port 'otlp'"),
    ("servicemonitor.yaml", "port: metrics", "port: http", PARTS["monitoring"], "it scrapes 8080/metrics"),
    ("networkpolicy.yaml", "port: 53", "port: 54", {}, "ask for names (port 53, UDP)"),
    ("networkpolicy.yaml", "port: grpc", "port: otlp", {}, "no NetworkPolicy lets anybody in at the port 4317"),
    (
        "networkpolicy.yaml",
        "matchLabels:\n      {{- include",
        "matchLabels:\n      a: b\n      {{- include",
        {},
        "chooses nothing",
    ),
    (
        "pdb.yaml",
        "maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}",
        "minAvailable: 3",
        {},
        "none may be evicted",
    ),
    (
        "_pod.tpl",
        "- name: tmp\n          mountPath: /tmp",
        "- name: tmp\n          mountPath: /cache",
        {},
        "cannot write to /tmp",
    ),
    ("_pod.tpl", '"port" "metrics"', '"port" "http"', PARTS["tls"], "where it is not answered without TLS"),
    ("_pod.tpl", "(not .Values.serviceMonitor.enabled)", "true", PARTS["monitoring"], "and for a ServiceMonitor"),
    (
        "_pod.tpl",
        "value: /app/config/production.yaml",
        "value: /app/production.yaml",
        {},
        "is not among the mounted files",
    ),
    (
        "_pod.tpl",
        "      env:",
        "      envFrom:\n        - secretRef:\n            name: otlp-secrets\n      env:",
        {},
        "has all of Secret",
    ),
    ("tests/send.yaml", "mountPath: /tmp", "mountPath: /cache", {}, "Job/otlp-service-test: http cannot write to /tmp"),
]


@pytest.mark.parametrize(
    ("file", "right", "wrong", "values", "told"), SLIPS, ids=[f"{each[0]}: {each[4]}" for each in SLIPS]
)
def test_a_slip_in_a_template_is_caught(
    tmp_path: Path, file: str, right: str, wrong: str, values: Values, told: str
) -> None:
    slipped = tmp_path / "otlp-service"
    shutil.copytree(CHART, slipped)
    template = slipped / "templates" / file
    assert right in template.read_text()
    template.write_text(template.read_text().replace(right, wrong))
    files = templates(values, path=slipped)
    objects = tuple(chain(*(load(text) for path, text in files.items() if "NOTES" not in path)))
    found = violations(Render(objects, given(), exposed=exposed()))
    assert any(told in mistake for mistake in found), found


# What is refused before anything is applied: where it is, what is wrong, and what to do.
REFUSED: list[tuple[Values, list[str]]] = [
    ({"replicaCount": "three"}, ["/replicaCount", "want integer"]),
    ({"imagee": {}}, ["'imagee' not allowed"]),
    ({"image": {"digest": "sha256:1"}}, ["/image/digest", "does not match pattern"]),
    ({"config": {"server": {"prt": 1}}}, ["/config/server", "'prt' not allowed"]),
    ({"config": {"queue": {"wait": "soon"}}}, ["/config/queue/wait", "'soon' does not match"]),
    ({"config": {"exporter": {"protocol": "udp"}}}, ["/config/exporter/protocol", "one of"]),
    ({"collector": {"imagee": {}}}, ["collector:", "'imagee' not allowed"]),
    ({"livenessProbe": {"httpGet": {"pat": "/"}}}, ["/livenessProbe/httpGet", "'pat' not allowed"]),
    ({"service": {"type": "External"}}, ["/service/type", "'ClusterIP', 'NodePort', 'LoadBalancer'"]),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, ["/podDisruptionBudget/maxUnavailable", "got 0, want 1"]),
    ({"persistence": {"accessMode": "ReadWriteMany"}}, ["/persistence/accessMode", "'ReadWriteOnce'"]),
    ({"env": [{"nam": "A"}]}, ["/env/0", "missing property 'name'", "'nam' not allowed"]),
    (
        {"auth": {"enabled": True}},
        ["auth.enabled: no keys; name a Secret with the key api-key in auth.existingSecret"],
    ),
    (
        {"auth": {"enabled": True, "existingSecret": "a", "apiKeys": ["a:b"]}},
        ["auth.apiKeys: they would not be used, because auth.existingSecret has the keys"],
    ),
    ({"tls": {"enabled": True}}, ["tls.enabled: no certificate; name a Secret"]),
    (parts("tls", "gateway"), ["gatewayApi.enabled: a gateway ends TLS"]),
    (
        {"gatewayApi": {"enabled": True, "gateway": {"create": False}}},
        ["name those that there are in gatewayApi.httpParentRefs"],
    ),
    ({"autoscaling": {"minReplicas": 30}}, ["autoscaling.minReplicas: 30 is above autoscaling.maxReplicas, 20"]),
    ({"image": None}, ["missing property 'image'"]),
    ({"startupProbe": None}, ["missing property 'startupProbe'"]),
    ({"service": {"grpc": {"port": None}}}, ["/service/grpc", "missing property 'port'"]),
    ({"image": {"tag": "latest"}}, ["image.tag: latest is another image tomorrow; write a version"]),
    ({"image": {"tag": "a b"}}, ["/image/tag", "'a b' does not match"]),
    ({"image": {"repository": "registry:5000/a:1"}}, ["image.repository: registry:5000/a:1 has a version; put it"]),
    ({"serviceAccount": {"name": "A B"}}, ["/serviceAccount/name", "'A B' does not match"]),
    ({"persistence": {"storageClass": "-"}}, ["/persistence/storageClass", "'-' does not match"]),
    ({"podLabels": {"a b": "c"}}, ['podLabels: Kubernetes takes no key "a b"; write letters']),
    ({"podLabels": {"app": "other"}}, ["podLabels: app is the chart's own", "use another"]),
    ({"extraEnv": [{"name": "1A", "value": "b"}]}, ["/extraEnv/0/name", "'1A' does not match"]),
    (
        {"extraEnv": [{"name": "PYTHONFAULTHANDLER", "value": "0"}]},
        ["env, extraEnv: PYTHONFAULTHANDLER is there already; leave one of the two out"],
    ),
    ({"extraEnv": [{"name": "CONFIG_PATH", "value": "/a"}]}, ["env, extraEnv: CONFIG_PATH is there already"]),
    (
        {"extraEnv": [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]},
        ["env, extraEnv: A has a value and a valueFrom"],
    ),
    ({"extraVolumes": [{"name": "data", "emptyDir": {}}]}, ["extraVolumes: there is a volume data already"]),
    (
        {"extraVolumeMounts": [{"name": "more", "mountPath": "/more"}]},
        ["extraVolumeMounts: there is no volume more; add it to extraVolumes"],
    ),
    ({"extraVolumeMounts": [{"name": "tmp", "mountPath": "/data"}]}, ["something is mounted at /data already"]),
    (
        {"auth": {"apiKeys": ["web:0123456789abcdef0123456789abcdef"]}},
        ["auth.apiKeys: nobody asks for them, and anybody may send; set auth.enabled"],
    ),
    ({"tls": {"clientCertificates": True}}, ["tls.clientCertificates: nobody asks for them", "set tls.enabled"]),
    (
        merged(PARTS["tls"], {"config": {"server": {"grpc_engine": "native"}}}),
        ["config.server.grpc_engine: native has no TLS; leave it out, or tls.enabled"],
    ),
    ({"config": {"server": {"host": "127.0.0.1"}}}, ["config.server.host: nobody outside", "write 0.0.0.0 or ::"]),
    (
        {"config": {"server": {"port": 4317}}},
        ["config.server.port, config.server.grpc_port and config.metrics.port are 4317, 4317, 9090; write three"],
    ),
    ({"config": {"metrics": {"port": 0}}}, ["8080, 4317, 0; write three different ones, none of them 0"]),
    (
        {"service": {"http": {"port": 4318}}},
        ["service: the ports of http, otlpHttp, grpc and metrics are 4318, 4318, 4317, 9090; write four"],
    ),
    (
        merged(PARTS["ingress"], {"ingress": {"maxBodySize": "8m"}}),
        ["ingress.maxBodySize: 8m is below config.server.max_request_size, 16MiB; raise it"],
    ),
    (
        merged(PARTS["ingress"], {"config": {"server": {"max_request_size": "32MiB"}}}),
        ["ingress.maxBodySize: 16m is below config.server.max_request_size, 32MiB"],
    ),
    (
        merged(PARTS["gateway"], {"gatewayApi": {"httpParentRefs": [{"name": "a"}]}}),
        ["they are not used, because a Gateway is made; set gatewayApi.gateway.create to false"],
    ),
    ({"config": {"exporter": None}}, ["config.exporter.endpoint: without it telemetry goes to the pod itself"]),
    (
        {"config": {"exporter": {"endpoint": "https://otlp.example.org"}}},
        ["collector.enabled: nothing goes to it", "https://otlp.example.org; set collector.enabled to false"],
    ),
    (
        {"collector": {"fullnameOverride": "collector"}},
        ["collector.enabled: nothing goes to it", "or write http://collector:4318 there"],
    ),
    ({"collector": {"mode": "daemonset"}}, ["/collector/mode", "'deployment'"]),
    ({"config": {"queue": {"directory": "/var/lib/otlp"}}}, ["config.queue.directory: /var/lib/otlp is not in"]),
    ({"config": {"queue": None}}, ["config.queue.directory: data/queue is not in the volume at /data"]),
    (
        {"config": {"queue": {"max_bytes": "1GiB"}}},
        ["config.queue.max_bytes: 1GiB and 64MiB beside it are above persistence.emptyDirSize, 1Gi; lower"],
    ),
    ({"config": {"queue": {"max_bytes": 1073741824}}}, ["config.queue.max_bytes: ", "above persistence.emptyDir"]),
    (
        merged(PARTS["persistence"], {"persistence": {"size": "4Gi"}}),
        ["config.queue.max_bytes: 4GiB and 64MiB beside it are above persistence.size, 4Gi"],
    ),
    (
        {"persistence": {"emptyDirSize": "2Gi"}},
        ["resources.limits.ephemeral-storage: 2Gi is not above tmpSize and persistence.emptyDirSize together"],
    ),
    ({"resources": {"limits": {"memory": "200Mi"}}}, ["resources.limits.memory: 200Mi is below", "raise it"]),
    (
        {"resources": {"limits": {"cpu": "500m"}}},
        ["resources.requests.cpu: 1000m is above resources.limits.cpu, 500m; lower the one or raise the other"],
    ),
    (
        {"terminationGracePeriodSeconds": 30},
        ["terminationGracePeriodSeconds: 30 is not above config.shutdown.delay, config.shutdown.grace", "30s, so"],
    ),
    ({"config": {"shutdown": {"grace": "1m30s"}}}, ["terminationGracePeriodSeconds: 60 is not above", ", 95s, so"]),
    ({"lifecycle": {"preStop": {"sleep": {"seconds": 40}}}}, ["terminationGracePeriodSeconds: 60", ", 70s, so"]),
    ({"autoscaling": {"targetCPUUtilizationPercentage": None}}, ["autoscaling.enabled: nothing to scale by; set"]),
    (
        {"resources": {"requests": {"cpu": None}, "limits": {"cpu": None}}},
        ["resources.requests.cpu: autoscaling goes by a share of it, and it is not set"],
    ),
    *(
        (merged(values, {"config": {"metrics": {"enabled": False}}}), [f"{key}: there are no metrics; set config."])
        for key, values in {
            "serviceMonitor.enabled": {"serviceMonitor": {"enabled": True}},
            "prometheusRule.enabled": {"prometheusRule": {"enabled": True}},
            "autoscaling.targetRequestsPerSecond": {"autoscaling": {"targetRequestsPerSecond": "1k"}},
        }.items()
    ),
    (
        {"serviceMonitor": {"interval": "5s"}},
        ["serviceMonitor.scrapeTimeout: 10s is above serviceMonitor.interval, 5s", "lower it"],
    ),
    (
        {"auth": {"enabled": True}, "tls": {"enabled": True}, "image": {"tag": "latest"}},
        ["auth.enabled: no keys", "tls.enabled: no certificate", "image.tag: latest"],
    ),
]


@pytest.mark.parametrize(("values", "told"), REFUSED)
def test_a_value_that_is_none_is_refused_with_its_place_and_what_is_wrong(values: Values, told: list[str]) -> None:
    with pytest.raises(ChartError) as refused:
        chart(values)
    assert all(each in str(refused.value) for each in told), refused.value


@pytest.mark.parametrize(
    ("values", "told", "untold"),
    [
        (
            {},
            [
                "=http://otlp-service.otlp-system:4317",
                "=http://otlp-service.otlp-system:4318",
                "deployment/otlp-service",
            ],
            ["outside"],
        ),
        (PARTS["tls"], ["=https://otlp-service.otlp-system:4317"], ["=http:"]),
        (PARTS["persistence"], ["statefulset/otlp-service"], ["goes with its pod"]),
        (PARTS["ingress"], ["From outside: https://otlp.example.com for both", "WARNING: anybody can send"], []),
        (
            parts("gateway", "auth"),
            ["https://otlp.example.com:4317 for OTLP/gRPC", "the Secret otlp-secrets"],
            ["WARNING"],
        ),
        (SETS["a collector elsewhere"], [f"It goes on to http://{ELSEWHERE}:4318.\n"], ["alternateConfig"]),
        (SETS["other ports"], ["=http://otlp-service.otlp-system:82\n", "=http://otlp-service.otlp-system:81\n"], []),
    ],
)
def test_the_notes_tell_where_to_send_telemetry(values: Values, told: list[str], untold: list[str]) -> None:
    text = notes(values)
    assert [each for each in told if each not in text] == []
    assert [each for each in untold if each in text] == []
