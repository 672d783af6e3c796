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

__all__ = ["METADATA_BYTES", "MetadataBound", "too_much"]

METADATA_BYTES: Final = 1 << 14
"""As much as gRPC's servers take unless they are told otherwise; of one frame it refuses more by itself."""

_CALL_BYTES: Final = 6 << 10
"""What a call takes without its metadata and its message."""

Metadata = Iterable[tuple[str, str | bytes]]

if TYPE_CHECKING:
    Method = grpc.RpcMethodHandler[bytes, bytes]  # generic to the type checker alone


class MetadataBound(grpc.GenericRpcHandler):
    """Stands before all other handlers; `refuse` makes one that refuses a call of a method."""

    def __init__(self, refuse: Callable[[str, OtlpError], "Method"], headroom: Headroom | None) -> None:
        self._refuse = refuse
        self._headroom = headroom

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Method | None":
        metadata = handler_call_details.invocation_metadata
        refusal: OtlpError | None = too_much(metadata)
        if refusal is None and self._headroom is not None:
            size = size_of(metadata) + _CALL_BYTES
            refusal = None if self._promised(size, self._headroom) else self._headroom.refusal(size)
        return None if refusal is None else self._refuse(handler_call_details.method or "", refusal)

    def _promised(self, size: int, headroom: Headroom) -> bool:
        """Have `size` bytes promised to the call that begins, until it ends."""
        promise = Promise(headroom)
        if not promise.resize(size):
            return False
        call = cast("asyncio.Task[object]", asyncio.current_task())  # gRPC makes one for each call
        call.add_done_callback(lambda _: promise.let_go(used=False))
        return True


def too_much(metadata: Metadata) -> InvalidData | None:
    """What is to be said of metadata that is above the bound; None of what is not."""
    size = size_of(metadata)
    if size <= METADATA_BYTES:
        return None
    return InvalidData(f"the call's metadata has {size} bytes, above the bound of {METADATA_BYTES}")


def size_of(metadata: Metadata) -> int:
    """How many bytes its names and values have."""
    size = 0
    for name, value in metadata:
        size += len(name) + len(value)
    return size
