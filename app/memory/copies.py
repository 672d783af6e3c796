"""How often a request's body is in memory at once."""

from typing import Final

__all__ = ["COPIES", "JSON_COPIES"]

COPIES: Final = 3
"""At most: as it came, as the queue's record, and in the pages of its commit."""

_WIDEST: Final = 4  # bytes of a text's character where one of them is beyond the Basic Multilingual Plane

JSON_COPIES: Final = 1 + _WIDEST + COPIES
"""The same in JSON: as it came, as text, and what it comes to, in protobuf.

The latter is taken to be no larger than the body, which holds but for arrays of numbers: "1," may become eight bytes.
"""
