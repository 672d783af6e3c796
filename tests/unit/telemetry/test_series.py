"""What is counted, beside prometheus_client's own counters and histograms."""

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from app.telemetry import metrics as _metrics  # noqa: F401 - it says that no family has a `_created`
from app.telemetry.series import Counter, Histogram

BOUNDS = (0.001, 1, 2.5, 1 << 24)
FORMATS = ["text/plain", "application/openmetrics-text; version=1.0.0"]


def shown(registry: CollectorRegistry, accept: str) -> str:
    encode, _ = choose_encoder(accept)
    return encode(registry).decode()


@pytest.mark.parametrize("accept", FORMATS)
@given(amounts=st.lists(st.tuples(st.sampled_from(["a", 'b"\n']), st.integers(0, 1 << 50))))
def test_a_counter_is_exported_as_its_like(accept: str, amounts: list[tuple[str, int]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counter = Counter("items", "Items.", ["of"])
    ours.register(counter)
    like = prometheus_client.Counter("items", "Items.", ["of"], registry=theirs)
    for of, amount in amounts:
        counter.labels(of).inc(amount)
        like.labels(of).inc(amount)
    assert shown(ours, accept) == shown(theirs, accept)
    assert counter.total == sum(amount for _, amount in amounts)


@pytest.mark.parametrize("accept", FORMATS)
@given(values=st.lists(st.sampled_from(BOUNDS) | st.floats(0, 1e9)))
def test_a_histogram_is_exported_as_its_like(accept: str, values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("seconds", "Seconds.", [], BOUNDS)
    ours.register(histogram)
    like = prometheus_client.Histogram("seconds", "Seconds.", buckets=BOUNDS, registry=theirs)
    for value in values:
        histogram.labels().observe(value)
        like.observe(value)
    assert shown(ours, accept) == shown(theirs, accept)


def test_a_series_is_there_from_when_it_is_asked_for() -> None:
    registry = CollectorRegistry()
    counter = Counter("items", "Items.", ["of"])
    registry.register(counter)
    assert registry.get_sample_value("items_total", {"of": "a"}) is None
    counter.labels("a")
    assert registry.get_sample_value("items_total", {"of": "a"}) == 0


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    registry.register(Counter("items", "Items.", []))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Counter("items", "Items.", []))


def test_a_series_has_a_value_for_each_label() -> None:
    with pytest.raises(ValueError, match=r"items has the labels \('of', 'by'\), not \('a',\)"):
        Counter("items", "Items.", ["of", "by"]).labels("a")


def test_what_was_counted_can_be_looked_at_by_its_labels() -> None:
    counter = Counter("items", "Items.", ["of", "by"])
    counter.labels("a", "x").inc(2)
    assert {labels: count.value for labels, count in counter.series.items()} == {("a", "x"): 2}
