"""docs/operations.md has every metric, alert and log line that there is, and none besides."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Certificates
from tests.support.service import Service

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/operations.md").read_text()
RULES: list[Any] = yaml.safe_load((ROOT / "config/prometheus/otlp-service.rules.yaml").read_text())["groups"]
ALERTS: list[Any] = [rule for group in RULES for rule in group["rules"]]


def chapter(title: str) -> str:
    """The text from a heading to the next of its level."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables' rows, without heads."""
    table = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table if not line.startswith("| ---")]


def anchors(page: str) -> set[str]:
    """What can be linked to, as GitHub and MkDocs name it."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


async def test_every_metric_has_a_row_with_its_labels(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    tls = {"cert_file": str(certificates.server_cert_file), "key_file": str(certificates.server_key_file)}
    async with Service(tmp_path, {"server": {"tls": tls}}) as service:
        _, page = await service.ask("/metrics")
    documented = {name.strip("`"): labels for name, labels, _ in rows(chapter("Metrics"))[1:]}
    assert documented.keys() == set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    for family in text_string_to_metric_families(page):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            said = set(documented.get(name, documented.get(f"{name}_info", "")).replace(" ", "").split(",")) - {""}
            assert sample.labels.keys() - {"le"} == said, sample


def test_every_alert_has_a_row_and_a_chapter() -> None:
    listed = {re.findall(r"\[(\w+)\]", name)[0]: severity for name, severity, *_ in rows(chapter("Alerts"))[1:15]}
    assert listed == {alert["alert"]: alert["labels"]["severity"] for alert in ALERTS}
    assert set(re.findall(r"^### (\w+)$", chapter("Alerts"), re.MULTILINE)) == listed.keys()


def test_every_alert_leads_to_its_chapter() -> None:
    for alert in ALERTS:
        page, anchor = alert["annotations"]["runbook_url"].split("#")
        assert page.endswith("/docs/operations.md")
        assert anchor == alert["alert"].lower()
        assert anchor in anchors(PAGE)


def line(sentence: str) -> str:
    """A sentence with `…` where values come."""
    return re.sub(r"%\(\w+\)[-+ #0]*[\d.]*[a-z]", "…", sentence)


def lines(source: str) -> Iterator[tuple[str, str, str]]:
    """What a module logs: level, event and sentence."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("_log"), attr=level), args=[event, sentence]):
                yield level, ast.literal_eval(event), line(ast.literal_eval(sentence))


def test_what_is_logged_is_found() -> None:
    source = """
_log.error("failed", "%(items)d %(noun)s failed", items=1, noun="spans", fault=fault)
def work():
    _log.info("told", "told " "once in %(seconds).1f s", seconds=1.0)
    other.error("no", "logger")
"""
    assert list(lines(source)) == [("error", "failed", "… … failed"), ("info", "told", "told once in … s")]


def test_everything_is_logged_as_an_event() -> None:
    for path in (ROOT / "app").rglob("*.py"):
        text = path.read_text()
        assert "_log." not in text or text.count("\n_log = Log(__name__)\n") == 1, path
        assert len(re.findall(r"\b_log\.\w+\(", text)) == len(list(lines(text))), path


def test_every_log_line_has_a_row() -> None:
    logged = [each for path in (ROOT / "app").rglob("*.py") for each in lines(path.read_text())]
    table = [
        (level, event.strip("`"), text.strip("`"), what) for level, event, text, what in rows(chapter("Log lines"))
    ]
    documented = [each[:3] for each in table[1:]]
    assert set(documented) - set(logged) == set(), "nothing logs these"
    assert set(logged) - set(documented) == set(), "these have no row in docs/operations.md"
    events = [event for _, event, _ in logged]
    assert len(events) == len(set(events)) == len(documented)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", event) for event in events)
    assert all(what or level == "info" for level, _, _, what in table), "what to do is to be said"


@pytest.mark.parametrize("page", ["operations.md", "kubernetes.md", "reliability.md", "performance.md"])
def test_the_headings_that_are_linked_to_are_there(page: str) -> None:
    for target, anchor in re.findall(r"\]\((\w+\.md)?#([\w-]+)\)", (ROOT / "docs" / page).read_text()):
        assert anchor in anchors((ROOT / "docs" / (target or page)).read_text()), (target, anchor)
