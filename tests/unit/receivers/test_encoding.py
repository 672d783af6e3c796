"""Content types are parsed, not compared."""

import pytest

from app.receivers.encoding import Encoding, choose_encoding, read_content_type


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (b"application/x-protobuf", Encoding.PROTOBUF),
        (b"application/json", Encoding.JSON),
        (b"Application/JSON", Encoding.JSON),
        (b"application/json; charset=utf-8", Encoding.JSON),
        (b" application/x-protobuf ;messageType=x", Encoding.PROTOBUF),
        (b"application/json;", Encoding.JSON),
        (b"application/jsonp", None),
        (b"application/protobuf", None),
        (b"text/plain", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_case_spaces_and_parameters_do_not_matter(value: bytes, encoding: Encoding | None) -> None:
    assert read_content_type(value) is encoding


@pytest.mark.parametrize(
    ("content_type", "accept", "encoding"),
    [
        (b"application/json", b"application/x-protobuf", Encoding.JSON),
        (b"text/plain", b"application/json", Encoding.JSON),
        (b"", b"text/html, Application/JSON;q=0.9", Encoding.JSON),
        (b"", b"application/json, application/x-protobuf", Encoding.PROTOBUF),
        (b"", b"*/*", Encoding.PROTOBUF),
        (b"", b"", Encoding.PROTOBUF),
    ],
)
def test_a_client_is_told_in_its_own_encoding_or_the_one_it_listens_to(
    content_type: bytes, accept: bytes, encoding: Encoding
) -> None:
    assert choose_encoding(content_type, accept) is encoding


def test_the_default_is_the_callers() -> None:
    assert choose_encoding(b"", b"", Encoding.JSON) is Encoding.JSON
