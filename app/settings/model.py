"""Every knob of the service: a section for each component, with its units and defaults.

A section is frozen and holds plain values: durations are seconds, sizes are bytes. Sections made in Python
(`QueueSettings(wait=0.5)`) read neither the environment nor a file; `app.settings.load` does.
"""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.core.request import Signal
from app.settings.api_keys import parse_keys, read_list
from app.settings.endpoint import split_endpoint, target
from app.settings.headers import check_headers, check_names, parse_pairs
from app.settings.origins import check_origins
from app.settings.units import Duration, Size

__all__ = [
    "DISK_RESERVE",
    "AuthSettings",
    "ConsoleSettings",
    "CorsSettings",
    "ExporterSettings",
    "HealthSettings",
    "LoggingSettings",
    "MetricsSettings",
    "QueueSettings",
    "Quota",
    "RetrySettings",
    "ServerSettings",
    "ServerTlsSettings",
    "Settings",
    "ShutdownSettings",
    "TlsSettings",
    "TracingSettings",
]

_KiB = 1 << 10
_MiB = 1 << 20
_NO_PATH = re.compile("\0|[\ud800-\udc7f\udd00-\udfff]")
"""What no path holds: an end, and halves of characters that stand for no byte of a name."""

DISK_RESERVE = 16 * _MiB
"""What a queue on disk keeps free of `queue.max_bytes`, so that a full one can still take acknowledgements."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


def _whole(value: object) -> object:
    """Let ``1e+06`` be a whole number, because Helm writes large ones so."""
    if isinstance(value, str) and "e" in value.lower():
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if number.is_integer() else value
    return value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _level(value: object) -> object:
    lowered = _lower(value)
    return "warning" if lowered == "warn" else lowered


def _log_format(value: object) -> object:
    """Without a choice: for people on a terminal, for machines elsewhere."""
    if value in {None, "", "null"}:
        return "text" if sys.stderr.isatty() else "json"
    return _lower(value)


def _pairs(value: object) -> object:
    """A map may come as one line of text, from the environment or the command line."""
    return parse_pairs(value) if isinstance(value, str) else value


def _keys(value: list[str]) -> list[str]:
    parse_keys(value)
    return value


def _quotas(value: object) -> object:
    """A map of maps may come as one line of JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except (ValueError, RecursionError) as error:
        raise ValueError('it is not JSON; write {"name": {"items_per_second": 1000}}') from error


def _some(value: object) -> object:
    if isinstance(value, str) and (not value or _NO_PATH.search(value)):
        raise ValueError(f"{value!r} is not a path; write one")
    return value


Port = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=65535)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=(1 << 31) - 1)]
PositiveDuration = Annotated[Duration, Field(gt=0)]
PositiveSize = Annotated[Size, Field(gt=0)]
Headers = Annotated[dict[str, str], AfterValidator(check_headers), BeforeValidator(_pairs)]
File = Annotated[Path, BeforeValidator(_some)]
ApiKeys = Annotated[list[str], AfterValidator(_keys), BeforeValidator(read_list)]
Origins = Annotated[list[str], AfterValidator(check_origins), BeforeValidator(read_list)]
HeaderNames = Annotated[list[str], AfterValidator(check_names), BeforeValidator(read_list)]
Quotas = Annotated[dict[str, "Quota"], BeforeValidator(_quotas)]


class ServerTlsSettings(_Section):
    """TLS of both receivers; their files are read again when they change. The admin port has none."""

    cert_file: File | None = Field(None, description="PEM of the certificate and its chain; null: no TLS.")
    key_file: File | None = Field(None, description="PEM of the key of `cert_file`.")
    client_ca_file: File | None = Field(
        None, description="PEM of the authorities that have to vouch for clients (mutual TLS); null: nobody has to."
    )


class CorsSettings(_Section):
    """Whether pages in browsers may send over HTTP."""

    allowed_origins: Origins = Field(
        [], description="Sites whose pages may, such as `https://app.example`, `https://*.example` or `*`; none: none."
    )
    allowed_headers: HeaderNames = Field(
        [], description="What they may send beside the headers of OTLP and of API keys; `*` is anything."
    )


