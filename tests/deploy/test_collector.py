"""The component `collector` for real: its configuration in an OpenTelemetry Collector, with only addresses changed."""

import re
import subprocess
from http.client import HTTPConnection
from pathlib import Path

import pytest
import yaml
from opentelemetry.sdk.resources import Resource

from app.core.request import Signal
from tests.support.collector import Collector, find_otelcol
from tests.support.items import items_of
from tests.support.manifests.configuration import told
from tests.support.manifests.objects import Render
from tests.support.manifests.render import COLLECTOR, kustomize
from tests.support.patience import PATIENCE
from tests.support.ports import free_port
from tests.support.sdk import Sdk, Transport
from tests.support.service import Service
from tests.support.telemetry import record_logs, record_metrics, record_spans

pytestmark = pytest.mark.needs("otelcol")

TRANSPORTS: tuple[Transport, ...] = ("grpc", "http")
COUNTED = {Signal.TRACES: "spans", Signal.METRICS: "data points", Signal.LOGS: "log records"}


def configuration(render: Render) -> str:
    config = next(each for each in render.kind("ConfigMap") if each["metadata"]["name"].startswith(COLLECTOR))
    text: str = config["data"]["collector.yaml"]
    return text


def moved(text: str) -> tuple[str, dict[int, int]]:
    """The same with each port that it listens on moved to a free one of this machine; and which became which."""
    ports = {
        int(port): free_port() for port in re.findall(r"0\.0\.0\.0:(\d+)|port: (\d+)", text) for port in port if port
    }
    for port, free in ports.items():
        text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{free}").replace(f"port: {port}", f"port: {free}")
    return text.replace('"0.0.0.0"', '"127.0.0.1"'), ports


def printed(log: str, signal: Signal) -> int:
    """How many items the exporter `debug` says that it got."""
    return sum(int(number) for number in re.findall(rf'"{COUNTED[signal]}": (\d+)', log))


def test_a_collector_takes_the_configuration(tmp_path: Path) -> None:
    program = find_otelcol()
    assert program
    file = tmp_path / "collector.yaml"
    file.write_text(configuration(kustomize("collector")))
    checked = subprocess.run(
        [program, "validate", "--config", file], capture_output=True, encoding="utf-8", check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_it_listens_where_the_manifests_say() -> None:
    workload = next(each for each in kustomize("collector").workloads if str(each) == f"Deployment/{COLLECTOR}")
    assert set(workload.ports.values()) == set(moved(configuration(kustomize("collector")))[1])


# What the images otelcol, otelcol-k8s and otelcol-contrib all have, by the `gomod` of the three manifest.yaml of
# open-telemetry/opentelemetry-collector-releases (distributions/, at 0.159.0), and the build of the tests has too.
OFFICIAL = {
    "go.opentelemetry.io/collector/receiver/otlpreceiver",
    "go.opentelemetry.io/collector/processor/batchprocessor",
    "go.opentelemetry.io/collector/processor/memorylimiterprocessor",
    "go.opentelemetry.io/collector/exporter/debugexporter",
    "go.opentelemetry.io/collector/exporter/otlphttpexporter",
    "github.com/open-telemetry/opentelemetry-collector-contrib/extension/healthcheckextension",
}


def built_in() -> dict[str, str]:
    """The module of each kind of component that the collector of the tests has, as it says itself."""
    program = find_otelcol()
    assert program
    listed = subprocess.run([program, "components"], capture_output=True, encoding="utf-8", check=True)
    told = yaml.safe_load(listed.stdout)
    kinds = ("receivers", "processors", "exporters", "extensions", "connectors")
    return {each["name"]: each["module"].partition(" ")[0] for kind in kinds for each in told[kind]}


def test_it_has_only_what_this_build_and_the_official_images_have() -> None:
    config = yaml.safe_load(configuration(kustomize("collector")))
    kinds = ("receivers", "processors", "exporters", "extensions", "connectors")
    used = {name.partition("/")[0] for kind in kinds for name in config.get(kind, {})}
    modules = built_in()
    assert used == {"otlp", "memory_limiter", "debug", "health_check"}
    assert {modules[name] for name in used} <= OFFICIAL <= set(modules.values())


def test_it_is_told_of_the_file_that_is_mounted() -> None:
    render = kustomize("collector")
    workload = next(each for each in render.workloads if str(each) == f"Deployment/{COLLECTOR}")
    (container,) = workload.containers
    (file,) = [argument.removeprefix("--config=") for argument in container["args"]]
    folder, _, name = file.rpartition("/")
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == folder]
    config = render.find("ConfigMap", workload.volumes[mount["name"]]["configMap"]["name"])
    assert config
    assert name in config["data"]


