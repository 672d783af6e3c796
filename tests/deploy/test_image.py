"""The image as an engine builds and runs it: the way of a pod, read-only and without any capability."""

import re
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.dockerfile import DOCKERFILE, copied, exposed
from tests.support.engine import BASE, Container, Engine
from tests.support.items import items_of
from tests.support.load import Load, identities
from tests.support.ports import free_port
from tests.support.sdk import Sdk, Transport
from tests.support.service import SOON
from tests.support.telemetry import record_logs, record_metrics, record_spans

pytestmark = [pytest.mark.needs("engine"), pytest.mark.alone]

ROOT = DOCKERFILE.parent
IMAGE = "otlp-service-test/otlp-service"
BUILD = ("--network=host", f"--build-arg=PYTHON_IMAGE={BASE}", "--progress=plain")
TRANSPORTS: tuple[Transport, ...] = ("grpc", "http")
MEGABYTE = 1_000_000
GRACE = 60
"""Seconds that a pod has to end in (terminationGracePeriodSeconds)."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine with a base image, and with the image as scripts/build-docker.sh builds it."""
    with Engine() as engine:
        engine.import_base()
        engine.environment["REGISTRY"] = IMAGE.partition("/")[0]
        built = engine.run([ROOT / "scripts/build-docker.sh", "1.2.3", *BUILD])
        assert built.returncode == 0, built.stderr
        yield engine


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    return f"{IMAGE}:1.2.3"


