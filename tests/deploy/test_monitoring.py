"""What the component `monitoring` asks of a Prometheus, asked of a real one: what is scaled by, and the alerts."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.request import Signal
from scripts.monitoring import files
from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.load import Load
from tests.support.manifests.objects import Manifest
from tests.support.manifests.render import COMPONENTS, kustomize
from tests.support.prometheus import Prometheus, promtool
from tests.support.service import Service

POD = {"namespace": "otlp-system", "pod": "otlp-service-0"}
"""As which the service is scraped; a ServiceMonitor gives these labels to what it finds."""

SCENES: dict[str, list[Any]] = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())


def adapter_rule() -> Any:
    (rule,) = yaml.safe_load((COMPONENTS["monitoring"] / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    return rule


def adapter_query(rule: Manifest) -> str:
    """What the adapter asks when it is asked for the pods' metric."""
    text: str = rule["metricsQuery"]
    matchers = ",".join(f'{name}="{value}"' for name, value in POD.items())
    filled = {"Series": "http_requests_total", "LabelMatchers": matchers, "GroupBy": "pod"}
    for name, value in filled.items():
        text = text.replace(f"<<.{name}>>", value)
    assert "<<" not in text
    return text


def alerts() -> list[Any]:
    (rules,) = kustomize("monitoring").kind("PrometheusRule")
    return list(chain(*(group["rules"] for group in rules["spec"]["groups"])))


def test_the_autoscaler_reads_what_the_adapter_serves() -> None:
    rule = adapter_rule()
    (scaler,) = kustomize("monitoring").kind("HorizontalPodAutoscaler")
    (metric,) = [each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"]
    name = rule["name"]
    assert re.sub(name["matches"], name["as"], "http_requests_total") == metric
    assert set(rule["resources"]["overrides"]) == set(POD)


@pytest.mark.needs("prometheus")
async def test_what_is_scaled_by_is_there_at_rest_and_moves_under_load(tmp_path: Path) -> None:
    rule = adapter_rule()
    query = adapter_query(rule)
    async with (
        Backend() as backend,
        Service(tmp_path, {"exporter": {"endpoint": backend.http_endpoint}}) as service,
        Prometheus(tmp_path, service.admin_port, POD) as prometheus,
    ):

        async def rate() -> float | None:
            found = await prometheus.query(query)
            return float(found[0]["value"][1]) if found else None

        async def at_rest() -> bool:
            return await rate() == 0

        async def moves() -> bool:
            return (await rate() or 0) > 0

        await prometheus.until(at_rest, "a rate of nothing before the first request")
        (found,) = await prometheus.query(query)
        assert found["metric"] == {"pod": POD["pod"]}
        series = await prometheus.query(rule["seriesQuery"])
        assert {each["metric"]["route"] for each in series} == {
            way for signal in Signal for way in (signal.path, signal.method)
        }
        async with Load(service.http_url, service.grpc_target):
            await prometheus.until(moves, "a rate under load")


@pytest.mark.needs("prometheus")
async def test_the_alerts_are_about_what_the_service_exports(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    tls = {"cert_file": str(certificates.server_cert_file), "key_file": str(certificates.server_key_file)}
    async with Service(tmp_path, {"server": {"tls": tls}}) as service:
        _, page = await service.ask("/metrics")
    exported = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    used = set(re.findall(r"\b(?:otlp|http|process)_\w+", " ".join(alert["expr"] for alert in alerts())))
    assert used
    assert used <= exported


@pytest.mark.needs("prometheus")
def test_every_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    (rules,) = kustomize("monitoring").kind("PrometheusRule")
    written = tmp_path / "rules.yaml"
    written.write_text(yaml.safe_dump(rules["spec"]))
    checked = promtool("check", "rules", written)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    # Without what they say: promtool would have it told in each scene.
    silent = [{key: value for key, value in alert.items() if key != "annotations"} for alert in alerts()]
    written.write_text(yaml.safe_dump({"groups": [{"name": "otlp-service", "rules": silent}]}))
    tests = [scene(name, **each) for name, scenes in SCENES.items() for each in scenes]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    judged = promtool("test", "rules", tmp_path / "tests.yaml")
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_what_is_made_of_the_rules_is_as_they_are() -> None:
    """``scripts/monitoring`` brings it up to date."""
    for path, text in files().items():
        assert path.read_text() == text, path


def test_every_alert_has_a_scene_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    assert {alert["alert"] for alert in alerts()} == set(SCENES)
    for scenes in SCENES.values():
        assert {"fires" in each for each in scenes} == {True, False}


def test_every_alert_says_how_bad_it_is_and_names_only_labels_that_it_has() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
        for each in SCENES[alert["alert"]]:
            assert named <= each.get("fires", dict.fromkeys(named, "")).keys()


def scene(
    alert: str, *, at: str | list[str], series: dict[str, str], fires: dict[str, str] | None = None
) -> dict[str, Any]:
    """A test as promtool has it: with these series the alert fires at some times with some labels, or does not."""
    rule = next(each for each in alerts() if each["alert"] == alert)
    expected = [{"exp_labels": fires | rule["labels"]}] if fires is not None else []
    times = [at] if isinstance(at, str) else at
    return {
        "name": alert,
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"alertname": alert, "eval_time": time, "exp_alerts": expected} for time in times],
    }
