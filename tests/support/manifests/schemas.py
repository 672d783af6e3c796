"""Whether an object is one that Kubernetes knows, with no field that it does not know."""

import functools
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.support.manifests.objects import Manifest, name_of

__all__ = ["NEWEST", "OLDEST", "mistakes"]

OLDEST = "1.30"
NEWEST = "1.37"
"""The versions of Kubernetes that the manifests are for; the package kubernetes-validate has their schemas."""

_CRDS = Path(__file__).parents[2] / "deploy" / "crds"


def mistakes(manifest: Manifest, version: str) -> list[str]:
    """What the schema of its kind, in that version of Kubernetes, has against an object; also that there is none."""
    kind, api = manifest["kind"], manifest["apiVersion"]
    found: list[str] = []
    custom = _CRDS / f"{api.replace('/', '-')}-{kind}.json"
    if custom.exists():
        found += _against(_custom(custom), manifest)
        found += _against(_core(version, "objectmeta-meta-v1"), manifest["metadata"])
    else:
        group, _, number = api.rpartition("/")
        schema = f"{kind.lower()}-{group.partition('.')[0]}-{number}" if group else f"{kind.lower()}-{number}"
        try:
            validator = _core(version, schema)
        except FileNotFoundError:
            return [f"{name_of(manifest)}: Kubernetes {version} has no {kind} of {api}, and tests/deploy/crds neither"]
        found += _against(validator, manifest)
    return [f"{name_of(manifest)}: {mistake}" for mistake in found]


def _against(validator: Draft202012Validator, content: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)]


@functools.cache
def _custom(path: Path) -> Draft202012Validator:
    return Draft202012Validator(json.loads(path.read_text()))


@functools.cache
def _core(version: str, name: str) -> Draft202012Validator:
    schema = json.loads(_file(version, name).read_text())
    return Draft202012Validator(schema, registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> "Registry[Any]":
    return Resource.from_contents(json.loads(_file(version, "_definitions").read_text())) @ Registry()


def _file(version: str, name: str) -> Any:
    return files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict" / f"{name}.json"
