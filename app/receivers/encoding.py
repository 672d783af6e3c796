"""The two ways in which OTLP over HTTP writes its messages."""

from enum import Enum
from typing import Final

from app.core.request import Signal
from app.receivers.answers import Answer, response_json, response_protobuf, status_json, status_protobuf

__all__ = ["Encoding", "choose_encoding", "read_content_type"]


class Encoding(Enum):
    """How a message is written; the value is its media type."""

    PROTOBUF = b"application/x-protobuf"
    JSON = b"application/json"

    # As for Signal: members are singletons, and are looked up with each request.
    __hash__ = object.__hash__

    def response(self, signal: Signal, answer: Answer) -> bytes:
        """Write what a client gets for a request that was taken."""
        return response_json(signal, answer) if self is Encoding.JSON else response_protobuf(answer)

    def status(self, answer: Answer) -> bytes:
        """Write what a client gets for a request that was refused."""
        return status_json(answer) if self is Encoding.JSON else status_protobuf(answer)


_BY_MEDIA_TYPE: Final = {encoding.value: encoding for encoding in Encoding}


def read_content_type(value: bytes) -> Encoding | None:
    """Read a Content-Type; case, spaces and parameters do not matter. None for a type that is not OTLP's."""
    return _BY_MEDIA_TYPE.get(value) or _BY_MEDIA_TYPE.get(value.partition(b";")[0].strip().lower())


def choose_encoding(content_type: bytes, accept: bytes, default: Encoding = Encoding.PROTOBUF) -> Encoding:
    """Choose how to tell a client something: as it speaks itself, or else as it says that it listens."""
    if encoding := read_content_type(content_type):
        return encoding
    accept = accept.lower()
    named = [encoding for encoding in Encoding if encoding.value in accept]
    return named[0] if len(named) == 1 else default
