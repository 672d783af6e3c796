"""What kustomize makes of the manifests."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tests.support.dockerfile import exposed
from tests.support.manifests.objects import Manifest, Render

__all__ = ["COLLECTOR", "COMPONENTS", "K8S", "build", "given", "kustomize"]

K8S = Path(__file__).parents[3] / "k8s"
COMPONENTS = {path.parent.name: path.parent for path in sorted(K8S.glob("components/*/kustomization.yaml"))} | {
    "istio": K8S / "istio"
}
"""Their folders, by name."""

COLLECTOR = "otel-collector"
"""The host that telemetry goes to; without the component `collector` it is a parameter."""

_KUBECTL = Path(sys.executable).with_name("kubectl")


@functools.cache
def kustomize(*components: str, of: str = "base") -> Render:
    """Render a folder of k8s/ with components, in that order; once in a run of the tests."""
    objects = build(of, components)
    collector = any(manifest["metadata"]["name"] == COLLECTOR for manifest in objects)
    return Render(objects, given(), frozenset() if collector else frozenset({COLLECTOR}), exposed())


def build(of: str, components: tuple[str, ...] = (), more: Manifest | None = None) -> tuple[Manifest, ...]:
    """What ``kubectl kustomize`` prints for a folder of k8s/ with components, and with `more` in its kustomization.

    Raises:
        AssertionError: it says that something is wrong.
    """
    directory = Path(tempfile.mkdtemp(dir=_workshop()))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_from(directory, K8S / of)],
        "components": [_from(directory, COMPONENTS[name]) for name in components],
        **(more or {}),
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    built = subprocess.run([_KUBECTL, "kustomize", directory], capture_output=True, encoding="utf-8", check=False)
    assert built.returncode == 0, f"{of} with {components}: {built.stderr}"
    assert not built.stderr, f"{of} with {components}: {built.stderr}"
    return load(built.stdout)


def load(text: str) -> tuple[Manifest, ...]:
    """The objects in a text.

    Raises:
        AssertionError: a key is there twice, which YAML forbids and some readers refuse.
    """
    return tuple(each for each in yaml.load_all(text, Loader=_Loader) if each)


class _Loader(yaml.CSafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep)
        assert len(mapping) == len(node.value), f"a key is there twice, {node.start_mark}: {sorted(map(str, mapping))}"
        return mapping


@functools.cache
def given() -> tuple[Manifest, ...]:
    """The Secrets that the components expect, as the example has them."""
    return load((K8S / "base/secret.example.yaml").read_text())


@functools.cache
def _workshop() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="kustomize-")).resolve()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _from(directory: Path, target: Path) -> str:
    return os.path.relpath(target, directory)
