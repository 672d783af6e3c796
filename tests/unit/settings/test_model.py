"""The sections as components get them."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from app.core.request import Signal
from app.settings import ExporterSettings, LoggingSettings, QueueSettings, RetrySettings, ServerSettings, Settings


def test_durations_are_seconds_and_sizes_bytes() -> None:
    settings = Settings()
    assert settings.exporter.batch_timeout == 0.2
    assert settings.exporter.max_batch_bytes == 3_670_016
    assert settings.server.max_connection_age == 300.0
    assert isinstance(settings.server.max_connection_age, float)


def test_a_section_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        QueueSettings().wait = 2.0  # type: ignore[misc]


def test_a_section_knows_no_other_key() -> None:
    with pytest.raises(ValidationError):
        ServerSettings(cors=None)  # type: ignore[call-arg]


def test_sections_that_are_put_together_stay_exactly_what_they_were() -> None:
    queue = QueueSettings(wait=1 / 3, max_bytes=123_456_789, max_age=None)
    exporter = ExporterSettings(retry=RetrySettings(multiplier=1.1), headers={"a": "b"})
    settings = Settings(queue=queue, exporter=exporter)
    assert (settings.queue, settings.exporter) == (queue, exporter)


def test_settings_survive_their_own_json() -> None:
    settings = Settings(queue=QueueSettings(max_age=0.123456789), logging=LoggingSettings(format="text"))
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("http://c/otlp/", "http://c/otlp/v1/traces"),
    ],
)
def test_paths_are_added_to_a_base_url(endpoint: str, url: str) -> None:
    assert ExporterSettings(endpoint=endpoint).endpoint_for(Signal.TRACES) == url


@pytest.mark.parametrize("signal", Signal)
def test_the_endpoint_of_a_signal_is_used_as_it_is(signal: Signal) -> None:
    own = "https://own.example/x?y=z"
    exporter = ExporterSettings.model_validate({f"{signal.value}_endpoint": own})
    assert exporter.endpoint_for(signal) == own
    assert exporter.secure(signal)
    for other in set(Signal) - {signal}:
        assert exporter.endpoint_for(other) == f"http://localhost:4318{other.path}"
        assert not exporter.secure(other)


def test_the_endpoint_of_a_signal_is_used_as_it_is_even_where_it_equals_the_base() -> None:
    exporter = ExporterSettings(endpoint="http://c:4318", logs_endpoint="http://c:4318")
    assert exporter.endpoint_for(Signal.LOGS) == "http://c:4318"


def test_grpc_dials_targets_of_which_some_may_have_tls() -> None:
    exporter = ExporterSettings(endpoint="c:4317", traces_endpoint="https://t.example", protocol="grpc")
    assert (exporter.endpoint_for(Signal.LOGS), exporter.secure(Signal.LOGS)) == ("c:4317", False)
    assert (exporter.endpoint_for(Signal.TRACES), exporter.secure(Signal.TRACES)) == ("t.example:443", True)


def test_settings_import_no_server_and_no_sdk() -> None:
    code = "import app.settings, sys; print({name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert not {"fastapi", "grpc", "opentelemetry", "aiohttp", "uvicorn"} & set(eval(result.stdout))  # noqa: S307 - our own output
