"""How much memory requests in JSON take, which are held in more forms than the one that they came in."""

from typing import Final

from app.memory.headroom import COPIES

__all__ = ["JSON_COPIES"]

_WIDEST: Final = 4  # bytes of a text's character where one of them is beyond the Basic Multilingual Plane

JSON_COPIES: Final = 1 + _WIDEST + COPIES
"""How often a body in JSON is in memory at once, at most: as it came, as text, and what it comes to, in protobuf.

The latter is taken to be no larger than the body, which holds but for arrays of numbers: "1," may become eight bytes.
"""
