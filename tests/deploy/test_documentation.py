"""What docs/kubernetes.md and docs/guide.md show can be done, and is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

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


@pytest.mark.parametrize("page", ["kubernetes.md", "guide.md"])
def test_the_files_that_a_page_names_are_there(page: str) -> None:
    path = r"`((?:k8s|helm|tests|istio|components|scripts)/[\w./-]+)`"
    named = set(re.findall(path, (ROOT / "docs" / page).read_text()))
    assert named
    assert [each for each in sorted(named) if not any((at / each).exists() for at in (ROOT, K8S))] == []
