"""How siblings are spoken to."""

from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.core.instance import Instance
from app.core.request import ExportRequest, Signal
from app.handoff import hand_off, siblings
from app.queue import MemoryQueue
from app.settings import AuthSettings, ExporterSettings, TlsSettings
from app.telemetry.metrics import Metrics

TLS = TlsSettings(ca_file=Path("ca.pem"))


def test_siblings_get_nothing_that_is_the_destinations_own() -> None:
    exporter = ExporterSettings(
        endpoint="https://collector:4317",
        logs_endpoint="https://logs",
        protocol="grpc",
        headers={"authorization": "hush"},
        headers_file=Path("secrets"),
        tls=TLS,
        max_batch_bytes=1000,
        timeout=30,
    )
    settings = siblings(exporter, "http://otlp-service:8080", AuthSettings())
    assert [settings.endpoint_for(signal) for signal in Signal] == [
        f"http://otlp-service:8080{signal.path}" for signal in Signal
    ]
    assert (settings.protocol, settings.headers, settings.headers_file) == ("http/protobuf", {}, None)
    assert (settings.tls, settings.max_batch_bytes, settings.timeout) == (TLS, 1000, 5)
    keys = AuthSettings(api_keys=["web:sesame", "other"])
    assert siblings(exporter, "http://s", keys).headers == {"x-api-key": "sesame"}
    assert siblings(ExporterSettings(timeout=1), "http://s", AuthSettings()).timeout == 1


async def test_without_its_certificates_nothing_is_handed_off_and_nothing_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = SystemClock()
    queue = MemoryQueue(max_bytes=1000, patience=0, clock=clock)
    await queue.append(ExportRequest(Signal.TRACES, b"a", 2), lambda _: None)
    handed_off = await hand_off(
        queue,
        "https://otlp-service:8080",
        ExporterSettings(tls=TLS),
        1,
        auth=AuthSettings(),
        metrics=Metrics("0"),
        version="0",
        instance=Instance(),
        clock=clock,
    )
    assert (handed_off, queue.waiting(Signal.TRACES)) == (0, 2)
    assert "nothing is handed off: exporter.tls.ca_file: ca.pem holds no certificates" in caplog.text
