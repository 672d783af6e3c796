"""Memory that requests share."""

import asyncio
from pathlib import Path

import pytest

from app.core.errors import Retryable
from app.memory import JSON_COPIES, Headroom
from app.receivers.budget import Budget, Lease
from tests.support.cgroup_files import CgroupFiles

MIB = 1 << 20


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


async def test_a_body_that_takes_long_to_come_gives_way_when_the_budget_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.memory.coming._SLOW_SECONDS", 0)
    budget = Budget(10, "server.max_inflight_bytes")

    async def come_slowly() -> None:
        with Lease(budget) as lease:
            lease.resize(8)
            async with lease.wait():
                await asyncio.Event().wait()

    slow = asyncio.create_task(come_slowly())
    await asyncio.sleep(0)
    with Lease(budget) as quick:
        with pytest.raises(Retryable, match="hold 8 of 10 bytes"):
            quick.resize(3)
        with pytest.raises(Retryable, match="came too slowly"):
            await slow
        quick.resize(3)


def test_a_budget_is_given_back_when_a_request_fails() -> None:
    budget = Budget(10, "server.max_inflight_bytes")

    def fail() -> None:
        with Lease(budget) as lease:
            lease.resize(8)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert budget.held == 0


async def test_a_lease_is_promised_room_for_the_copies_of_a_body_until_it_is_left(tmp_path: Path) -> None:
    headroom = Headroom(CgroupFiles(tmp_path, 256 * MIB).find(), trim=lambda: None)
    budget = Budget(200 * MIB, "server.max_inflight_bytes", headroom)
    with Lease(budget) as lease:
        await lease.expect(10 * MIB)
        assert (headroom.promised, budget.held) == (30 * MIB, 0)
        lease.resize(4 * MIB)
        assert (headroom.promised, budget.held) == (30 * MIB, 4 * MIB), "it was promised what is to come"
        lease.grow(12 * MIB)
        lease.grow(11 * MIB)
        assert (headroom.promised, budget.held) == (36 * MIB, 12 * MIB)
        with pytest.raises(Retryable) as no:
            lease.grow(75 * MIB)
        assert no.value.reason == "memory"
    assert (headroom.promised, budget.held) == (0, 0)


async def test_a_body_that_memory_has_no_room_for_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.memory.headroom._PATIENCE_SECONDS", 0.01)
    headroom = Headroom(CgroupFiles(tmp_path, 256 * MIB).find(), trim=lambda: None)
    with Lease(Budget(200 * MIB, "server.max_inflight_bytes", headroom)) as lease:
        with pytest.raises(Retryable) as no:
            await lease.expect(75 * MIB)
        assert no.value.reason == "memory"
    assert headroom.promised == 0


async def test_json_is_promised_a_wide_text_and_what_it_comes_to_and_then_what_these_are(tmp_path: Path) -> None:
    headroom = Headroom(CgroupFiles(tmp_path, 256 * MIB).find(), trim=lambda: None)
    with Lease(Budget(200 * MIB, "server.max_inflight_bytes", headroom), JSON_COPIES) as lease:
        await lease.expect(4 * MIB)
        assert headroom.promised == 32 * MIB, "the body, four bytes for each of a text, and three copies of the outcome"
        lease.resize(4 * MIB)
        await lease.expect_reading(16 * MIB, 5 * MIB)
        assert headroom.promised == (4 + 16 + 3 * 5) * MIB, "of numbers it is to be seen that they come to more"
        lease.hold(8 * MIB, 0)
        assert headroom.promised == (4 + 8 + 3 * 5) * MIB, "what a text takes is known when it is there"
        await lease.expect_reading(5 * MIB, 4 * MIB)
        assert headroom.promised == (4 + 5 + 3 * 4) * MIB, "most are of narrow characters"
        lease.hold(5 * MIB, 2 * MIB)
        assert headroom.promised == (4 + 5 + 3 * 4) * MIB, "as much again may follow"
        lease.hold(5 * MIB, 6 * MIB)
        assert headroom.promised == (4 + 5 + 3 * 6) * MIB, "it came to more than it looked like"
        with pytest.raises(Retryable) as no:
            lease.hold(5 * MIB, 80 * MIB)
        assert no.value.reason == "memory"
        lease.hold(0, 7 * MIB)
        assert headroom.promised == (4 + 3 * 7) * MIB, "the text is gone"
    assert headroom.promised == 0


async def test_where_memory_has_no_limit_what_json_holds_is_no_matter() -> None:
    budget = Budget(10, "server.max_inflight_bytes")
    with Lease(budget, JSON_COPIES) as lease:
        lease.resize(8)
        await lease.expect_reading(800, 800)
        lease.hold(800, 800)
        assert budget.held == 8