class ServerSettings(_Section):
    """What receives telemetry."""

    host: Annotated[str, Field(min_length=1)] = Field(
        "0.0.0.0", description='The address of all servers; "::" is both families.'
    )
    port: Port = Field(8080, description="OTLP/HTTP and /health; 0 is any free port.")
    grpc_port: Port = Field(4317, description="OTLP/gRPC; 0 is any free port.")
    grpc_engine: Literal["grpcio", "native"] = Field(
        "grpcio",
        description="What speaks gRPC; `native` costs half or less, without TLS and some bounds; for trusted clients.",
    )
    max_request_size: PositiveSize = Field(16 * _MiB, description="The largest request, compressed and inflated.")
    max_json_size: PositiveSize = Field(4 * _MiB, description="The largest JSON request, compressed and inflated.")
    max_inflight_bytes: PositiveSize = Field(64 * _MiB, description="What all HTTP requests together may hold at once.")
    max_connections: Count = Field(1000, description="Open connections, for each of the two servers.")
    max_concurrent_streams: Count = Field(32, description="Requests at once on a gRPC connection.")
    header_timeout: PositiveDuration = Field(10, description="How long an HTTP client may take to send its headers.")
    body_timeout: PositiveDuration = Field(30, description="How long an HTTP client may take to send a body.")
    max_connection_age: PositiveDuration = Field(
        300, description="When a connection is closed in friendship (jittered), so that new pods get their share."
    )
    tls: ServerTlsSettings = ServerTlsSettings()
    cors: CorsSettings = CorsSettings()


class Quota(_Section):
    """How much the holder of a key may send: on average, and for how long it may have saved up."""

    items_per_second: Annotated[float, Field(gt=0)] | None = None
    bytes_per_second: PositiveSize | None = None
    burst: PositiveDuration = 10


class AuthSettings(_Section):
    """Who may send: who shows a key as `Authorization: Bearer KEY` or `x-api-key: KEY`; without keys, everybody."""

    api_keys: ApiKeys = Field([], description="`name:key` or `key` each; names are what metrics call them.", repr=False)
    api_keys_file: File | None = Field(
        None, description="More keys from a file, one a line; read again when it changes."
    )
    quotas: Quotas = Field(
        {},
        description="By a key's name: `items_per_second`, `bytes_per_second`, and `burst` (10s), "
        "for how long what was not sent may be saved up.",
    )


class TlsSettings(_Section):
    """TLS towards the destination."""

    ca_file: File | None = Field(None, description="PEM of the authorities to trust; null: those of the system.")
    cert_file: File | None = Field(None, description="PEM of the client's certificate, for mutual TLS.")
    key_file: File | None = Field(None, description="PEM of the key of `cert_file`.")


class RetrySettings(_Section):
    """How long to wait before what failed is sent again."""

    initial_interval: PositiveDuration = Field(1, description="The first wait.")
    max_interval: PositiveDuration = Field(30, description="The longest wait.")
    multiplier: Annotated[float, Field(ge=1)] = Field(1.5, description="How much longer each wait is than the last.")
    max_hint: PositiveDuration = Field(300, description="How long a destination may ask us to wait (Retry-After).")


class ExporterSettings(_Section):
    """What delivers telemetry."""

    endpoint: str = Field(
        "http://localhost:4318",
        description="The destination's base URL; for gRPC also `host:port`, which like http:// is without TLS.",
    )
    traces_endpoint: str | None = Field(None, description="Where traces go instead, used as it is.")
    metrics_endpoint: str | None = Field(None, description="Where metrics go instead, used as it is.")
    logs_endpoint: str | None = Field(None, description="Where logs go instead, used as it is.")
    timeout: PositiveDuration = Field(30, description="How long one attempt may take.")
    batch_size: Count = Field(1000, description="How many items set off a batch.")
    batch_timeout: Duration = Field(0.2, description="How long the first item waits for others.")
    max_batch_bytes: PositiveSize = Field(3584 * _KiB, description="The largest batch, before compression.")
    protocol: Literal["http/protobuf", "grpc", "console"] = Field(
        "http/protobuf", description="How to speak to the destination; console prints."
    )
    compression: Literal["none", "gzip", "zstd"] = Field("gzip", description="Of batches; zstd over HTTP only.")
    headers: Headers = Field({}, description="Sent with every request.", repr=False)
    headers_file: File | None = Field(
        None, description="Headers from a file, over those of `headers`; read again when it changes."
    )
    concurrency: Count = Field(10, description="Batches under way at once.")
    tls: TlsSettings = TlsSettings()
    retry: RetrySettings = RetrySettings()

    def own_endpoint(self, signal: Signal) -> str | None:
        """The endpoint that `signal` has for itself."""
        own: dict[Signal, str | None] = {
            Signal.TRACES: self.traces_endpoint,
            Signal.METRICS: self.metrics_endpoint,
            Signal.LOGS: self.logs_endpoint,
        }
        return own[signal]

    def endpoint_for(self, signal: Signal) -> str:
        """The URL to post `signal` to, or for gRPC the target to dial, as ``host:port``."""
        own = self.own_endpoint(signal)
        if self.protocol == "grpc":
            return target(own or self.endpoint)
        return own or self.endpoint.rstrip("/") + signal.path

    def secure(self, signal: Signal) -> bool:
        """Whether `signal` goes out over TLS."""
        return split_endpoint(self.own_endpoint(signal) or self.endpoint).scheme == "https"


