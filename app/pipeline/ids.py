"""Ids of a wrong length: collectors refuse a whole request for one, so they are looked for when one was refused."""

from typing import Final, Union

from app.core.request import Signal
from app.core.wire import fields

__all__ = ["has_wrong_ids"]

_Ids = dict[int, Union[int, "_Ids"]]
"""By tag: how long an id is that is not empty, or what is in the message of that field."""

_TRACE_ID: Final = 16
_SPAN_ID: Final = 8


def _tag(number: int) -> int:
    return number << 3 | 2


_LINK: Final[_Ids] = {_tag(1): _TRACE_ID, _tag(2): _SPAN_ID}
_SPAN: Final[_Ids] = {_tag(1): _TRACE_ID, _tag(2): _SPAN_ID, _tag(4): _SPAN_ID, _tag(13): _LINK}
_LOG_RECORD: Final[_Ids] = {_tag(9): _TRACE_ID, _tag(10): _SPAN_ID}
_EXEMPLAR: Final[_Ids] = {_tag(4): _SPAN_ID, _tag(5): _TRACE_ID}
_METRIC: Final[_Ids] = {
    _tag(5): {_tag(1): {_tag(5): _EXEMPLAR}},  # gauge
    _tag(7): {_tag(1): {_tag(5): _EXEMPLAR}},  # sum
    _tag(9): {_tag(1): {_tag(8): _EXEMPLAR}},  # histogram
    _tag(10): {_tag(1): {_tag(11): _EXEMPLAR}},  # exponential histogram
}


def _request(in_scope: _Ids) -> _Ids:
    return {_tag(1): {_tag(2): {_tag(2): in_scope}}}


_REQUESTS: Final = {
    Signal.TRACES: _request(_SPAN),
    Signal.METRICS: _request(_METRIC),
    Signal.LOGS: _request(_LOG_RECORD),
}


def has_wrong_ids(signal: Signal, body: bytes, start: int, end: int) -> bool:
    """Whether the request from `start` to `end` holds an id that is neither empty nor as long as its kind.

    What is no valid protobuf counts as such: it is refused as certainly.
    """
    try:
        return _wrong(_REQUESTS[signal], body, start, end)
    except ValueError:
        return True


def _wrong(ids: _Ids, body: bytes, start: int, end: int) -> bool:
    for tag, _, value, stop in fields(body, start, end):
        inner = ids.get(tag)
        if inner is None:
            continue
        if isinstance(inner, int):
            if stop - value not in {0, inner}:
                return True
        elif _wrong(inner, body, value, stop):
            return True
    return False
