"""The chart in Helm itself, 3 and 4, with no network: as it is rendered, checked, packed, installed and tested."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.helm import HELMS, TOOLS, alone, api_server, helm
from tests.support.manifests.chart import CHART, chart, load
from tests.support.manifests.objects import Manifest, Workload
from tests.support.manifests.schemas import NEWEST, OLDEST
from tests.support.service import COMMAND, Service, clean_environment

ROOT = Path(__file__).parents[2]

both = pytest.mark.parametrize("line", HELMS)

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "many": {
        "auth": {"enabled": True, "apiKeys": ["web:0123456789abcdef0123456789abcdef"]},
        "persistence": {"enabled": True},
        "ingress": {"enabled": True},
        "gatewayApi": {"enabled": True},
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "grafanaDashboard": {"enabled": True},
        "verticalPodAutoscaler": {"enabled": True},
        "config": {"queue": {"max_bytes": 3221225472}, "shutdown": {"handoff": None}},
        "collector": {"enabled": False},
    },
}


def ordered(objects: tuple[Manifest, ...]) -> list[Manifest]:
    return sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))


@pytest.mark.needs("helm")
@both
@pytest.mark.parametrize(("values", "version"), [("defaults", OLDEST), ("many", NEWEST)])
def test_both_render_the_same(tmp_path: Path, line: str, values: str, version: str) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VALUES[values]))
    told = helm(
        line, "template", "otlp-service", CHART, "--namespace", "otlp-system", "--kube-version", version,
        "--values", tmp_path / "values.yaml", home=tmp_path,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert ordered(load(told.stdout)) == ordered(chart(VALUES[values]).objects)


@pytest.mark.needs("helm")
@both
def test_both_find_nothing_wrong_with_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VALUES["many"]))
    told = helm(line, "lint", "--strict", CHART, "--values", tmp_path / "values.yaml", home=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "0 chart(s) failed" in told.stdout


@pytest.mark.needs("helm")
@both
@pytest.mark.parametrize(
    ("told", "arguments"),
    [
        (("config", "queue", "wait", "soon"), ["--set", "config.queue.wait=soon"]),
        (("config", "server", "prt"), ["--set", "config.server.prt=1"]),
        (("collector", "imagee"), ["--set", "collector.imagee=1"]),
        (("auth.enabled: no keys; name a Secret",), ["--set", "auth.enabled=true"]),
        (("kubeVersion: >=1.30.0-0", "v1.29.0"), ["--kube-version", "1.29.0"]),
    ],
    ids=" ".join,
)
def test_both_say_what_is_wrong_with_a_value(
    tmp_path: Path, line: str, told: tuple[str, ...], arguments: list[str]
) -> None:
    refused = helm(line, "template", "otlp-service", CHART, *arguments, home=tmp_path)
    assert refused.returncode != 0
    # Helm 3 does not say the value itself.
    assert all(each in refused.stderr for each in told if each != "soon"), refused.stderr


@pytest.mark.needs("helm")
@both
def test_both_have_its_dependency_without_a_network(tmp_path: Path, line: str) -> None:
    copied = tmp_path / "otlp-service"
    shutil.copytree(CHART, copied)
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    built = helm(line, "dependency", "build", copied, home=tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    after = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    assert after == before
    assert "unpacked" in helm(line, "dependency", "list", copied, home=tmp_path).stdout
    packed = helm(line, "package", copied, "--destination", tmp_path, home=tmp_path)
    assert packed.returncode == 0, packed.stderr
    (archive,) = tmp_path.glob("*.tgz")
    told = helm(line, "template", "otlp-service", archive, "--namespace", "otlp-system", home=tmp_path)
    assert ordered(load(told.stdout)) == ordered(chart().objects)


@pytest.mark.needs("helm")
@both
def test_the_script_installs_it(tmp_path: Path, line: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "helm").symlink_to(HELMS[line])
    # There is no cluster to ask: this says what it is asked, and that there are two workloads.
    kubectl = programs / "kubectl"
    kubectl.write_text(
        '#!/bin/sh\necho "kubectl $*" >&2\n'
        'case $* in *--output*) printf "%s\\n" deployment.apps/otlp-service statefulset.apps/more ;; esac\n'
        'case $* in *status*) [ "$3" = rollout ] && [ "$UNHEALTHY" != "$5" ] ;; esac\n'
    )
    kubectl.chmod(0o755)
    (tmp_path / "releases.yaml").write_text("[]")
    environment = alone(tmp_path)
    environment |= {
        "PATH": f"{programs}:{environment['PATH']}",
        "HELM_DRIVER": "memory",
        "HELM_MEMORY_DRIVER_DATA": str(tmp_path / "releases.yaml"),
        "NAMESPACE": "telemetry",
        "UNHEALTHY": "none",
    }

    def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [ROOT / "scripts/helm-install.sh", "--dry-run=client", *arguments],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    with api_server("v1.34.0") as address:
        environment["HELM_KUBEAPISERVER"] = address
        done = run("--set", "image.tag=1.2.3")
        assert done.returncode == 0, done.stdout + done.stderr
        assert 'Release "otlp-service" does not exist. Installing it now.' in done.stdout
        assert "image: ghcr.io/your-org/otlp-service:1.2.3" in done.stdout
        assert "=http://otlp-service.telemetry:4317" in done.stdout
        asked = [each for each in done.stderr.splitlines() if each.startswith("kubectl")]
        release = "--selector app.kubernetes.io/instance=otlp-service"
        assert [each.removeprefix("kubectl --namespace telemetry ") for each in asked] == [
            f"get deployment,statefulset {release} --output name",
            "rollout status deployment.apps/otlp-service --timeout 5m",
            "rollout status statefulset.apps/more --timeout 5m",
            f"get all {release}",
        ]
        # What is not ready, or is refused, is a failure.
        assert run(UNHEALTHY="deployment.apps/otlp-service").returncode != 0
        assert run("--set", "replicaCount=three").returncode != 0


@pytest.mark.needs("helm")
def test_the_readme_has_every_value(tmp_path: Path) -> None:
    written = tmp_path / "README.md"
    shutil.copy(CHART / "README.md", written)
    generator = TOOLS / "node_modules/.bin/readme-generator"
    made = subprocess.run(
        [generator, "--values", CHART / "values.yaml", "--readme", written],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert written.read_text() == (CHART / "README.md").read_text(), "run scripts/helm-chart"


@pytest.mark.parametrize(("tls", "keys"), [("none", False), ("server", True), ("mutual", False)])
async def test_what_helm_test_runs_sends_telemetry_over_both_transports(tmp_path: Path, tls: str, keys: bool) -> None:
    certificates = Certificates(tmp_path)
    (tmp_path / "api-key").write_text("# the keys\n\nweb:hush-of-the-old-days\nother:hush-of-the-new-days\n")
    mounted = {
        "/app/secrets/api-key": tmp_path / "api-key",
        "/app/tls/ca.crt": certificates.ca_file,
        "/app/tls/tls.crt": certificates.client_cert_file,
        "/app/tls/tls.key": certificates.client_key_file,
    }
    program = tmp_path / "otlp-service"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{COMMAND[-1]}' \"$@\"\n")
    program.chmod(0o755)
    settings: dict[str, Any] = {"auth": {"api_keys_file": str(tmp_path / "api-key")} if keys else {}}
    if tls != "none":
        settings["server"] = {
            "tls": {"cert_file": str(certificates.server_cert_file), "key_file": str(certificates.server_key_file)}
        }
    if tls == "mutual":
        settings["server"]["tls"]["client_ca_file"] = str(certificates.ca_file)
    values = {
        "auth": {"enabled": keys, "existingSecret": "a" if keys else ""},
        "tls": {"enabled": tls != "none", "existingSecret": "b", "clientCertificates": tls == "mutual"},
    }
    job = next(Workload(each) for each in chart(values).kind("Job"))
    async with Backend() as backend:
        settings["exporter"] = {"endpoint": backend.http_endpoint}
        async with Service(tmp_path, settings) as service:
            addresses = {
                "otlp-service:4318": service.http_url.rpartition("/")[2],
                "otlp-service:4317": service.grpc_target,
            }
            for container in job.containers:
                command = [*container.get("command", ["otlp-service"]), *container["args"]]
                for there, here in (mounted | addresses).items():
                    command = [part.replace(there, str(here)) for part in command]
                sent = await asyncio.create_subprocess_exec(
                    *command,
                    env=clean_environment(tmp_path) | {"PATH": f"{tmp_path}:/usr/bin:/bin"},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
                said, _ = await sent.communicate()
                assert sent.returncode == 0, said.decode()
            assert [container["name"] for container in job.containers] == ["grpc", "http"]
