"""The dashboard, of which a real Prometheus that scraped the service under traffic answers every query."""

import asyncio
import json
import math
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.exchange import Http, Partial, Success
from tests.support.load import Load, spans_request
from tests.support.process import Unexpected
from tests.support.prometheus import Prometheus
from tests.support.service import SOON, Service

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "config/grafana/otlp-service.json").read_text())
NAMESPACE = "otlp-system"
PODS = ("otlp-service-0", "otlp-service-1")
FIRE = {"OtlpServiceDropping", "OtlpServiceQueueNearlyFull", "OtlpServiceRefusing"}
"""Alerts that fire when everything goes wrong."""

OF_PROMETHEUS = {"ALERTS"}
"""What a query may name that the service does not export."""


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else [panel]


def everything() -> Iterator[dict[str, Any]]:
    """Rows, too."""
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


QUERIES = {f"{panel['title']} {each['refId']}": str(each["expr"]) for panel in panels() for each in panel["targets"]}

LEGENDS = {
    f"{panel['title']} {each['refId']}": set(re.findall(r"{{(\w+)}}", each["legendFormat"]))
    for panel in panels()
    for each in panel["targets"]
}
"""Which labels name what a query finds."""

TROUBLE = {
    "Alerts A",
    "Errors A",
    "Items refused A",
    "In and out C",
    "Files read again A",
}
"""Where nothing is found while all is well."""

IDLE = {
    "… and are refused A",
    "Answered within A",
    "Attempts A",
    "Attempts that fail A",
    "Attempts take A",
    "Attempts take B",
    "Commits take A",
    "Commits take B",
    "Duration, 99 % A",
    "Items in a batch A",
    "Items in a batch B",
    "Since the last success A",
    "Size of requests A",
    "Size of requests B",
}
"""Where nothing is found before the first request."""

SOMETIMES = {"Predicted full in A"}
"""Where something is found while the queue grows, as it may at any moment."""


def filled(query: str, pod: str, per: str) -> str:
    """A query as Grafana sends it, with its variables chosen so."""
    for name, value in {"__rate_interval": "20s", "namespace": NAMESPACE, "pod": pod, "per": per}.items():
        query = re.sub(rf"\${name}\b", value, query)
    assert "$" not in query
    return query


def test_every_query_has_its_name_once() -> None:
    assert len(QUERIES) == sum(len(panel["targets"]) for panel in panels())
    assert QUERIES.keys() >= TROUBLE | IDLE


def test_grafana_10_knows_all_of_it() -> None:
    assert DASHBOARD["schemaVersion"] == 39  # that of Grafana 10.4
    assert {each["type"] for each in everything()} == {"row", "timeseries", "stat", "table"}
    numbers = [each["id"] for each in everything()]
    assert len(numbers) == len(set(numbers))
    for variable in DASHBOARD["templating"]["list"]:
        assert variable["type"] in {"datasource", "query", "custom"}
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(each["datasource"] == panel["datasource"] for each in panel["targets"])


def test_every_panel_says_what_it_is_and_in_which_unit() -> None:
    for panel in panels():
        assert len(panel["description"]) > 30, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        several = len(panel["targets"]) > 1 and panel["type"] == "timeseries"
        assert not several or all(each["legendFormat"] != "__auto" for each in panel["targets"]), panel["title"]


