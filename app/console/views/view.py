"""What a view is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from app.console.page import Part

__all__ = ["Access", "Look", "View"]


class Access(Enum):
    """What may be done by who looks, beside looking."""

    HERE = "here"
    """Everything: it is on this machine, or in this pod."""
    KEY = "key"
    """Everything, with an API key."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Look:
    """A page that is looked at: its path, the parameters in its address, and what may be done there."""

    path: str
    given: tuple[tuple[str, str], ...] = ()
    access: Access = Access.NONE

    @property
    def parameters(self) -> Mapping[str, str]:
        return dict(self.given)


class View(Protocol):
    """A page without its frame."""

    title: str

    async def parts(self, look: Look) -> Sequence[Part]:
        """What it shows now."""