def sources() -> set[str]:
    """Every file that the image may be built from."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *copied()],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return set(listed.stdout.splitlines())


def names(archive: Path) -> set[str]:
    """The files of an archive."""
    with tarfile.open(archive) as opened:
        return {member.name.removeprefix("./") for member in opened if not member.isdir()}


def test_a_build_sees_what_it_copies_and_nothing_else(engine: Engine, tmp_path: Path) -> None:
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")
    seen = tmp_path / "seen.tar"
    engine.docker("build", f"--file={everything}", f"--output=type=tar,dest={seen}", ROOT)
    assert names(seen) == sources()


def test_it_holds_the_service_and_nothing_that_does_not_run(engine: Engine, image: str, tmp_path: Path) -> None:
    container = engine.docker("create", image)
    engine.docker("export", f"--output={tmp_path}/image.tar", container)
    engine.docker("rm", "--volumes", container)
    held = names(tmp_path / "image.tar")
    (site,) = {name.partition("/site-packages/")[0] for name in held if name.endswith("/site-packages/app/cli.py")}
    own = {name for name in held if name.startswith(("opt/", "app/", "data/"))}
    service = {name.removeprefix(f"{site}/site-packages/") for name in own if "/site-packages/app/" in name}
    code = {name for name in sources() if name.startswith("app/")}
    assert {name for name in service if "/__pycache__/" not in name} == code
    assert {name for name in own if name.startswith("app/")} == {
        f"app/{name}" for name in sources() if "config/" in name
    }
    assert not [name for name in own if re.search(r"/(tests?|testdata)/|/conftest\.py$", name)]
    assert not [name for name in own if re.search(r"/bin/(pip|gcc|cc|ld|hatchling)[\d.]*$|\.(whl|tar\.gz)$", name)]
    assert not [name for name in held if name.startswith(("build/", "root/.cache", "tmp/"))]
    base, whole = (engine.inspect("image", name)["Size"] for name in (BASE, image))
    assert whole - base < 250 * MEGABYTE


def test_its_labels_tell_its_version_and_origin(engine: Engine, image: str) -> None:
    labels = engine.inspect("image", image)["Config"]["Labels"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == commit.strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["org.opencontainers.image.created"])


def test_no_start_compiles_anything(engine: Engine, image: str) -> None:
    importing = ("run", "--rm", "--network=none", "--entrypoint=python3", image, "-v", "-c", "import app.service")
    told = engine.ask(*importing)
    assert told.returncode == 0, told.stderr
    loaded = re.findall(r"^# code object from '?(/opt/.*?)'?$", told.stderr, re.MULTILINE)
    assert len(loaded) > 300
    assert [name for name in loaded if not name.endswith(".pyc")] == []


def test_a_change_of_the_code_makes_one_layer_anew(engine: Engine, image: str, tmp_path: Path) -> None:
    for name in (*sources(), "Dockerfile", ".dockerignore"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / "app/cli.py").open("a") as code:
        code.write("# changed\n")
    built = engine.ask("build", *BUILD, "--build-arg=VERSION=1.2.4", f"--tag={IMAGE}:1.2.4", tmp_path)
    assert built.returncode == 0, built.stderr
    ran = re.findall(r"^#(\d+) \[build .*\] RUN (?s:.*?)^#\1 (CACHED|DONE)", built.stderr, re.MULTILINE)
    assert [how for _, how in ran] == ["CACHED", "CACHED", "DONE"], built.stderr
    before, after = (engine.inspect("image", name)["RootFS"]["Layers"] for name in (image, f"{IMAGE}:1.2.4"))
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


async def test_as_it_is_it_turns_healthy_takes_what_the_sdk_sends_and_ends_in_time(engine: Engine, image: str) -> None:
    async with Container(engine, image) as container:
        await container.until_healthy()
        assert await listening(container) == exposed()
        status = await container.exec("cat", "/proc/1/status")
        assert re.findall(r"^[UG]id:\t(\d+)\t\1\t\1\t", status, re.MULTILINE) == ["1000", "1000"]
        assert set(re.findall(r"^Cap\w+:\t(\w+)$", status, re.MULTILINE)) == {"0" * 16}
        for protocol, endpoint in (("http/protobuf", "http://127.0.0.1:8080"), ("grpc", "127.0.0.1:4317")):
            told = await container.exec("otlp-service", "send", "--protocol", protocol, "--endpoint", endpoint)
            assert "10 accepted, 0 refused" in told
        await container.exec("sh", "-c", "kill -HUP 1")  # as docs/configuration.md says
        # Its collector is not there, so it tries for the whole of shutdown.grace.
        assert await container.stop(GRACE) == 0, container.log
        assert (
            "stopped: 20 items accepted, 0 recovered, 0 delivered, 0 dropped, 0 dead, 20 left on disk" in container.log
        )
        assert "the configuration was read again: nothing in it changed" in container.log


async def test_what_it_acknowledged_survives_a_kill(engine: Engine, image: str) -> None:
    backend = Backend()
    async with backend:
        endpoint = backend.http_endpoint
    http, grpc, admin = free_port(), free_port(), free_port()
    http_url, grpc_target = f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}"
    environment = {
        "OTLP_SERVER__HOST": "127.0.0.1",
        "OTLP_SERVER__PORT": str(http),
        "OTLP_SERVER__GRPC_PORT": str(grpc),
        "OTLP_METRICS__PORT": str(admin),
        "OTLP_EXPORTER__ENDPOINT": endpoint,
        "OTLP_TRACING__ENABLED": "false",
    } | {f"OTLP_EXPORTER__RETRY__{key.upper()}": value for key, value in SOON.items()}
    sent: dict[Signal, Counter[str]] = {signal: Counter() for signal in Signal}
    async with Container(engine, image, "host", environment, admin) as container:
        await container.until_ready()
        for transport in TRANSPORTS:
            resource = Resource({"service.name": transport})
            async with Sdk(transport, http_url=http_url, grpc_target=grpc_target, resource=resource) as sdk:
                record_spans(sdk.tracers)
                record_metrics(sdk.meters)
                record_logs(sdk.loggers)
            for signal, bodies in sdk.sent.items():
                sent[signal] += items(signal, bodies)
        async with Load(http_url, grpc_target) as load:
            await load.until_acknowledged(2000)
            await container.kill()
        await container.start()
        await container.until_ready()
        async with backend:
            await container.until_delivered()
            assert await container.stop(GRACE) == 0, container.log
        assert "0 left on disk" in container.log
    taken = {signal: [each.body for each in backend.taken if each.signal is signal] for signal in Signal}
    for signal, those in sent.items():
        assert those
        assert those <= items(signal, taken[signal])
    assert load.acknowledged <= set(identities(taken[Signal.TRACES]))


def items(signal: Signal, bodies: Iterable[bytes]) -> Counter[str]:
    """What is in serialized requests, and how often."""
    return Counter(str(item) for body in bodies for item in items_of(signal, body))


async def listening(container: Container) -> set[int]:
    """The ports on which anybody may connect."""
    table = (await container.exec("cat", "/proc/net/tcp")).splitlines()[1:]
    sockets = [line.split()[1:4] for line in table]
    return {int(local.removeprefix("00000000:"), 16) for local, _, state in sockets if state == "0A"}
