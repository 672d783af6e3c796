"""The configuration decides the exporter."""

import logging
from pathlib import Path

import pytest

from app.exporters import make_exporter
from app.exporters.console import ConsoleExporter
from app.exporters.otlp_grpc import GrpcExporter
from app.exporters.otlp_http import HttpExporter
from app.settings import ExporterSettings
from app.telemetry.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (ExporterSettings(), HttpExporter),
        (ExporterSettings(protocol="grpc"), GrpcExporter),
        (ExporterSettings(protocol="console"), ConsoleExporter),
    ],
)
def test_a_protocol_has_its_exporter(settings: ExporterSettings, kind: type, metrics: Metrics) -> None:
    assert isinstance(make_exporter(settings, metrics, "1"), kind)


def test_grpc_refuses_zstd(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="gRPC knows no zstd"):
        make_exporter(ExporterSettings(protocol="grpc", compression="zstd"), metrics, "1")


def test_a_headers_file_that_is_not_there_is_an_error_at_the_start(metrics: Metrics, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_exporter(ExporterSettings(headers_file=tmp_path / "nowhere"), metrics, "1")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc", "console"])
async def test_an_exporter_that_never_sent_anything_ends_in_silence(
    protocol: str, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ExporterSettings.model_validate({"protocol": protocol})
    with caplog.at_level(logging.DEBUG, "app"):
        async with make_exporter(settings, metrics, "1"):
            pass
    assert not caplog.records
