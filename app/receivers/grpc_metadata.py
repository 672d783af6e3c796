"""A bound on what the metadata of a call comes to.

gRPC bounds each value, and what one frame of HTTP/2 comes to. But a frame may go on in others (CONTINUATION), so that
a call could bring megabytes and hold them for as long as it lasts. What is refused here is gone at once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from app.core.errors import InvalidData

__all__ = ["METADATA_BYTES", "MetadataBound"]

METADATA_BYTES: Final = 1 << 16
"""As much as the head of an HTTP request may have."""

if TYPE_CHECKING:
    Method = grpc.RpcMethodHandler[bytes, bytes]  # generic to the type checker alone


class MetadataBound(grpc.GenericRpcHandler):
    """Stands before all other handlers; `refuse` makes one that refuses a call of a method."""

    def __init__(self, refuse: Callable[[str, InvalidData], "Method"]) -> None:
        self._refuse = refuse

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Method | None":
        size = 0
        for name, value in handler_call_details.invocation_metadata:
            size += len(name) + len(value)
        if size <= METADATA_BYTES:
            return None
        refusal = InvalidData(f"the call's metadata has {size} bytes, above the bound of {METADATA_BYTES}")
        return self._refuse(handler_call_details.method or "", refusal)
