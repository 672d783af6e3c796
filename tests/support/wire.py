"""Protobuf's wire format by hand, for bodies that no library writes."""

__all__ = ["field", "group", "nested_values", "varint"]


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes((*encoded, value))


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def group(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 3) + value + varint(number << 3 | 4)


def nested_values(levels: int, innermost: bytes = b"") -> bytes:
    """A serialized AnyValue of `levels` arrays, one in the other: two messages each."""
    value = innermost
    for _ in range(levels):
        value = field(5, field(1, value))
    return value