def test_no_panel_lies_over_another_or_beyond_the_edge() -> None:
    taken: dict[tuple[int, int], str] = {}
    for each in everything():
        place = each["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), each["title"]) == each["title"]


async def values(prometheus: Prometheus, query: str) -> list[float]:
    found = [float(each["value"][1]) for each in await prometheus.query(query)]
    return [value for value in found if not math.isnan(value)]


async def unanswered(prometheus: Prometheus) -> set[str]:
    """Of which queries nothing is found, for all pods together or for each."""
    return {
        name
        for name, query in QUERIES.items()
        for pod, per in ((".*", "namespace"), ("|".join(PODS), "pod"))
        if not await values(prometheus, filled(query, pod, per))
    }


async def until_unanswered(
    prometheus: Prometheus, expected: set[str], when: str, meanwhile: Callable[[], Awaitable[None]]
) -> None:
    """Wait until nothing is found of just these queries; before each look something is done."""
    last: set[str] = set()

    async def so() -> bool:
        nonlocal last
        await meanwhile()
        last = await unanswered(prometheus)
        return last - SOMETIMES == expected - SOMETIMES

    try:
        await prometheus.until(so, when)
    except Unexpected as error:
        raise Unexpected(f"{when}: {sorted((last ^ expected) - SOMETIMES)}") from error


def rules_that_fire_at_once(directory: Path) -> Path:
    rules = yaml.safe_load((ROOT / "config/prometheus/otlp-service.rules.yaml").read_text())
    for alert in rules["groups"][0]["rules"]:
        alert.pop("for", None)
    file = directory / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    return file


@pytest.mark.needs("prometheus")
async def test_every_query_finds_what_is_there(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    keys = tmp_path / "keys"
    keys.write_text("web:hush-of-the-web\n")
    for pod in PODS:
        (tmp_path / pod).mkdir()
    async with Backend() as backend:
        exporter = {"endpoint": backend.http_endpoint, "retry": SOON}
        first = Service(tmp_path / PODS[0], {"exporter": exporter, "queue": {"max_bytes": "33MiB", "wait": "50ms"}})
        tls = {"cert_file": str(certificates.server_cert_file), "key_file": str(certificates.server_key_file)}
        settings = {"exporter": exporter, "server": {"tls": tls}, "auth": {"api_keys_file": str(keys)}}
        second = Service(tmp_path / PODS[1], settings)
        labels = [{"namespace": NAMESPACE, "pod": pod} for pod in PODS]
        others, rules = {second.admin_port: labels[1]}, rules_that_fire_at_once(tmp_path)
        async with (
            first,
            second,
            Prometheus(tmp_path, first.admin_port, labels[0], others, rules) as prometheus,
            aiohttp.ClientSession() as session,
        ):

            async def send(key: str) -> None:
                async with session.post(
                    f"https://127.0.0.1:{second.port}{Signal.TRACES.path}",
                    data=spans_request(1, 20),
                    headers={"Content-Type": "application/x-protobuf", "x-api-key": key},
                    ssl=ssl.create_default_context(cafile=str(certificates.ca_file)),
                ) as answer:
                    assert answer.status == (200 if key == "hush-of-the-web" else 401)

            await until_unanswered(prometheus, TROUBLE | IDLE, "at rest", lambda: asyncio.sleep(0))
            async with Load(first.http_url, first.grpc_target, clients=2):
                await until_unanswered(prometheus, TROUBLE, "while all is well", lambda: send("hush-of-the-web"))

            keys.write_text("web:hush-of-the-web\napp:hush-of-the-app\n")
            backend.script(Partial(1), Http(400))
            backend.otherwise = Http(503)
            async with Load(first.http_url, first.grpc_target, clients=2, ballast=spans_request(1, 2000)):
                await until_unanswered(prometheus, SOMETIMES, "when everything goes wrong", lambda: send("nobody's"))
                assert await values(prometheus, filled(QUERIES["Predicted full in A"], PODS[0], "pod"))

                async def fire() -> bool:
                    firing = await prometheus.query(filled(QUERIES["Alerts A"], ".*", "pod"))
                    return {each["metric"]["alertname"] for each in firing} >= FIRE

                await prometheus.until(fire, f"{FIRE} fire")
            for name, labelled in LEGENDS.items():
                found = await prometheus.query(filled(QUERIES[name], ".*", "pod"))
                assert any(labelled <= each["metric"].keys() for each in found), name
            backend.otherwise = Success()

            for variable in DASHBOARD["templating"]["list"]:
                if variable["type"] == "query":
                    ((metric, label),) = re.findall(r"label_values\((.+), (\w+)\)", variable["definition"])
                    found = await prometheus.query(f"count by ({label}) ({filled(metric, '.*', 'pod')})")
                    assert {each["metric"][label] for each in found} == {each[label] for each in labels}
            (starts,) = DASHBOARD["annotations"]["list"]
            assert len(await values(prometheus, filled(starts["expr"], ".*", "pod"))) == len(PODS)

            _, page = await second.ask("/metrics")
            assert used() - OF_PROMETHEUS <= set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))


def used() -> set[str]:
    """The metrics that queries are about."""
    names = re.findall(r"\b((?:otlp|http|process|python)_\w+|ALERTS)\b(?=[{\[])", " ".join(QUERIES.values()))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def test_all_that_an_operator_needs_is_in_it() -> None:
    documented = re.findall(r"^\| `(otlp_\w+)`", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert set(documented) - used() == set()
