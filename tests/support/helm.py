"""Helm as a program, of both lines that are in use."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["HELMS", "api_server", "find_helm", "helm"]

TOOLS = Path(__file__).parents[2] / ".tools" / "helm"
HELMS = {line: TOOLS / line for line in ("helm3", "helm4")}


def find_helm() -> bool:
    """Whether scripts/helm-tools has installed them, and the generator of the chart's README."""
    return all(program.exists() for program in (*HELMS.values(), TOOLS / "node_modules" / ".package-lock.json"))


def helm(line: str, *arguments: str | Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``helm ARGUMENTS`` with nothing of the machine's own, and no way out to a network."""
    return subprocess.run(
        [HELMS[line], *arguments],
        env=alone(home) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def alone(home: Path) -> dict[str, str]:
    """An environment in which Helm has no settings, and whatever it asks for by HTTP is refused."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "TMPDIR"}}
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:1")
    return kept | proxies | {"HOME": str(home), "NO_PROXY": "127.0.0.1"}


@contextmanager
def api_server(version: str) -> Iterator[str]:
    """A server that tells its version as Kubernetes does and has nothing in it; yields its address."""
    answers = {
        "/version": f'{{"major": "1", "minor": "{version.split(".")[1]}", "gitVersion": "{version}"}}',
        "/api": '{"kind": "APIVersions", "versions": ["v1"]}',
        "/apis": '{"kind": "APIGroupList", "apiVersion": "v1", "groups": []}',
        "/api/v1": '{"kind": "APIResourceList", "groupVersion": "v1", "resources": []}',
    }

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path.partition("?")[0], "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - so the library calls it
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
