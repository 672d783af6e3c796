import pytest

from app.core.errors import (
    InvalidData,
    NotAllowed,
    OtlpError,
    PartlyRejected,
    Refused,
    Retryable,
    TooLarge,
    UnsupportedEncoding,
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Retryable("m", reason="queue_full"), "queue_full"),
        (InvalidData("m"), "invalid"),
        (InvalidData("m", reason="other"), "other"),
        (TooLarge("m"), "too_large"),
        (UnsupportedEncoding("m"), "unsupported"),
        (NotAllowed("m"), "not_allowed"),
        (PartlyRejected("m", items=3), "rejected"),
    ],
)
def test_every_error_has_a_reason_and_its_message(error: OtlpError, reason: str) -> None:
    assert error.reason == reason
    assert str(error) == "m"


def test_what_passes_is_no_refusal_and_what_is_bad_is_one() -> None:
    assert not issubclass(Retryable, Refused)
    assert all(issubclass(kind, InvalidData) for kind in (TooLarge, UnsupportedEncoding))
    assert all(issubclass(kind, Refused) for kind in (InvalidData, NotAllowed, PartlyRejected))
    assert not issubclass(NotAllowed, InvalidData)


def test_who_refuses_for_now_may_say_how_long() -> None:
    assert Retryable("m", reason="busy").delay is None
    assert Retryable("m", reason="busy", delay=2.5).delay == 2.5


def test_a_partial_rejection_says_how_many() -> None:
    assert PartlyRejected("m", items=3).items == 3
