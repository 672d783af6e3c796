"""Every knob of the service, from where it is written to the values that components work with."""

from app.settings.load import Loaded, SettingsError, load
from app.settings.model import (
    DISK_RESERVE,
    ExporterSettings,
    HealthSettings,
    LoggingSettings,
    MetricsSettings,
    QueueSettings,
    RetrySettings,
    ServerSettings,
    Settings,
    ShutdownSettings,
    TlsSettings,
    TracingSettings,
)

__all__ = [
    "DISK_RESERVE",
    "ExporterSettings",
    "HealthSettings",
    "Loaded",
    "LoggingSettings",
    "MetricsSettings",
    "QueueSettings",
    "RetrySettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "ShutdownSettings",
    "TlsSettings",
    "TracingSettings",
    "load",
]