def test_it_is_the_image_of_the_version_that_is_tried_here() -> None:
    program = find_otelcol()
    assert program
    said = subprocess.run([program, "--version"], capture_output=True, encoding="utf-8", check=True).stdout
    workload = next(each for each in kustomize("collector").workloads if str(each) == f"Deployment/{COLLECTOR}")
    assert workload.containers[0]["image"].rpartition(":")[2] == said.split()[-1]


@pytest.mark.parametrize(("protocol", "port"), [("http/protobuf", 4318), ("grpc", 4317)])
async def test_it_receives_what_the_service_exports(tmp_path: Path, protocol: str, port: int) -> None:
    render = kustomize("collector")
    text, ports = moved(configuration(render))
    (tmp_path / "collector.yaml").write_text(text)
    collector = Collector(
        [str(find_otelcol()), "--config", str(tmp_path / "collector.yaml")], tmp_path, ports[4318], ports[4317]
    )
    async with collector, base(tmp_path, render, f"http://127.0.0.1:{ports[port]}", protocol) as service:
        assert healthy(ports[13133])
        sent = await send(service)
        await service.settled(
            lambda scrape: all(scrape.books(signal).sent >= sent[signal] for signal in Signal), "delivered"
        )

        async def prints_all() -> bool:
            return all(printed(collector.log, signal) >= sent[signal] for signal in Signal)

        await collector.until(prints_all, "printed by the collector")


def base(directory: Path, render: Render, endpoint: str, protocol: str) -> Service:
    """The service with the configuration of the base, but for addresses and the directory."""
    what = told(render)
    settings = yaml.safe_load(what.files["/app/config/production.yaml"])
    addresses = {
        "server": ("host", "port", "grpc_port"),
        "metrics": ("port",),
        "queue": ("directory",),
        "shutdown": ("handoff",),
    }
    for section, keys in addresses.items():
        for key in keys:
            del settings[section][key]
    environment = {
        name: value for name, value in what.environment.items() if name.startswith(("OTLP_", "OTEL_", "PYTHON"))
    }
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    return Service(directory, settings, environment)


def healthy(port: int) -> bool:
    """Whether the kubelet's probes, as the manifest has them, are answered well."""
    workload = next(each for each in kustomize("collector").workloads if str(each) == f"Deployment/{COLLECTOR}")
    probe = workload.containers[0]["readinessProbe"]["httpGet"]
    assert workload.containers[0]["livenessProbe"]["httpGet"] == probe
    assert workload.port(probe["port"]) == 13133
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", probe["path"])
    status = connection.getresponse().status
    connection.close()
    return status == 200


async def send(service: Service) -> dict[Signal, int]:
    """All three signals over both transports; returns how many items were acknowledged."""
    sent = dict.fromkeys(Signal, 0)
    for transport in TRANSPORTS:
        client = Sdk(transport, http_url=service.http_url, grpc_target=service.grpc_target, resource=Resource({}))
        async with client as sdk:
            record_spans(sdk.tracers)
            record_metrics(sdk.meters)
            record_logs(sdk.loggers)
        for signal in Signal:
            sent[signal] += sum(1 for body in sdk.sent[signal] for _ in items_of(signal, body))
    assert all(sent.values()), sent
    return sent
