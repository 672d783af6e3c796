"""How much memory the bodies of all requests together may take."""

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from app.core.errors import Retryable
from app.memory import COPIES, Coming, Headroom, Promise

__all__ = ["Budget", "Lease"]


class Budget:
    """Bytes that requests hold at once; `key` is the setting that bounds them, `headroom` what the cgroup leaves."""

    def __init__(self, limit: int, key: str, headroom: Headroom | None = None) -> None:
        self.limit = limit
        self.key = key
        self.headroom = headroom
        self.coming = Coming() if headroom is None else headroom.coming
        self.held = 0


class Lease:
    """What one request holds of a budget, and is promised of the headroom, until it is left.

    `copies` is how often its body may be in memory at once.
    """

    __slots__ = ("_budget", "_copies", "_outcome", "_promise", "_size")

    def __init__(self, budget: Budget, copies: int = COPIES) -> None:
        self._budget = budget
        self._copies = copies
        self._promise = None if budget.headroom is None else Promise(budget.headroom)
        self._size = 0
        self._outcome = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._budget.held -= self._size
        self._size = 0
        if self._promise is not None:
            self._promise.let_go(used=error is None)

    async def expect(self, size: int) -> None:
        """Be promised memory for a body of `size` bytes that is to come; the budget is charged when it has come.

        Raises:
            Retryable: that is more than others leave.
        """
        self._check(size)
        if self._promise is not None and self._copies * size > self._promise.size:
            await self._promise.in_turn(self._copies * size)

    def wait(self) -> AbstractAsyncContextManager[None]:
        """Within it the rest of a body is waited for.

        Raises:
            Retryable: it took a while when others needed the room.
        """
        return self._budget.coming.wait()

    def resize(self, size: int) -> None:
        """Hold `size` bytes from now on.

        Raises:
            Retryable: that is more than others leave.
        """
        self._budget.held = self._check(size)
        self._size = size
        if self._promise is not None:
            if self._copies * size > self._promise.size:
                self._promise.demand(self._copies * size)
            self._promise.fill(size)

    def grow(self, size: int) -> None:
        """As `resize`, but for less than it holds."""
        if size > self._size:
            self.resize(size)

    async def expect_reading(self, text: int, outcome: int) -> None:
        """Be promised memory, beside the body, for a text of `text` bytes and for an `outcome` of so many.

        Raises:
            Retryable: that is more than others leave.
        """
        self._outcome = outcome
        size = self._size + text + COPIES * outcome
        if self._promise is None:
            return
        if size > self._promise.size:
            await self._promise.in_turn(size)
        else:
            self._promise.resize(size)

    def hold(self, text: int, serialized: int) -> None:
        """Beside the body hold a text and what it came to, `serialized` bytes so far; without a text, in all.

        Raises:
            Retryable: that, and its copies, are more than others leave.
        """
        if self._promise is not None:
            outcome = max(serialized, self._outcome) if text else serialized
            self._promise.demand(self._size + text + COPIES * outcome)
            self._promise.fill(self._size + text + serialized)

    def _check(self, size: int) -> int:
        """What the budget would hold with `size` bytes for this one."""
        budget = self._budget
        held = budget.held + size - self._size
        if held > budget.limit:
            budget.coming.hurry()
            raise Retryable(
                f"{budget.key}: requests under way hold {budget.held} of {budget.limit} bytes, and this takes {size}",
                reason="inflight",
            )
        return held
