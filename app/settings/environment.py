"""Settings from the environment: our own variables, and the standard ones that every OpenTelemetry SDK reads."""

import re
from collections.abc import Mapping

from app.settings.headers import parse_pairs
from app.settings.keys import KEYS, PREFIX, SECTIONS, Value, meant, near, variable

__all__ = ["STANDARD", "STANDARD_PREFIX", "read_environment", "read_standard"]

# Kubernetes describes every Service of the namespace in the environment of every pod. A Service named otlp-service
# gives OTLP_SERVICE_PORT and the like; others whose names begin with otlp give the shapes below.
_SERVICE_LINK = re.compile(
    r"OTLP_SERVICE(_.*)?"
    r"|OTLP_([A-Z0-9_]+_)?SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)"
    r"|OTLP_([A-Z0-9_]+_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")

STANDARD_PREFIX = "OTEL_EXPORTER_OTLP_"
STANDARD = {
    "ENDPOINT": "exporter.endpoint",
    "TRACES_ENDPOINT": "exporter.traces_endpoint",
    "METRICS_ENDPOINT": "exporter.metrics_endpoint",
    "LOGS_ENDPOINT": "exporter.logs_endpoint",
    "PROTOCOL": "exporter.protocol",
    "HEADERS": "exporter.headers",
    "TIMEOUT": "exporter.timeout",
    "COMPRESSION": "exporter.compression",
    "CERTIFICATE": "exporter.tls.ca_file",
    "CLIENT_CERTIFICATE": "exporter.tls.cert_file",
    "CLIENT_KEY": "exporter.tls.key_file",
}
_PER_SIGNAL = re.compile(r"(TRACES|METRICS|LOGS)_(.+)")


def read_environment(environ: Mapping[str, str]) -> tuple[dict[str, Value], list[str]]:
    """What the ``OTLP_<SECTION>__<KEY>`` variables say, and what is wrong with their names."""
    values: dict[str, Value] = {}
    problems: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        key = name.removeprefix(PREFIX).lower().replace("__", ".")
        if key in KEYS and "__" in name:
            values[key] = Value(environ[name], name)
        elif not _is_service_link(name, environ[name]):
            problems.append(_unknown_variable(name, key))
    return values, problems


def _is_service_link(name: str, text: str) -> bool:
    if "__" in name and not name.startswith("OTLP_SERVICE_"):
        return False
    return bool(_SERVICE_LINK.fullmatch(name)) or (name.endswith("_PORT") and bool(_LINK_ADDRESS.fullmatch(text)))


def _unknown_variable(name: str, key: str) -> str:
    if key in SECTIONS:
        example = variable(next(known for known in KEYS if known.startswith(f"{key}.")))
        return f"{name}: names a section; name a key in it as well, as in {example}"
    match = meant(key) if "." in key else None
    hint = variable(match) if match in KEYS else near(name, [variable(known) for known in KEYS])
    return f"{name}: unknown variable; " + (f"did you mean {hint}?" if hint else f"write {PREFIX}<SECTION>__<KEY>")


def read_standard(environ: Mapping[str, str]) -> tuple[dict[str, Value], list[str]]:
    """What the ``OTEL_EXPORTER_OTLP_*`` variables say. An empty one counts as unset, as OpenTelemetry has it."""
    values: dict[str, Value] = {}
    problems: list[str] = []
    for name in sorted(environ):
        text = environ[name].strip()
        if not name.startswith(STANDARD_PREFIX) or not text:
            continue
        suffix = name.removeprefix(STANDARD_PREFIX)
        if key := STANDARD.get(suffix):
            try:
                values[key] = Value(_standard_value(suffix, text), name)
            except ValueError as error:
                problems.append(f"{key}: {error} ({name})")
        elif (match := _PER_SIGNAL.fullmatch(suffix)) and (match[2] in STANDARD or match[2] == "INSECURE"):
            problems.append(
                f"{name}: is not supported for one signal alone; set {STANDARD_PREFIX}{match[2]}, which is for all"
            )
    if environ.get(f"{STANDARD_PREFIX}INSECURE", "").strip().lower() == "false":
        values = {key: _secured(key, value) for key, value in values.items()}
    return values, problems


def _standard_value(suffix: str, text: str) -> str | dict[str, str]:
    if suffix == "HEADERS":
        return parse_pairs(text, encoded=True)
    if suffix == "TIMEOUT":
        if not re.fullmatch(r"\d+", text):
            raise ValueError(f"{text!r} is not a number of milliseconds, which this variable takes; write 30000")
        return f"{text}ms"
    if suffix == "PROTOCOL" and text not in {"grpc", "http/protobuf"}:
        raise ValueError(f"{text!r} is not supported; write grpc or http/protobuf")
    return text


def _secured(key: str, value: Value) -> Value:
    """An endpoint without a scheme has TLS when ``OTEL_EXPORTER_OTLP_INSECURE`` says false."""
    if key.endswith("endpoint") and isinstance(value.raw, str) and "://" not in value.raw:
        return Value(f"https://{value.raw}", value.origin)
    return value
