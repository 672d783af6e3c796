import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.wire import fields, varint


def all_of(body: bytes) -> list[tuple[int, int, int, int]]:
    return list(fields(body, 0, len(body)))


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_written_as_it_is_read(value: int) -> None:
    body = b"\x0a" + varint(value) + b"x" * min(value, 300)
    if value <= 300:
        assert all_of(body) == [(10, 0, 1 + len(varint(value)), len(body))]
    else:
        with pytest.raises(ValueError, match="the field at byte 0 is longer than what holds it"):
            all_of(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"\x08\x96\x01", [(8, 0, 1, 3)]),
        (b"\x09" + bytes(8), [(9, 0, 1, 9)]),
        (b"\x0d" + bytes(4), [(13, 0, 1, 5)]),
        (b"\x0a\x03abc\x12\x00", [(10, 0, 2, 5), (18, 5, 7, 7)]),
        (b"\x8a\x00\x83\x00abc", [(10, 0, 4, 7)]),  # more bytes than the numbers need
        (b"\xa2\x06\x01z", [(802, 0, 3, 4)]),
        (b"\x0b\x08\x01\x13\x12\x01a\x14\x0c\x10\x01", [(11, 0, 1, 9), (16, 9, 10, 11)]),  # a group in a group
    ],
)
def test_fields_are_found_with_where_they_begin_and_end(body: bytes, expected: list[tuple[int, ...]]) -> None:
    assert all_of(body) == expected


def test_only_what_is_between_the_bounds_is_looked_at() -> None:
    assert list(fields(b"junk\x08\x01junk", 4, 6)) == [(8, 4, 5, 6)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\x0a\x05abc", "the field at byte 0 is longer than what holds it"),
        (b"\x09" + bytes(7), "the field at byte 0 is longer than what holds it"),
        (b"\x08", "the number at byte 1 is cut short"),
        (b"\x08" + b"\xff" * 11, "the number at byte 1 is cut short or too long"),
        (b"\x0a", "the number at byte 1 is cut short"),
        (b"\x0e\x01", "there is no wire type 6 before byte 1"),
        (b"\x0b\x08\x01", "the number at byte 3 is cut short"),
        (b"\x0b\x14", "a group ends before byte 2 that was not begun"),
        (b"\x0c", "there is no wire type 4 before byte 1"),
        (b"\x0b\x12\x09a\x0c", "the number at byte 12 is cut short"),
    ],
)
def test_what_is_not_valid_is_an_error(body: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        all_of(body)


def test_groups_nest_as_deep_as_there_are_bytes() -> None:
    body = b"\x0b" * 100_000 + b"\x0c" * 100_000
    assert all_of(body) == [(11, 0, 1, 200_000)]


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_one_after_another_or_an_error(body: bytes) -> None:
    try:
        found = all_of(body)
    except ValueError:
        return
    assert [begin for _, begin, _, _ in found] == [0, *(end for *_, end in found[:-1])][: len(found)]
    assert not found or found[-1][3] == len(body)
