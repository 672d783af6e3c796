"""Every value of the chart: what it changes of what is rendered; and that each is used, told and checked."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings, schema
from app.settings.units import parse_duration, parse_size
from scripts.helm_chart import SCHEMA, filled
from tests.support.manifests.chart import CHART, ChartError, chart
from tests.support.manifests.objects import Manifest, group
from tests.support.manifests.schemas import NEWEST, mistakes

Values = dict[str, Any]

VALUES: Values = yaml.safe_load((CHART / "values.yaml").read_text())
RULES: Values = json.loads(SCHEMA.read_text())
TEMPLATES = {
    path.relative_to(CHART).as_posix(): path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file()
}
COLLECTORS: Values = yaml.safe_load((CHART / "charts/opentelemetry-collector/values.yaml").read_text())

_TABLE: Values = yaml.safe_load((Path(__file__).parent / "chart_values.yaml").read_text())
CASES = [(key, case) for key, cases in _TABLE["cases"].items() for case in cases]
AS_WELL: Values = _TABLE["with"]
SHORT = {"pod": "spec template spec", "itself": "spec template spec containers 0"}


def setting(key: str, value: Any) -> Values:
    whole: Any = value
    for part in reversed(key.split(".")):
        whole = {part: whole}
    values: Values = whole
    return values


def over(under: Any, upper: Any) -> Any:
    """One over the other, as Helm does it."""
    if not isinstance(under, Mapping) or not isinstance(upper, Mapping):
        return upper
    return {key: over(under.get(key), upper[key]) if key in upper else under[key] for key in {**under, **upper}}


def seen(objects: tuple[Manifest, ...], what: str, path: str) -> Any:
    """What is at a path of an object of a kind, with or without a name; the service's own without."""
    kind, _, name = what.partition("/")
    found: Any = next(
        (
            each
            for each in objects
            if each["kind"] == kind
            and (each["metadata"]["name"] == name if name else each["metadata"]["name"] != "otel-collector")
            and group(each) != "networking.istio.io"
        ),
        None,
    )
    for part in " ".join(SHORT.get(part, part) for part in path.split()).split():
        try:
            found = found[int(part)] if isinstance(found, list) else found.get(part)
        except (AttributeError, IndexError):
            return None
    return found


@pytest.mark.parametrize(
    ("key", "case"), CASES, ids=[f"{key}: {case['in']} {case.get('at', '')}" for key, case in CASES]
)
def test_a_value_is_seen_where_it_belongs(key: str, case: Values) -> None:
    others = case.get("with", {})
    # The collector's chart takes most of the time, and is looked at where its own values are.
    alone = {} if key.startswith("collector.") else AS_WELL["elsewhere"]
    values = over(over(alone, AS_WELL[others] if isinstance(others, str) else others), setting(key, case["to"]))
    assert seen(chart(values).objects, case["in"], case.get("at", "")) == case["is"]


CONFIG = {
    "server.host": "::",
    "exporter.endpoint": "http://otel-collector.otlp-system:4318",
    "exporter.timeout": "10s",
    "exporter.batch_size": 10,
    "queue.directory": "/data/other",
    "queue.max_bytes": 805306368,
    "tracing.service_name": "gateway",
    "tracing.sampling_rate": 0.5,
    "logging.level": "debug",
    "logging.format": "text",
    "metrics.enabled": False,
    "shutdown.handoff": "http://a.example:8080",
    # And what the chart says nothing of.
    "server.max_request_size": "8MiB",
    "auth.quotas": {"web": {"items_per_second": 100, "burst": "10s"}},
    "exporter.headers": {"x-tenant": "{{ .Release.Name }}"},
}


@pytest.mark.parametrize(("key", "value"), CONFIG.items(), ids=CONFIG)
def test_a_value_of_the_configuration_is_in_the_file(key: str, value: Any) -> None:
    render = chart(over(AS_WELL["elsewhere"], setting(f"config.{key}", value)))
    config = yaml.safe_load(seen(render.objects, "ConfigMap/otlp-service", "data production.yaml"))
    for part in key.split("."):
        config = config[part]
    assert config == json.loads(json.dumps(value).replace("{{ .Release.Name }}", "otlp-service"))


