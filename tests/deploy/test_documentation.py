"""What docs/kubernetes.md and docs/guide.md show can be done, and is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings.units import parse_size
from tests.support.manifests.invariants import violations
from tests.support.manifests.objects import Render
from tests.support.manifests.render import K8S, build, given

ROOT = Path(__file__).parents[2]
OVERLAYS: list[Any] = [
    yaml.safe_load(block)
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/kubernetes.md").read_text(), re.DOTALL)
    if "kind: Kustomization" in block
]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay["components"][-1])
def test_an_overlay_that_is_shown_renders_to_what_holds(overlay: dict[str, Any]) -> None:
    components = tuple(Path(path).name for path in overlay["components"])
    (resource,) = overlay["resources"]
    more = {key: value for key, value in overlay.items() if key not in {"resources", "components"}}
    objects = build(Path(resource).name, components, more)
    assert violations(Render(objects, given(), frozenset({"collector.observability.svc"}))) == []


def figures(text: str) -> list[float]:
    return [float(each.replace(",", "")) for each in re.findall(r"\| *([\d.,]+)(?= *(?:MiB)? *\|)", text)]


def test_what_is_said_of_sizes_is_from_what_was_measured() -> None:
    """A figure moves by a third from one run to the next, so half as much again is still the same."""
    kubernetes, measured = [(ROOT / "docs" / page).read_text() for page in ("kubernetes.md", "performance.md")]
    sizing = kubernetes[kubernetes.index("## Sizing") : kubernetes.index("## Scaling")]
    rows = [figures(line.removeprefix("| ")) for line in sizing.splitlines() if re.match(r"\| \d", line)]
    (row,) = [line for line in measured.splitlines() if line.startswith("| **otlp-service, disk with fsync**")]
    *taken, memory = figures(row)
    told = [rows[number][way] for way in (0, 1) for number in range(3)]
    for said, found in zip(told, taken, strict=True):
        assert found / 1.5 <= said <= found * 1.5, (said, found)
    (most,) = re.findall(r"measured under load were (\d+) MiB", sizing)
    assert memory / 1.5 <= float(most) <= memory * 1.5
    assert "about 330 bytes" in measured
    for bound, minutes in (("768MiB", 4), ("4GiB", 20)):
        assert bound in sizing
        assert parse_size(bound) / 330 / 10_000 / 60 == pytest.approx(minutes, rel=0.1)


@pytest.mark.parametrize("page", ["kubernetes.md", "guide.md"])
def test_the_files_that_a_page_names_are_there(page: str) -> None:
    path = r"`((?:k8s|helm|tests|istio|components|scripts)/[\w./-]+)`"
    named = set(re.findall(path, (ROOT / "docs" / page).read_text()))
    assert named
    assert [each for each in sorted(named) if not any((at / each).exists() for at in (ROOT, K8S))] == []
