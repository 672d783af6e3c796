"""Attempts are counted by how they ended; remarks are logged rarely."""

import pytest

from app.core.errors import PartlyRejected
from app.core.request import ExportRequest, Signal
from app.exporters.answer import PartialSuccess
from app.exporters.attempts import Attempts
from app.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.log_lines import kinds

REQUEST = ExportRequest(Signal.TRACES, b"", 10)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
def attempts(metrics: Metrics, clock: FakeClock) -> Attempts:
    return Attempts(metrics, clock, timeout=30)


def count(metrics: Metrics, code: str) -> float | None:
    return metrics.registry.get_sample_value("otlp_exporter_requests_total", {"signal": "traces", "code": code})


def test_an_attempt_is_counted_by_its_code_with_its_duration(
    attempts: Attempts, metrics: Metrics, clock: FakeClock
) -> None:
    for seconds in (2.0, 3.0):
        began = attempts.begin()
        clock.now += seconds
        attempts.end(Signal.TRACES, "200", began)
    assert count(metrics, "200") == 2
    labels = {"signal": "traces"}
    assert metrics.registry.get_sample_value("otlp_exporter_request_duration_seconds_sum", labels) == 5
    assert metrics.registry.get_sample_value("otlp_exporter_request_duration_seconds_count", labels) == 2


def test_an_attempt_cut_when_its_time_was_up_is_a_timeout(
    attempts: Attempts, metrics: Metrics, clock: FakeClock
) -> None:
    began = attempts.begin()
    clock.now += 29.9
    attempts.cut(Signal.TRACES, began)
    assert count(metrics, "timeout") == 1


def test_an_attempt_cut_before_is_cancelled(attempts: Attempts, metrics: Metrics, clock: FakeClock) -> None:
    began = attempts.begin()
    clock.now += 3
    attempts.cut(Signal.TRACES, began)
    assert count(metrics, "cancelled") == 1
    assert count(metrics, "timeout") is None


@pytest.mark.parametrize("partial", [PartialSuccess(), PartialSuccess(-3)])
def test_a_success_without_rejected_items_is_one(
    attempts: Attempts, partial: PartialSuccess, caplog: pytest.LogCaptureFixture
) -> None:
    attempts.taken("there", REQUEST, partial)
    assert not caplog.records


def test_a_success_with_rejected_items_raises_how_many(attempts: Attempts) -> None:
    with pytest.raises(PartlyRejected, match="too old") as raised:
        attempts.taken("there", REQUEST, PartialSuccess(3, "too old"))
    assert raised.value.items == 3


def test_the_remarks_of_a_destination_are_one_kind_of_line(
    attempts: Attempts, caplog: pytest.LogCaptureFixture
) -> None:
    attempts.taken("there", REQUEST, PartialSuccess(0, "deprecated\n\x1b attribute"))
    attempts.taken("there", REQUEST, PartialSuccess(0, "again"))
    assert caplog.messages[0] == 'there took the spans and remarked: "deprecated ? attribute"'
    assert kinds(caplog) == [("destination_remarked", "there")] * 2
