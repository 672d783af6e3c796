"""What the Dockerfile says, and what scripts/build-docker.sh asks docker for; test_image.py has what comes of it."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from app.settings import load
from tests.support.dockerfile import DOCKERFILE, Instruction, copied, exposed, instructions
from tests.support.manifests.chart import chart
from tests.support.manifests.render import kustomize

ROOT = DOCKERFILE.parent
SCRIPT = ROOT / "scripts" / "build-docker.sh"
IMAGE, VERSION = "registry.example/team/otlp-service", "1.2.3-rc.1"
LAST = max(each.stage for each in instructions())


def said(word: str, stage: int = LAST) -> list[Instruction]:
    return [each for each in instructions() if each.word == word and each.stage == stage]


def only(word: str) -> Instruction:
    (found,) = said(word)
    return found


# What it says


def test_any_buildkit_can_read_it() -> None:
    text = DOCKERFILE.read_text()
    assert not re.search(r"^#\s*(syntax|escape|check)\s*=", text, re.MULTILINE)
    assert "<<" not in text


def test_both_stages_are_on_the_base_that_is_asked_for() -> None:
    first, *rest = instructions()
    assert (first.stage, first.word) == (0, "ARG")
    name, _, default = first.value.partition("=")
    assert name == "PYTHON_IMAGE"
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", default)
    assert [each.words[0] for each in rest if each.word == "FROM"] == ["${PYTHON_IMAGE}"] * 2


def test_it_runs_as_the_user_and_with_the_ports_of_the_manifests_and_the_configuration() -> None:
    settings = load({}, {}, config=ROOT / "config/production.yaml").settings
    assert exposed() == {settings.server.port, settings.server.grpc_port, settings.metrics.port}
    for workload, _ in (kustomize().gateway, chart().gateway):
        pod = workload.pod["securityContext"]
        assert only("USER").value == f"{pod['runAsUser']}:{pod['runAsGroup']}" == "1000:1000"
        assert set(workload.ports.values()) == exposed()
    assert settings.queue.directory is not None
    assert settings.queue.directory.is_relative_to(only("VOLUME").value)


def test_data_is_the_users_and_the_configuration_where_it_is_named() -> None:
    user, _, group = only("USER").value.partition(":")
    (made,) = said("RUN")
    assert made.words == ["install", "--directory", f"--owner={user}", f"--group={group}", only("VOLUME").value]
    workdir = only("WORKDIR").value
    variables = dict(pair.split("=", 1) for each in said("ENV") for pair in each.words)
    (configuration,) = [each.words for each in said("COPY") if each.words[0] == "config"]
    assert variables["CONFIG_PATH"] == f"{workdir}/{configuration[1]}/production.yaml"
    assert (ROOT / "config/production.yaml").exists()


def test_the_build_leaves_no_cache_of_packages() -> None:
    (variables,) = [each for each in instructions() if each.stage == 1 and each.word == "ENV"]
    assert {"PIP_NO_CACHE_DIR=1", "PYTHONDONTWRITEBYTECODE=1"} <= set(variables.words)


def test_it_says_how_the_service_is_started_asked_and_ended() -> None:
    assert only("ENTRYPOINT").words == ["otlp-service"]
    assert only("CMD").words == ["serve"]
    assert only("STOPSIGNAL").value == "SIGTERM"
    health = only("HEALTHCHECK")
    assert health.options == {"interval": "30s", "timeout": "3s", "start-period": "10s", "retries": "3"}
    assert health.value.endswith('CMD ["otlp-service", "health"]')
    variables = dict(pair.split("=", 1) for each in said("ENV") for pair in each.words)
    assert variables["CONFIG_PATH"] == "/app/config/production.yaml"
    assert (variables["PYTHONUNBUFFERED"], variables["PYTHONFAULTHANDLER"]) == ("1", "1")


def test_what_changes_least_comes_first() -> None:
    building = [each for each in instructions() if each.stage == 1]
    order = [
        next(number for number, each in enumerate(building) if text in each.value)
        for text in ("--requirement requirements-build.lock", "--requirement requirements.lock", "app app", "pip wheel")
    ]
    assert order == sorted(order)
    from_build = [each.words for each in said("COPY") if each.options.get("from") == "build"]
    assert from_build == [["/opt/venv", "/opt/venv"], ["/opt/service", "/opt/venv"]]
    assert said("COPY")[-1].words == ["/opt/service", "/opt/venv"]
    words = [each.word for each in instructions()]
    last_layer = max(number for number, word in enumerate(words) if word in {"COPY", "RUN"})
    named = [number for number, each in enumerate(instructions()) if each.word == "ARG" and each.stage == LAST]
    assert min(named) > last_layer


def test_labels_tell_what_was_built() -> None:
    labels = only("LABEL").value
    for name, argument in (("version", "VERSION"), ("revision", "VCS_REF"), ("created", "BUILD_DATE")):
        assert f'org.opencontainers.image.{name}="${{{argument}}}"' in labels
    assert [each.value for each in said("ARG")] == ["VERSION", "VCS_REF", "BUILD_DATE"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f'org.opencontainers.image.licenses="{project["license"]}"' in labels


def test_it_installs_what_is_locked_and_nothing_else() -> None:
    commands = " ".join(each.value for each in instructions() if each.word == "RUN")
    assert "apt" not in commands
    assert not [each for each in instructions() if each.word == "ADD"]
    installed = re.findall(r"pip (?:--python \S+ )?install ([^&]*)", commands)
    assert len(installed) == 3
    for options in installed:
        assert "--no-deps" in options
        assert "--require-hashes" in options or "--no-index" in options
    assert not any("pip" in each.value for each in said("RUN"))


def test_what_is_copied_is_there_and_let_in() -> None:
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied()) == sorted(let_in)
    assert [source for source in copied() if not (ROOT / source).exists()] == []


# What scripts/build-docker.sh asks docker for


def asked(directory: Path, *arguments: str, buildx: bool = True, **environment: str) -> list[list[str]]:
    """The commands that a docker got which does nothing, with what it knows of BuildKit before each."""
    docker = directory / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        f'[ "$*" != "buildx version" ] || exit {0 if buildx else 1}\n'
        'for each in "BUILDKIT=$DOCKER_BUILDKIT" "$@"; do printf "%s\\0" "$each"; done >>"$0.log"\n'
        'printf "\\n" >>"$0.log"\n'
    )
    docker.chmod(0o755)
    variables = {"PATH": f"{directory}:/usr/bin:/bin", "HOME": str(directory)} | environment
    ended = subprocess.run(
        [SCRIPT, *arguments], env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [line.split("\0")[:-1] for line in Path(f"{docker}.log").read_text().splitlines()]


def revision() -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_script_builds_for_this_machine_and_loads_it(tmp_path: Path) -> None:
    build, shown = asked(tmp_path, VERSION, "--build-arg", "PYTHON_IMAGE=mine", REGISTRY="registry.example/team")
    assert build[1:4] == ["buildx", "build", "--load"]
    assert f"{IMAGE}:{VERSION}" in build
    assert {f"VERSION={VERSION}", f"VCS_REF={revision()}", "PYTHON_IMAGE=mine"} <= set(build)
    assert any(re.fullmatch(r"BUILD_DATE=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", argument) for argument in build)
    assert build[-1] == "."
    assert not any(argument.startswith(("--platform", "--push")) for argument in build)
    assert shown[1:] == ["image", "ls", f"{IMAGE}:{VERSION}"]


def test_the_script_pushes_for_two_platforms_with_their_provenance(tmp_path: Path) -> None:
    (build,) = asked(tmp_path, VERSION, PUSH="true", REGISTRY="registry.example/team")
    assert build[1:6] == ["buildx", "build", "--platform", "linux/amd64,linux/arm64", "--push"]
    assert {"--sbom=true", "--provenance=mode=max", f"{IMAGE}:{VERSION}"} <= set(build)
    assert "--load" not in build


def test_the_script_builds_with_a_docker_that_has_no_buildx(tmp_path: Path) -> None:
    build, _ = asked(tmp_path, VERSION, buildx=False)
    assert build[:2] == ["BUILDKIT=1", "build"]


def test_the_script_takes_the_projects_version_by_itself(tmp_path: Path) -> None:
    build, _ = asked(tmp_path)
    image: str = kustomize().gateway[1]["image"]
    assert image in build


def test_the_script_builds_nothing_that_it_cannot_name_the_revision_of(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    copied = shutil.copy(SCRIPT, tmp_path / "scripts")
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho docker was asked\n")
    docker.chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    ended = subprocess.run([copied, VERSION], env=variables, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode != 0
    assert "not a git repository" in ended.stderr
    assert ended.stdout == ""
    given = variables | {"VCS_REF": "0123abc"}
    ended = subprocess.run([copied, VERSION], env=given, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("version", ["--push", "", "a b", "v1+2"])
def test_the_script_refuses_what_is_no_tag(version: str) -> None:
    ended = subprocess.run(
        [SCRIPT, version], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )
    assert ended.returncode == 2
    assert f"'{version}' cannot be the tag of an image" in ended.stderr
