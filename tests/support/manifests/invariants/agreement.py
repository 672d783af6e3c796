"""The configuration and the manifests say the same."""

from collections.abc import Iterator
from typing import Final

import yaml

from app.settings import SettingsError, warnings
from app.settings.units import parse_duration
from tests.support.manifests.configuration import settings_of, told
from tests.support.manifests.objects import Manifest, Render, Workload, matches, name_of

__all__ = [
    "the_configuration_loads",
    "the_grace_period_is_long_enough",
    "the_pods_are_scraped_once",
    "the_ports_agree",
    "the_probes_are_answered",
]

_HEALTH: Final = ("/health/live", "/health/ready", "/health/startup")
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_SCRAPE: Final = "prometheus.io/scrape"
_OF_THE_MACHINE: Final = ("queue.directory", "queue.max_bytes")
"""Doubts that are about the disk on which this is looked at."""


def the_configuration_loads(render: Render) -> Iterator[str]:
    """The service takes its configuration without a doubt, and every file that it names is mounted."""
    workload, _ = render.gateway
    what = told(render)
    try:
        settings = what.settings()
    except SettingsError as error:
        yield from (f"{workload}: {problem}" for problem in error.problems)
        return
    except LookupError as error:
        yield f"{workload}: {error}"
        return
    for doubt in warnings(settings):
        # The authority is there for siblings (shutdown.handoff), of whom the doubt knows nothing.
        if not doubt.startswith(_OF_THE_MACHINE) and not (
            settings.shutdown.handoff and "exporter.tls.ca_file" in doubt
        ):
            yield f"{workload}: {doubt}"
    tls, auth, exporter = settings.server.tls, settings.auth, settings.exporter
    for path in (
        tls.cert_file,
        tls.key_file,
        tls.client_ca_file,
        auth.api_keys_file,
        exporter.headers_file,
        exporter.tls.ca_file,
        exporter.tls.cert_file,
        exporter.tls.key_file,
    ):
        if path and str(path) not in what.files:
            yield f"{workload}: nothing is mounted as {path}, which the configuration names"


def the_ports_agree(render: Render) -> Iterator[str]:
    """The container's ports are those of the configuration and those that the image exposes."""
    workload, container = render.gateway
    settings = settings_of(render)
    configured = {settings.server.port, settings.server.grpc_port, settings.metrics.port}
    declared = {port["containerPort"] for port in container.get("ports") or ()}
    if declared != configured:
        yield f"{workload}: its ports are {sorted(declared)}, and those of the configuration {sorted(configured)}"
    if render.exposed is not None and render.exposed != declared:
        yield f"{workload}: its ports are {sorted(declared)}, and the image exposes {sorted(render.exposed)}"
    scraped = (settings.metrics.port, settings.metrics.path)
    if _SCRAPE in workload.annotations:
        said = workload.annotations
        port, path = said.get("prometheus.io/port"), said.get("prometheus.io/path", "/metrics")
        if (port, path) != (str(scraped[0]), scraped[1]):
            yield f"{workload}: Prometheus is sent to {port}{path}, and metrics are at {scraped[0]}{scraped[1]}"
    if settings.server.host in _LOOPBACK:
        yield f"{workload}: nobody gets to server.host {settings.server.host}"
    for monitor, number, path in _monitored(render, workload):
        if not settings.metrics.enabled:
            yield f"{name_of(monitor)}: there is nothing to scrape (metrics.enabled)"
        if (number, path) != scraped:
            yield f"{name_of(monitor)}: it scrapes {number}{path}, and metrics are at {scraped[0]}{scraped[1]}"


def the_probes_are_answered(render: Render) -> Iterator[str]:
    """Each probe asks for a page of health, where it is served without TLS, and there is one of each."""
    workload, container = render.gateway
    settings = settings_of(render)
    plain = {settings.metrics.port} if settings.server.tls.cert_file else {settings.metrics.port, settings.server.port}
    for probe, page in zip(("livenessProbe", "readinessProbe", "startupProbe"), _HEALTH, strict=True):
        asked = (container.get(probe) or {}).get("httpGet")
        if not asked:
            yield f"{workload}: it has no {probe} by HTTP"
        elif asked["path"] != page:
            yield f"{workload}: {probe} asks for {asked['path']}, and not for {page}"
        elif workload.port(asked["port"]) not in plain:
            yield f"{workload}: {probe} asks the port {asked['port']!r}, where it is not answered without TLS"


def the_pods_are_scraped_once(render: Render) -> Iterator[str]:
    """Prometheus finds the pods by annotations or by a ServiceMonitor, never by both."""
    workload, _ = render.gateway
    monitored = any(_monitored(render, workload))
    if monitored and _SCRAPE in workload.annotations:
        yield f"{workload}: its pods are scraped for their annotations, and for a ServiceMonitor"
    for monitor in render.kind("ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            interval, timeout = endpoint.get("interval", "30s"), endpoint.get("scrapeTimeout", "10s")
            if parse_duration(timeout) > parse_duration(interval):
                yield f"{name_of(monitor)}: scrapeTimeout {timeout} is above the interval, {interval}"


def the_grace_period_is_long_enough(render: Render) -> Iterator[str]:
    """Nobody kills a pod, or its proxy, while it drains. Of a preStop only the sleep is looked at."""
    workload, container = render.gateway
    shutdown = settings_of(render).shutdown
    hook = (container.get("lifecycle") or {}).get("preStop") or {}
    before = (hook.get("sleep") or {}).get("seconds", 0)
    drain = before + shutdown.delay + shutdown.grace
    grace = workload.pod.get("terminationGracePeriodSeconds", 30)
    if grace <= drain:
        yield f"{workload}: it is killed after {grace}s, and drains for shutdown.delay and shutdown.grace, {drain:.0f}s"
    proxy = yaml.safe_load(workload.annotations.get("proxy.istio.io/config", "{}"))
    stays = parse_duration(proxy["terminationDrainDuration"]) if "terminationDrainDuration" in proxy else None
    if stays is None and workload.labels.get("sidecar.istio.io/inject") == "true":
        yield f"{workload}: its proxy has no terminationDrainDuration, and goes first"
    if stays is not None and not drain <= stays < grace:
        yield f"{workload}: its proxy stays for {stays:.0f}s, which is to be from {drain:.0f}s to below {grace}s"


def _monitored(render: Render, workload: Workload) -> Iterator[tuple[Manifest, int | None, str]]:
    """By which ServiceMonitors the pods are scraped, at which port and path."""
    for monitor in render.kind("ServiceMonitor"):
        for service in render.kind("Service"):
            if matches(monitor["spec"]["selector"], service["metadata"].get("labels") or {}):
                for endpoint in monitor["spec"]["endpoints"]:
                    port = render.service_port(service, endpoint["port"])
                    if port and workload in render.behind(service):
                        yield (
                            monitor,
                            workload.port(port.get("targetPort", port["port"])),
                            endpoint.get("path", "/metrics"),
                        )
    for monitor in render.kind("PodMonitor"):
        if matches(monitor["spec"]["selector"], workload.labels):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                yield monitor, workload.port(endpoint["port"]), endpoint.get("path", "/metrics")
