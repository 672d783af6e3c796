"""What delivers requests to the destination, in the protocol that is configured."""

import sys

from app.core.clock import Clock, SystemClock
from app.core.instance import Instance
from app.exporters.attempts import Attempts
from app.exporters.console import ConsoleExporter
from app.exporters.otlp_grpc import GrpcExporter
from app.exporters.otlp_http import HttpExporter
from app.exporters.renewable import Exporter, Renewable
from app.settings import ExporterSettings
from app.settings.headers import HeadersFile
from app.telemetry.metrics import Metrics

__all__ = ["Exporter", "Renewable", "make_exporter"]


def make_exporter(
    settings: ExporterSettings,
    metrics: Metrics,
    version: str,
    clock: Clock | None = None,
    instance: Instance | None = None,
) -> Exporter:
    """The exporter for `settings.protocol`, which tells the destination that what it gets has passed `instance`.

    Raises:
        OSError, ValueError: a file that the settings name cannot be used. Files of TLS are read on entering.
    """
    clock = clock or SystemClock()
    attempts = Attempts(metrics, clock, settings.timeout)
    if settings.protocol == "console":
        return ConsoleExporter(sys.stdout, attempts)
    headers = HeadersFile(
        settings.headers_file,
        settings.headers,
        grpc=settings.protocol == "grpc",
        reloaded=lambda well: metrics.reloaded("exporter.headers_file", well),
    )
    user_agent = f"otlp-service/{version}"
    instance = instance or Instance()
    if settings.protocol == "grpc":
        return GrpcExporter(settings, attempts, headers, user_agent, instance)
    return HttpExporter(settings, attempts, headers, user_agent, instance, clock)
