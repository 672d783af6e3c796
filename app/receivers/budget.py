"""How much memory the bodies of all requests together may take."""

from types import TracebackType
from typing import Self

from app.core.errors import Retryable

__all__ = ["Budget", "Lease"]


class Budget:
    """Bytes that requests hold at once; `key` is the setting that bounds them."""

    def __init__(self, limit: int, key: str) -> None:
        self.limit = limit
        self.key = key
        self.held = 0


class Lease:
    """What one request holds of a budget, until it is left."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._budget.held -= self._size
        self._size = 0

    def resize(self, size: int) -> None:
        """Hold `size` bytes from now on.

        Raises:
            Retryable: that is more than others leave.
        """
        self._budget.held = self.check(size)
        self._size = size

    def check(self, size: int) -> int:
        """Raise as `resize` would. Returns what the budget would hold then."""
        budget = self._budget
        held = budget.held + size - self._size
        if held > budget.limit:
            raise Retryable(
                f"{budget.key}: requests under way hold {budget.held} of {budget.limit} bytes, and this takes {size}",
                reason="inflight",
            )
        return held