def test_a_key_that_is_null_is_left_to_the_services_default() -> None:
    render = chart({"config": {"shutdown": {"handoff": None}, "queue": {"max_bytes": None}}})
    config = yaml.safe_load(seen(render.objects, "ConfigMap/otlp-service", "data production.yaml"))
    assert "handoff" not in config.get("shutdown", {})
    assert "max_bytes" not in config["queue"]


@pytest.mark.parametrize(
    ("values", "queue", "handoff"),
    [
        ({}, "768MiB", "http://otlp-service:8080"),
        (AS_WELL["claims"], "4GiB", "http://otlp-service:8080"),
        (AS_WELL["tls"], "768MiB", "https://otlp-service:8080"),
        ({"fullnameOverride": "a", "service": {"http": {"port": 80}}}, "768MiB", "http://a:80"),
    ],
)
def test_the_configuration_follows_other_values(values: Values, queue: str, handoff: str) -> None:
    config = next(
        each for each in chart(values).objects if each["kind"] == "ConfigMap" and "production.yaml" in each["data"]
    )
    settings = yaml.safe_load(config["data"]["production.yaml"])
    assert (settings["queue"]["max_bytes"], settings["shutdown"]["handoff"]) == (queue, handoff)


def paths(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every key, with those below it, but for what is the service's, the collector's or the user's own."""
    for key, value in values.items():
        here = f"{path}.{key}" if path else key
        yield here
        if isinstance(value, Mapping) and not here.endswith(("config", "collector", "nnotations")):
            yield from paths(value, here)


SWITCHED = (
    "auth",
    "gatewayApi",
    "ingress",
    "persistence",
    "prometheusRule",
    "serviceMonitor",
    "verticalPodAutoscaler",
)
EVERYTHING: Values = {
    **{name: {"enabled": True} for name in SWITCHED},
    "auth": {"enabled": True, "existingSecret": "otlp-secrets"},
    "collector": {"enabled": False},
}


def strange(values: Values, key: str) -> list[str]:
    """What is rendered that Kubernetes does not take, or is refused without saying the key."""
    try:
        objects = chart(values).objects
    except ChartError as refused:
        told = f"missing property '{key.rpartition('.')[2]}'", f"{key}:", f"{key.partition('.')[0]}."
        return [] if any(each in str(refused) for each in told) else [str(refused)]
    return [mistake for manifest in objects for mistake in mistakes(manifest, NEWEST)]


@pytest.mark.parametrize("key", [key for key in paths(VALUES) if key != "collector"])
def test_a_key_that_is_null_is_left_out_of_what_is_rendered_or_told_by_its_name(key: str) -> None:
    assert strange(over(EVERYTHING, setting(key, None)), key) == []


DEFAULTS = re.compile(r'dig ((?:"[a-z_]+" )+)("[^"]*"|\d+|true|dict) [($]')
"""``dig "server" "port" 8080 $config``: where the configuration says nothing, a template goes by this."""


def test_what_templates_take_for_a_default_is_the_services_own() -> None:
    own = Settings().model_dump()
    seen = set()
    for text in TEMPLATES.values():
        for keys, default in DEFAULTS.findall(text):
            path = keys.replace('"', "").split()
            if path[0] not in own or default in {"dict", '""'}:
                continue
            value = own
            for key in path:
                value = value[key]
            seen.add(".".join(path))
            written = json.loads(default)
            read = parse_duration if path[0] == "shutdown" else parse_size
            assert str(value) == str(written) or value == read(written), path
    assert seen >= {
        "server.port",
        "server.grpc_port",
        "metrics.port",
        "metrics.path",
        "queue.max_bytes",
        "shutdown.grace",
    }


def leaves(values: Any, path: str = "") -> Iterator[str]:
    """The paths of what is no map, or an empty one."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path


def about(path: str, other: str) -> bool:
    """Whether one of two paths is, or is above, the other."""
    return f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.")


def used(templates: Mapping[str, str]) -> set[str]:
    """The paths of values that templates name."""
    return set(re.findall(r"\.Values\.([A-Za-z0-9_.]*[A-Za-z0-9_])", "\n".join(templates.values())))


def misfits(values: Values, templates: Mapping[str, str], rules: Values) -> Iterator[str]:
    """A value that no template uses, a use of what is no value, and what the schema does not know, or knows beside."""
    paths, uses = list(leaves(values)), used(templates)
    for path in paths:
        if not path.startswith("collector.") and not any(f"{path}.".startswith(f"{use}.") for use in uses):
            yield f"{path}: no template uses it"
        if not _known(path.split("."), rules):
            yield f"{path}: the schema does not know it"
    for use in sorted(uses):
        if not any(f"{path}.".startswith(f"{use}.") for path in paths):
            yield f"{use}: a template uses it, and it is no value"
    for path in _told(rules):
        if not any(about(path, leaf) for leaf in paths):
            yield f"{path}: the schema knows it, and it is no value"


def _known(path: list[str], rules: Values) -> bool:
    if not path:
        return True
    properties, more = rules.get("properties", {}), rules.get("additionalProperties", True)
    if path[0] in properties:
        return _known(path[1:], properties[path[0]])
    return more is not False


def _told(rules: Values, path: str = "") -> Iterator[str]:
    """The paths that the schema names one by one, down to Kubernetes' own objects."""
    for key, inner in rules.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        if here in KUBERNETES or here in {"config", "collector", "global"}:
            continue
        if inner.get("properties"):
            yield from _told(inner, here)
        else:
            yield here


KUBERNETES = {
    "affinity",
    "autoscaling.behavior",
    "lifecycle",
    "livenessProbe",
    "podSecurityContext",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
}
"""Objects of Kubernetes, of which the schema knows more than the defaults have."""


def test_every_value_is_used_and_every_use_is_a_value_that_the_schema_knows() -> None:
    assert list(misfits(VALUES, TEMPLATES, RULES)) == []


@pytest.mark.parametrize(
    ("add", "use", "rule", "told"),
    [
        ({"podDisruptionBudget": {"minAvailable": 1}}, "", {}, "podDisruptionBudget.minAvailable: no template uses it"),
        ({"extra": []}, "", {}, "extra: the schema does not know it"),
        ({}, "{{ .Values.service.https.port }}", {}, "service.https.port: a template uses it, and it is no value"),
        ({}, "", {"properties": {"extra": {"type": "string"}}}, "extra: the schema knows it, and it is no value"),
    ],
)
def test_a_value_that_is_missing_somewhere_is_caught(add: Values, use: str, rule: Values, told: str) -> None:
    values, rules = over(copy.deepcopy(VALUES), add), over(copy.deepcopy(RULES), rule)
    assert told in list(misfits(values, {**TEMPLATES, "more.yaml": use}, rules))


def test_every_value_has_a_case() -> None:
    cases = {key for key, _ in CASES} | {f"config.{key}" for key in CONFIG}
    # Those of the collector are compared with the component's, all of them (test_chart.py).
    own = [path for path in leaves(VALUES) if not path.startswith("collector.")]
    assert [path for path in own if not any(about(path, case) for case in cases)] == []


def test_every_value_of_the_collector_is_one_of_its_chart() -> None:
    known = set(leaves(COLLECTORS)) | {"enabled"}
    own = [path for path in leaves(VALUES["collector"]) if not path.startswith("ports.")]
    assert [path for path in own if not any(about(path, each) for each in known)] == []


def test_an_object_with_unknown_keys_is_refused_everywhere_but_where_it_is_somebody_elses() -> None:
    def loose(rules: Values, path: str = "") -> Iterator[str]:
        for key, inner in rules.get("properties", {}).items():
            here = f"{path}.{key}" if path else key
            if "properties" in inner and inner.get("additionalProperties") is not False:
                yield here
            yield from loose(inner, here)

    assert RULES["additionalProperties"] is False
    assert list(loose(RULES)) == ["collector"]


def test_the_schema_of_the_configuration_is_that_of_the_settings() -> None:
    assert SCHEMA.read_text() == filled(), "run scripts/helm-chart"
    config = RULES["properties"]["config"]["properties"]
    assert config.keys() == schema()["properties"].keys()
    assert "(?" not in json.dumps(config), "Go's regular expressions look nowhere ahead"


def test_the_chart_is_of_the_version_of_the_project() -> None:
    project = re.search(r'^version = "(.*)"', (Path(__file__).parents[2] / "pyproject.toml").read_text(), re.MULTILINE)
    about_it = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert project
    assert (about_it["version"], about_it["appVersion"]) == (project[1], project[1])
    lock = yaml.safe_load((CHART / "Chart.lock").read_text())
    (dependency,) = about_it["dependencies"]
    vendored = yaml.safe_load((CHART / "charts/opentelemetry-collector/Chart.yaml").read_text())
    assert dependency["version"] == vendored["version"] == lock["dependencies"][0]["version"]
