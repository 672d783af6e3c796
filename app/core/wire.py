"""Protobuf's wire format, field by field, for those who need to know where something is and not what it means."""

from collections.abc import Iterator

__all__ = ["fields", "varint"]


def fields(body: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in `body` from `start` to `end`, each as (tag, begin, value, end).

    The tag is number and wire type, ``number << 3 | type``; `begin` is where it is written, `value` where what it
    announces begins, without its length. A group comes as one field. The message is taken to be valid, as it is after
    the check at the door; what is not ends in an error and never in more fields than there are bytes.

    Raises:
        ValueError: it is not valid.
    """
    at = start
    while at < end:
        begin = at
        tag = body[at]
        at += 1
        if tag > 127:
            tag, at = _varint(body, begin, end)
        if tag & 7 == 2:
            length, value = _varint(body, at, end)
            at = value + length
        else:
            value, at = at, _skip(body, tag, at, end)
        if at > end:
            raise ValueError(f"the field at byte {begin} is longer than what holds it")
        yield tag, begin, value, at


def varint(value: int) -> bytes:
    """`value` in protobuf's variable length."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(body[at : min(at + 10, end)]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    raise ValueError(f"the number at byte {at} is cut short or too long")


def _skip(body: bytes, tag: int, at: int, end: int) -> int:
    """Where the value ends that begins at `at`, of a field that is not length-delimited."""
    match tag & 7:
        case 0:
            return _varint(body, at, end)[1]
        case 1:
            return at + 8
        case 5:
            return at + 4
        case 3:
            return _group(body, tag, at, end)
    raise ValueError(f"there is no wire type {tag & 7} before byte {at}")


def _group(body: bytes, tag: int, at: int, end: int) -> int:
    """Where the group ends that `tag` opened; groups in it are walked without recursion, for they may be many."""
    opened = [tag]
    while opened:
        inner, at = _varint(body, at, end)
        kind = inner & 7
        if kind == 3:
            opened.append(inner)
        elif kind == 4:
            if inner - 1 != opened.pop():
                raise ValueError(f"a group ends before byte {at} that was not begun")
        elif kind == 2:
            length, at = _varint(body, at, end)
            at += length
        else:
            at = _skip(body, inner, at, end)
    return at
