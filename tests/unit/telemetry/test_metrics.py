from prometheus_client import generate_latest

from app.core.request import Signal
from app.telemetry.metrics import Metrics, gauge, gauge_by_signal


def series(metrics: Metrics) -> list[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return [line for line in lines if line.startswith(("otlp_", "http_"))]


def test_what_the_law_and_alerts_are_written_over_is_there_before_its_first_event() -> None:
    lines = series(Metrics("1.2.3"))
    for signal in ("traces", "metrics", "logs"):
        assert f'otlp_exporter_sent_items_total{{signal="{signal}"}} 0.0' in lines
        assert f'otlp_queue_recovered_items_total{{signal="{signal}"}} 0.0' in lines
        assert f'otlp_exporter_dropped_items_total{{reason="rejected",signal="{signal}"}} 0.0' in lines
        for transport in ("grpc", "http"):
            assert f'otlp_receiver_accepted_items_total{{signal="{signal}",transport="{transport}"}} 0.0' in lines
    assert 'otlp_service_info{version="1.2.3"} 1.0' in lines


def test_names_are_those_that_are_documented() -> None:
    names = {family.name for family in Metrics("test").registry.collect() if family.name.startswith(("otlp", "http"))}
    assert names == {
        "http_requests",
        "otlp_auth_items",
        "otlp_config_reloads",
        "otlp_exporter_batch_items",
        "otlp_exporter_dropped_items",
        "otlp_exporter_last_success_timestamp_seconds",
        "otlp_exporter_request_duration_seconds",
        "otlp_exporter_requests",
        "otlp_exporter_sent_items",
        "otlp_queue_commit_duration_seconds",
        "otlp_queue_recovered_items",
        "otlp_receiver_accepted_items",
        "otlp_receiver_refused_items",
        "otlp_receiver_request_duration_seconds",
        "otlp_receiver_request_size_bytes",
        "otlp_receiver_requests",
        "otlp_service",
    }


def test_the_process_and_the_platform_are_there_too() -> None:
    text = generate_latest(Metrics("test").registry).decode()
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text
    assert "python_gc_collections_total" in text


def test_a_total_is_over_all_labels() -> None:
    metrics = Metrics("test")
    assert metrics.dropped.total == 0
    metrics.dropped.labels("traces", "invalid").inc(3)
    metrics.dropped.labels("logs", "rejected").inc(4)
    assert metrics.dropped.total == 7


def test_figures_at_a_scrape_are_read_when_it_comes() -> None:
    metrics = Metrics("test")
    waiting = 1.0
    metrics.at_scrape(
        lambda: [
            gauge("otlp_queue_bytes", "Bytes.", waiting),
            gauge_by_signal("otlp_queue_items", "Items.", dict.fromkeys(Signal, waiting * 2)),
        ]
    )
    assert "otlp_queue_bytes 1.0" in series(metrics)
    waiting = 5.0
    assert "otlp_queue_bytes 5.0" in series(metrics)
    assert 'otlp_queue_items{signal="logs"} 10.0' in series(metrics)


def test_two_services_in_one_process_do_not_share_a_series() -> None:
    first, second = Metrics("1"), Metrics("2")
    first.sent.labels("traces").inc(5)
    assert second.sent.total == 0
