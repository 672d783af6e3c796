"""Who may send, and how much."""

from pathlib import Path

import pytest

from app.core.errors import OverQuota, Unauthenticated
from app.core.request import Signal
from app.receivers.auth import Doorkeeper
from app.settings import AuthSettings
from app.telemetry.metrics import Metrics

TRACES = Signal.TRACES


class HandClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0")


def make(clock: HandClock, metrics: Metrics, **settings: object) -> Doorkeeper:
    return Doorkeeper(AuthSettings.model_validate(settings), metrics, clock)


def test_without_keys_nobody_is_asked(clock: HandClock, metrics: Metrics) -> None:
    assert not make(clock, metrics).asks


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        ("Bearer sesame", ""),
        ("bearer  sesame ", ""),
        ("", "sesame"),
        ("Bearer sesame", "wrong"),
        ("Basic x", "sesame"),
        ("BEARER\tsesame", ""),
    ],
)
def test_a_key_names_its_holder(clock: HandClock, metrics: Metrics, authorization: str, api_key: str) -> None:
    keeper = make(clock, metrics, api_keys=["web:sesame", "other"])
    assert keeper.asks
    assert keeper.holder(authorization, api_key).name == "web"


@pytest.mark.parametrize(
    ("authorization", "api_key", "problem"),
    [
        ("", "", "an API key is needed; send Authorization: Bearer KEY or x-api-key: KEY"),
        ("Bearer ", "", "an API key is needed"),
        ("Bearer", "sesame", "an API key is needed"),
        ("Basic", "wrong", "the API key is not known"),
        ("Basic c2VzYW1l", "", "this kind of Authorization is not known; send Authorization: Bearer KEY"),
        ("Bearer wrong", "sesame", "the API key is not known"),
        ("", "sesam", "the API key is not known"),
        ("", "web:sesame", "the API key is not known"),
        ("", "s\xe9same\udcff", "the API key is not known"),
    ],
)
def test_who_shows_no_key_is_turned_away_and_never_told_one(
    clock: HandClock, metrics: Metrics, authorization: str, api_key: str, problem: str
) -> None:
    keeper = make(clock, metrics, api_keys=["web:sesame"])
    with pytest.raises(Unauthenticated, match=problem) as caught:
        keeper.holder(authorization, api_key)
    assert "sesam" not in str(caught.value)


def test_no_key_is_held_in_memory(clock: HandClock, metrics: Metrics) -> None:
    keeper = make(clock, metrics, api_keys=["web:sesame"])
    assert b"sesame" not in b"".join(keeper._keys._fixed)


