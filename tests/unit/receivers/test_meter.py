"""What a receiver counts, and under which labels."""

import pytest

from app.core.request import Signal
from app.receivers.meter import Meter
from app.telemetry.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0")


def test_an_answer_counts_for_its_signal_and_for_its_route(metrics: Metrics) -> None:
    http, grpc = Meter(metrics, "http"), Meter(metrics, "grpc")
    for _ in range(2):
        http.answered(Signal.LOGS, "200")
    grpc.answered(Signal.LOGS, "OK")
    value = metrics.registry.get_sample_value
    own = "otlp_receiver_requests_total"
    assert value(own, {"signal": "logs", "transport": "http", "code": "200"}) == 2
    assert value(own, {"signal": "logs", "transport": "grpc", "code": "OK"}) == 1
    assert value("http_requests_total", {"method": "POST", "route": "/v1/logs", "code": "200"}) == 2
    assert value("http_requests_total", {"method": "POST", "route": Signal.LOGS.method, "code": "OK"}) == 1


@pytest.mark.parametrize(("transport", "code"), [("http", "200"), ("grpc", "OK")])
def test_what_is_scaled_by_is_there_before_the_first_request(metrics: Metrics, transport: str, code: str) -> None:
    Meter(metrics, transport)
    for signal in Signal:
        route = signal.method if transport == "grpc" else signal.path
        labels = {"method": "POST", "route": route, "code": code}
        assert metrics.registry.get_sample_value("http_requests_total", labels) == 0


def test_a_method_that_nobody_knows_makes_no_series_of_its_own(metrics: Metrics) -> None:
    meter = Meter(metrics, "http")
    for method in ("GET", "MKCALENDAR", "PURGE"):
        meter.answered(Signal.TRACES, "405", method)
    labels = {"route": "/v1/traces", "code": "405"}
    value = metrics.registry.get_sample_value
    assert value("http_requests_total", labels | {"method": "GET"}) == 1
    assert value("http_requests_total", labels | {"method": "other"}) == 2


def test_times_and_sizes_go_into_their_histograms(metrics: Metrics) -> None:
    Meter(metrics, "http").measured(Signal.TRACES, 0.25, 100)
    labels = {"signal": "traces", "transport": "http"}
    value = metrics.registry.get_sample_value
    assert value("otlp_receiver_request_duration_seconds_sum", labels) == 0.25
    assert value("otlp_receiver_request_size_bytes_sum", labels) == 100


def test_refused_items_are_counted_where_they_are_known(metrics: Metrics) -> None:
    meter = Meter(metrics, "http")
    meter.refused(Signal.TRACES, "queue_full", 3)
    meter.refused(Signal.TRACES, "invalid", 0)
    labels = {"signal": "traces", "transport": "http"}
    value = metrics.registry.get_sample_value
    assert value("otlp_receiver_refused_items_total", labels | {"reason": "queue_full"}) == 3
    assert value("otlp_receiver_refused_items_total", labels | {"reason": "invalid"}) is None
