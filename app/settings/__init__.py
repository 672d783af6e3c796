"""Every knob of the service, from where it is written to the values that components work with."""

from app.settings.doubts import warnings
from app.settings.headers import HeadersFile
from app.settings.load import Loaded, SettingsError, check_files, load
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
from app.settings.schema import schema
from app.settings.show import show

__all__ = [
    "DISK_RESERVE",
    "ExporterSettings",
    "HeadersFile",
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
    "check_files",
    "load",
    "schema",
    "show",
    "warnings",
]