class QueueSettings(_Section):
    """What keeps telemetry until it is delivered."""

    storage: Annotated[Literal["disk", "memory"], BeforeValidator(_lower)] = Field(
        "disk", description="disk survives the process and the machine, memory survives nothing."
    )
    directory: File = Field(Path("data/queue"), description="Where a queue on disk lives.")
    max_bytes: PositiveSize = Field(
        768 * _MiB, description="The bound of the file of a queue on disk, dead letters included."
    )
    memory_bytes: Size = Field(64 * _MiB, description="What is also kept in memory; the bound of a queue in memory.")
    wait: Duration = Field(1, description="How long a request waits for room before it is refused.")
    max_age: PositiveDuration | None = Field(
        None, description="Drop what has waited longer; what is being tried is kept. null: nothing is dropped for age."
    )
    acknowledge: Annotated[Literal["stored", "delivered"], BeforeValidator(_lower)] = Field(
        "stored", description="Answer a client when its data is stored, or only when the destination has it."
    )


class TracingSettings(_Section):
    """The service's own traces, which go to where traces are exported to."""

    enabled: bool = Field(True, description="Whether it makes them.")
    service_name: Annotated[str, Field(min_length=1)] = Field("otlp-service", description="Its `service.name` in them.")
    sampling_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        1,
        description="The share of batches that get a span, up to 1; requests get one where their client's has.",
    )


class LoggingSettings(_Section):
    """The service's own log, on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)] = Field(
        "info", description="The least that is logged."
    )
    format: Annotated[Literal["json", "text"], BeforeValidator(_log_format)] = Field(
        default_factory=lambda: "text" if sys.stderr.isatty() else "json",
        description="null: text on a terminal, otherwise json.",
    )


class MetricsSettings(_Section):
    """The admin port: metrics, health and the queue."""

    enabled: bool = Field(True, description="Whether metrics are served; health and the queue always are.")
    port: Port = Field(9090, description="The admin port; 0 is any free port.")
    path: Annotated[str, Field(pattern=r"^/[^\s?#{}]*$")] = Field("/metrics", description="Where metrics are served.")


class HealthSettings(_Section):
    """What the probes are told."""

    unready_when_full: bool = Field(False, description="Whether a full queue makes the service unready.")


class ConsoleSettings(_Section):
    """The console, a page at `/` of the admin port that shows what the service does (docs/console.md)."""

    enabled: bool = Field(
        False, description="Whether it is there. Whoever reaches the admin port sees the telemetry that passes."
    )


class ShutdownSettings(_Section):
    """How the service ends."""

    delay: Duration = Field(5, description="How long to go on accepting while endpoints update.")
    grace: Duration = Field(25, description="How long delivering the rest of the queue may take.")
    handoff: str | None = Field(
        None, description="The base URL of OTLP/HTTP where siblings take what is left then; null: it stays."
    )


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    exporter: ExporterSettings = ExporterSettings()
    queue: QueueSettings = QueueSettings()
    tracing: TracingSettings = TracingSettings()
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    metrics: MetricsSettings = MetricsSettings()
    health: HealthSettings = HealthSettings()
    console: ConsoleSettings = ConsoleSettings()
    shutdown: ShutdownSettings = ShutdownSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: it reads the sources, because it has to know where each value came from."""
        return (init_settings,)