def test_keys_of_a_file_are_read_again_and_a_bad_file_changes_nothing(
    clock: HandClock, metrics: Metrics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def reloads(outcome: str) -> float | None:
        labels = {"file": "auth.api_keys_file", "outcome": outcome}
        return metrics.registry.get_sample_value("otlp_config_reloads_total", labels)

    path = tmp_path / "keys"
    path.write_text("web:one\n")
    keeper = make(clock, metrics, api_keys=["fixed:sesame"], api_keys_file=path)
    first = keeper.holder("", "one")
    path.write_text("web:the-next\n")
    clock.seconds += 1
    assert keeper.holder("", "the-next") is first
    assert keeper.holder("", "sesame").name == "fixed"
    with pytest.raises(Unauthenticated):
        keeper.holder("", "one")
    path.write_text("web:bad key\n")
    clock.seconds += 1
    assert keeper.holder("", "the-next") is first
    assert "auth.api_keys_file: " in caplog.text
    assert "what it held stays in force: line 1: its key is empty or has characters that no header may" in caplog.text
    assert (reloads("success"), reloads("failure")) == (1, 1)


def test_a_file_without_keys_lets_nobody_in(clock: HandClock, metrics: Metrics, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# none yet\n")
    keeper = make(clock, metrics, api_keys_file=tmp_path / "keys")
    assert keeper.asks
    with pytest.raises(Unauthenticated):
        keeper.holder("", "x")


# Quotas.


def test_without_a_quota_nothing_is_asked(clock: HandClock, metrics: Metrics) -> None:
    holder = make(clock, metrics, api_keys=["web:sesame"]).holder("", "sesame")
    holder.spend(10**9, 10**12)
    holder.check()


@pytest.mark.parametrize(
    ("quota", "spent", "what"),
    [
        ({"items_per_second": 10, "burst": "2s"}, (20, 0), "10 items"),
        ({"bytes_per_second": "1KiB", "burst": "2s"}, (0, 2048), "1024 bytes"),
    ],
)
def test_what_was_saved_up_may_be_sent_at_once_and_then_at_the_rate(
    clock: HandClock, metrics: Metrics, quota: dict[str, object], spent: tuple[int, int], what: str
) -> None:
    holder = make(clock, metrics, api_keys=["web:sesame"], quotas={"web": quota}).holder("", "sesame")
    holder.check()
    holder.spend(*spent)
    with pytest.raises(OverQuota, match=f"more than {what} a second"):
        holder.check()
    clock.seconds += 0.1
    holder.check()
    clock.seconds += 1000
    holder.check()
    holder.spend(*spent)
    with pytest.raises(OverQuota):
        holder.check()


def test_a_request_larger_than_all_that_can_be_saved_passes_and_is_paid_afterwards(
    clock: HandClock, metrics: Metrics
) -> None:
    quotas = {"web": {"items_per_second": 10, "burst": "1s"}}
    holder = make(clock, metrics, api_keys=["web:sesame"], quotas=quotas).holder("", "sesame")
    holder.check()
    holder.spend(100, 5)
    with pytest.raises(OverQuota) as caught:
        holder.check()
    assert caught.value.delay == pytest.approx(9)


def test_what_was_not_taken_is_given_back(clock: HandClock, metrics: Metrics) -> None:
    quotas = {"web": {"items_per_second": 10, "burst": "1s"}}
    holder = make(clock, metrics, api_keys=["web:sesame"], quotas=quotas).holder("", "sesame")
    holder.spend(100, 5)
    holder.spend(-100, -5)
    holder.check()


def test_items_are_counted_by_the_name_of_the_key(clock: HandClock, metrics: Metrics) -> None:
    make(clock, metrics, api_keys=["web:sesame"]).holder("", "sesame").sent(TRACES, 5)
    labels = {"key": "web", "signal": "traces"}
    assert metrics.registry.get_sample_value("otlp_auth_items_total", labels) == 5


def test_a_quota_that_is_nobodys_is_told_of_whenever_the_file_is_read(
    clock: HandClock, metrics: Metrics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keys").write_text("web:one")
    make(clock, metrics, api_keys_file=tmp_path / "keys", quotas={"wbe": {"items_per_second": 1}, "web": {}})
    assert caplog.messages == ["auth.quotas: 'wbe' names no key; what has no quota may send without bound"]


def test_other_keys_are_in_force_when_they_are_switched_to(clock: HandClock, metrics: Metrics) -> None:
    keeper = make(clock, metrics, api_keys=["web:sesame"])
    switch = keeper.prepare(AuthSettings(api_keys=["web:other"]))
    assert keeper.holder("", "sesame").name == "web"
    switch()
    assert keeper.holder("", "other").name == "web"
    with pytest.raises(Unauthenticated):
        keeper.holder("", "sesame")
    keeper.prepare(AuthSettings())()
    assert not keeper.asks


def test_what_a_name_has_sent_counts_on_unless_its_quota_is_another(clock: HandClock, metrics: Metrics) -> None:
    def settings(rate: int, **more: object) -> dict[str, object]:
        quotas = {"web": {"items_per_second": rate, "burst": "1s"}}
        return {"api_keys": ["web:sesame"], "quotas": quotas} | more

    keeper = make(clock, metrics, **settings(10))
    keeper.holder("", "sesame").spend(100, 0)
    keeper.prepare(AuthSettings.model_validate(settings(10, api_keys=["web:other"])))()
    with pytest.raises(OverQuota):
        keeper.holder("", "other").check()
    keeper.prepare(AuthSettings.model_validate(settings(20)))()
    keeper.holder("", "sesame").check()


def test_keys_that_cannot_be_read_change_nothing(clock: HandClock, metrics: Metrics, tmp_path: Path) -> None:
    keeper = make(clock, metrics, api_keys=["web:sesame"])
    with pytest.raises(FileNotFoundError):
        keeper.prepare(AuthSettings(api_keys_file=tmp_path / "none"))
    assert keeper.holder("", "sesame").name == "web"
