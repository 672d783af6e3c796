"""How an answer goes back over grpcio."""

import random
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from app.receivers.answers import Answer, grpc_trailers, response_protobuf

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]  # generic to the type checker alone

__all__ = ["reply"]


async def reply(answer: Answer, context: "Context") -> bytes:
    """The message that tells of an answer that is OK.

    Raises:
        grpc.aio.AbortError: it is not, and the call was ended with its status.
        grpc.aio.BaseError: nobody is there to hear it.
    """
    if answer.code is not grpc.StatusCode.OK:
        trailers = grpc_trailers(answer, random.random())  # noqa: S311 - jitter
        await context.abort(answer.code, answer.message, trailers)
    return response_protobuf(answer)
