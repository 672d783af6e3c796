"""Memory that requests share."""

import pytest

from app.core.errors import Retryable
from app.receivers.budget import Budget, Lease


def test_requests_share_one_budget_and_give_back_what_they_held() -> None:
    budget = Budget(10, "server.max_inflight_bytes")
    with Lease(budget) as one, Lease(budget) as other:
        one.resize(4)
        other.resize(6)
        one.resize(2)
        assert budget.held == 8
    assert budget.held == 0


async def test_more_than_others_leave_is_refused_for_now_and_changes_nothing() -> None:
    budget = Budget(10, "server.max_inflight_bytes")
    with Lease(budget) as one, Lease(budget) as other:
        one.resize(8)
        other.resize(1)
        with pytest.raises(
            Retryable, match=r"server\.max_inflight_bytes: .* hold 9 of 10 bytes, and this takes 3"
        ) as no:
            other.resize(3)
        assert no.value.reason == "inflight"
        with pytest.raises(Retryable):
            await other.expect(3)
        assert budget.held == 9


def test_a_budget_is_given_back_when_a_request_fails() -> None:
    budget = Budget(10, "server.max_inflight_bytes")

    def fail() -> None:
        with Lease(budget) as lease:
            lease.resize(8)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert budget.held == 0
