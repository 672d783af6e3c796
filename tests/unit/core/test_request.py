from dataclasses import FrozenInstanceError

import pytest

from app.core.request import ExportRequest, Signal


@pytest.mark.parametrize(
    ("signal", "name", "path", "service", "noun"),
    [
        (Signal.TRACES, "traces", "/v1/traces", "opentelemetry.proto.collector.trace.v1.TraceService", "spans"),
        (
            Signal.METRICS,
            "metrics",
            "/v1/metrics",
            "opentelemetry.proto.collector.metrics.v1.MetricsService",
            "data points",
        ),
        (Signal.LOGS, "logs", "/v1/logs", "opentelemetry.proto.collector.logs.v1.LogsService", "log records"),
    ],
)
def test_a_signal_knows_its_names(signal: Signal, name: str, path: str, service: str, noun: str) -> None:
    assert (signal.value, signal.path, signal.service, signal.noun) == (name, path, service, noun)
    assert signal.method == f"/{service}/Export"
    assert Signal(name) is signal
    assert {signal: 1}[Signal(name)] == 1


def test_a_request_does_not_change() -> None:
    request = ExportRequest(Signal.LOGS, b"body", 3)
    with pytest.raises(FrozenInstanceError):
        request.items = 4  # type: ignore[misc]
    assert request == ExportRequest(Signal.LOGS, b"body", 3)
