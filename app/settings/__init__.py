"""Every knob of the service, from where it is written to the values that components work with."""

from app.settings.adopt import adopt, changes
from app.settings.doubts import warnings
from app.settings.headers import HeadersFile
from app.settings.load import Loaded, SettingsError, check_files, load
from app.settings.model import (
    DISK_RESERVE,
    AuthSettings,
    ConsoleSettings,
    CorsSettings,
    ExporterSettings,
    HealthSettings,
    LoggingSettings,
    MetricsSettings,
    QueueSettings,
    Quota,
    RetrySettings,
    ServerSettings,
    ServerTlsSettings,
    Settings,
    ShutdownSettings,
    TlsSettings,
    TracingSettings,
)
from app.settings.schema import schema
from app.settings.show import in_force, show
from app.settings.watched import Watched

__all__ = [
    "DISK_RESERVE",
    "AuthSettings",
    "ConsoleSettings",
    "CorsSettings",
    "ExporterSettings",
    "HeadersFile",
    "HealthSettings",
    "Loaded",
    "LoggingSettings",
    "MetricsSettings",
    "QueueSettings",
    "Quota",
    "RetrySettings",
    "ServerSettings",
    "ServerTlsSettings",
    "Settings",
    "SettingsError",
    "ShutdownSettings",
    "TlsSettings",
    "TracingSettings",
    "Watched",
    "adopt",
    "changes",
    "check_files",
    "in_force",
    "load",
    "schema",
    "show",
    "warnings",
]
