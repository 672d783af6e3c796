"""What Helm makes of the chart."""

import atexit
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.dockerfile import exposed
from tests.support.manifests.objects import Manifest, Render
from tests.support.manifests.render import given, load

__all__ = ["CHART", "ChartError", "chart", "lint", "notes", "templates"]

CHART = Path(__file__).parents[3] / "helm/otlp-service"

RELEASE = "otlp-service"
NAMESPACE = "otlp-system"


class ChartError(Exception):
    """Helm does not render it, and says why."""


def chart(values: Manifest | None = None, *, name: str = RELEASE, hosts: frozenset[str] = frozenset()) -> Render:
    """Everything that is applied with some values; they leave the image's ports to it, or name others.

    Raises:
        ChartError: the values are refused, or a template fails.
    """
    objects = _objects(json.dumps(values or {}, sort_keys=True), name)
    return Render(objects, given(), hosts, None if _names_ports(values or {}) else exposed())


def _names_ports(values: Manifest) -> bool:
    config = values.get("config") or {}
    return any(key in (config.get(section) or {}) for section in ("server", "metrics") for key in ("port", "grpc_port"))


def templates(values: Manifest | None = None, *, name: str = RELEASE, path: Path = CHART) -> dict[str, str]:
    """What each template is rendered to, by its path; the same values are rendered once in a run of the tests."""
    return dict(_render(json.dumps(values or {}, sort_keys=True), name, path))


def notes(values: Manifest | None = None, *, name: str = RELEASE) -> str:
    return next(
        text for path, text in templates(values, name=name).items() if path == "otlp-service/templates/NOTES.txt"
    )


def lint(values: Manifest | None = None, *, kubernetes: str, path: Path = CHART) -> list[str]:
    """Everything that ``helm lint --strict`` has against the chart, but for advice."""
    report = _ask(path=str(path), lint=kubernetes, values=values or {}, namespace=NAMESPACE)
    return [message["error"] for message in report["messages"] if message["severity"] > 1]


@functools.cache
def _objects(values: str, name: str) -> tuple[Manifest, ...]:
    return tuple(
        each for path, text in _render(values, name, CHART) if not path.endswith("NOTES.txt") for each in load(text)
    )


@functools.cache
def _render(values: str, name: str, path: Path) -> tuple[tuple[str, str], ...]:
    rendered = _ask(path=str(path), lint=None, values=json.loads(values), name=name, namespace=NAMESPACE)
    return tuple(rendered.items())


@functools.cache
def _helm() -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("helm_process.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )

    def end() -> None:
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        process.wait()
        process.stdout.close()

    atexit.register(end)
    return process


def _ask(**request: Any) -> Any:
    process = _helm()
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    told = json.loads(process.stdout.readline())
    if "error" in told:
        raise ChartError(told["error"])
    return told["answer"]
