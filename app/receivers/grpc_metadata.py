"""A bound on what the metadata of a call comes to, and where memory is limited, on that of all calls.

gRPC bounds each value, and what one frame of HTTP/2 comes to. But a frame may go on in others (CONTINUATION), so that
a call could bring megabytes and hold them for as long as it lasts. What is refused here is gone at once.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, cast

import grpc
import grpc.aio

from app.core.errors import InvalidData, OtlpError
from app.memory import Headroom, Promise

__all__ = ["METADATA_BYTES", "MetadataBound", "size_of", "too_much"]

METADATA_BYTES: Final = 1 << 14
"""As much as gRPC's servers take unless they are told otherwise; of one frame it refuses more by itself."""

_CALL_BYTES: Final = 6 << 10
"""What a call takes without its metadata and its message."""

if TYPE_CHECKING:
    Method = grpc.RpcMethodHandler[bytes, bytes]  # generic to the type checker alone


class MetadataBound(grpc.GenericRpcHandler):
    """Stands before all other handlers; `refuse` makes one that refuses a call of a method."""

    def __init__(self, refuse: Callable[[str, OtlpError], "Method"], headroom: Headroom | None) -> None:
        self._refuse = refuse
        self._headroom = headroom

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Method | None":
        size = size_of(handler_call_details.invocation_metadata)
        refusal: OtlpError | None = too_much(size)
        if refusal is None and self._headroom is not None and not self._promised(size + _CALL_BYTES, self._headroom):
            refusal = self._headroom.refusal(size + _CALL_BYTES)
        return None if refusal is None else self._refuse(handler_call_details.method or "", refusal)

    def _promised(self, size: int, headroom: Headroom) -> bool:
        """Have `size` bytes promised to the call that begins, until it ends."""
        promise = Promise(headroom)
        if not promise.resize(size):
            return False
        call = cast("asyncio.Task[object]", asyncio.current_task())  # gRPC makes one for each call
        call.add_done_callback(lambda _: promise.let_go(used=False))
        return True


def too_much(size: int) -> InvalidData | None:
    """What is to be said of metadata of `size` bytes that is above the bound; None of what is not."""
    if size <= METADATA_BYTES:
        return None
    return InvalidData(f"the call's metadata has {size} bytes, above the bound of {METADATA_BYTES}")


def size_of(metadata: Iterable[tuple[str, str | bytes]]) -> int:
    """How many bytes its names and values have."""
    size = 0
    for name, value in metadata:
        size += len(name) + len(value)
    return size
