"""What the service in a pod is told: its environment, its files, and the settings that come of them."""

import functools
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.settings import Settings, load
from tests.support.manifests.objects import Manifest, Render
from tests.support.service import COMMAND, clean_environment

__all__ = ["Told", "endpoints", "settings_of", "told"]


@dataclass(frozen=True, slots=True)
class Told:
    """The environment of a container, and the files that are mounted from ConfigMaps and Secrets, by their path."""

    environment: dict[str, str]
    files: dict[str, str]

    def settings(self) -> Settings:
        """As the service would load them.

        Raises:
            SettingsError: they have mistakes.
            LookupError: CONFIG_PATH names no mounted file.
        """
        path = self.environment["CONFIG_PATH"]
        if path not in self.files:
            raise LookupError(f"CONFIG_PATH: {path} is not among the mounted files: {sorted(self.files)}")
        return _loaded(tuple(sorted(self.environment.items())), PurePosixPath(path).name, self.files[path])

    def write(self, root: Path) -> dict[str, str]:
        """Write the files below `root`; returns the environment with every path of them moved there."""
        directories = {str(PurePosixPath(path).parent) for path in self.files}
        for path, text in self.files.items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return {
            name: f"{root}{value}" if str(PurePosixPath(value).parent) in directories else value
            for name, value in self.environment.items()
        }

    def check(self, root: Path) -> str:
        """What `otlp-service config check` says of it, with the files below `root`; it must find no mistake."""
        checked = subprocess.run(
            [*COMMAND, "config", "check"],
            env=clean_environment(root) | self.write(root),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        return checked.stdout


def told(render: Render) -> Told:
    """What the service is told; what is missing is left out, because a reference to nothing is another's to tell."""
    workload, container = render.gateway
    environment: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for reference, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if reference in source:
                environment |= _content(render, kind, source[reference]["name"])
    for variable in container.get("env") or ():
        environment[variable["name"]] = _value(render, variable, environment)
    files: dict[str, str] = {}
    for mount in container.get("volumeMounts") or ():
        files |= _files(render, workload.volumes.get(mount["name"], {}), mount["mountPath"])
    return Told(environment, files)


def settings_of(render: Render) -> Settings:
    """The settings of the service; raises what `Told.settings` raises."""
    return told(render).settings()


def endpoints(settings: Settings) -> dict[str, str]:
    """Every endpoint that is in force, by its key."""
    exporter = settings.exporter
    found = {
        "exporter.endpoint": exporter.endpoint,
        "exporter.traces_endpoint": exporter.traces_endpoint,
        "exporter.metrics_endpoint": exporter.metrics_endpoint,
        "exporter.logs_endpoint": exporter.logs_endpoint,
        "shutdown.handoff": settings.shutdown.handoff,
    }
    return {key: endpoint for key, endpoint in found.items() if endpoint}


@functools.cache
def _loaded(environment: tuple[tuple[str, str], ...], name: str, text: str) -> Settings:
    """The settings of a file, read once for all that is asked of them."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / name
        file.write_text(text)
        return load({}, dict(environment), config=file).settings


def _content(render: Render, kind: str, name: str) -> dict[str, str]:
    found = render.find(kind, name, given=True) or {}
    return {**(found.get("data") or {}), **(found.get("stringData") or {})}


def _value(render: Render, variable: Manifest, known: Mapping[str, str]) -> str:
    source = variable.get("valueFrom")
    if not source:
        text = str(variable.get("value", ""))
        for name, value in known.items():
            text = text.replace(f"$({name})", value)
        return text
    for reference, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if reference in source:
            return _content(render, kind, source[reference]["name"]).get(source[reference]["key"], "")
    return "of-the-pod"


def _files(render: Render, volume: Manifest, directory: str) -> dict[str, str]:
    if "configMap" in volume:
        content, source = _content(render, "ConfigMap", volume["configMap"]["name"]), volume["configMap"]
    elif "secret" in volume:
        content, source = _content(render, "Secret", volume["secret"]["secretName"]), volume["secret"]
    else:
        return {}
    items = source.get("items") or [{"key": key, "path": key} for key in content]
    return {f"{directory}/{item['path']}": content[item["key"]] for item in items if item["key"] in content}
