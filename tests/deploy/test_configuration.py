"""What the service in a pod is told is what it can be told, and says nothing twice."""

import tomllib
from pathlib import Path

import pytest
import trustme

from app.settings import ShutdownSettings, load
from tests.support.backend import Backend
from tests.support.load import Load
from tests.support.manifests.configuration import settings_of, told
from tests.support.manifests.objects import Render
from tests.support.manifests.render import kustomize
from tests.support.service import Service

ROOT = Path(__file__).parents[2]
HANDOFF = "http://otlp-service:8080"


def certificates() -> dict[str, str]:
    """What cert-manager would put into the Secret of the component `tls`."""
    authority = trustme.CA()
    own = authority.issue_cert("otlp-service", "otlp-service.otlp-system.svc")
    chain = b"".join(blob.bytes() for blob in own.cert_chain_pems)
    pems = {"tls.crt": chain, "tls.key": own.private_key_pem.bytes(), "ca.crt": authority.cert_pem.bytes()}
    return {name: pem.decode() for name, pem in pems.items()}


@pytest.mark.parametrize(
    ("of", "components"),
    [
        ("base", ()),
        ("base", ("collector", "tls", "auth")),
        ("overlays/development", ()),
        ("overlays/production", ()),
    ],
)
def test_the_command_takes_what_is_rendered(tmp_path: Path, of: str, components: tuple[str, ...]) -> None:
    rendered = kustomize(*components, of=of)
    secrets = tuple(
        {**secret, "stringData": certificates()} if secret["metadata"]["name"] == "otlp-service-tls" else secret
        for secret in rendered.given
    )
    assert told(Render(rendered.objects, secrets)).check(tmp_path).endswith("no mistakes\n")


def test_the_base_is_the_images_own_configuration_and_where_siblings_are() -> None:
    own = load({}, {}, config=ROOT / "config/production.yaml").settings
    assert settings_of(kustomize()) == own.model_copy(update={"shutdown": ShutdownSettings(handoff=HANDOFF)})


def test_no_key_is_in_the_file_and_in_the_environment_too() -> None:
    what = told(kustomize())
    file = what.files["/app/config/production.yaml"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in what.environment
    assert "endpoint:" not in file
    assert "OTLP_LOGGING__LEVEL" in what.environment
    assert "level:" not in file


def test_the_overlays_differ_from_the_base_in_what_they_say() -> None:
    base = settings_of(kustomize())
    development = settings_of(kustomize(of="overlays/development"))
    production = settings_of(kustomize(of="overlays/production"))
    assert (development.logging.level, development.shutdown.handoff) == ("debug", None)
    assert development.exporter == production.exporter == base.exporter
    assert production.queue.max_bytes == 4 << 30
    assert str(production.auth.api_keys_file) == "/app/secrets/api-key"
    assert production.shutdown == base.shutdown


def test_the_image_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    workload, container = kustomize().gateway
    assert container["image"] == f"ghcr.io/your-org/otlp-service:{version}"
    assert workload.labels["app.kubernetes.io/version"] == version


async def test_the_service_says_in_its_own_traces_which_pod_it_is(tmp_path: Path) -> None:
    name = "OTEL_RESOURCE_ATTRIBUTES"
    attributes = told(kustomize()).environment[name]
    pod = dict(pair.split("=") for pair in attributes.split(","))
    assert pod.keys() == {"k8s.pod.name", "k8s.namespace.name", "k8s.pod.ip", "k8s.node.name"}
    assert "$(" not in attributes
    async with Backend() as backend:
        settings = {"exporter": {"endpoint": backend.http_endpoint}, "tracing": {"enabled": True}}
        async with Service(tmp_path, settings, {name: attributes}) as service:
            async with Load(service.http_url, None, clients=1) as load:
                await load.until_acknowledged(1)
            await backend.received(lambda b: any(span.name == "export traces" for span in b.spans()))
    own = next(span for span in backend.spans() if span.name == "export traces")
    assert own.resource.items() >= pod.items()
