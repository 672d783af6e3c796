"""The headers of an export, and the file of secrets that they may come from."""

import logging
import os
from pathlib import Path

import pytest

from app.settings.headers import HeadersFile, check_headers, parse_headers_file, parse_pairs


class HandClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def swap(path: Path, text: str) -> None:
    """Put another file in place, as Kubernetes does with a secret."""
    other = path.with_name("other")
    other.write_text(text)
    other.replace(path)


def test_names_are_lower_case_and_values_trimmed() -> None:
    assert check_headers({"X-Tenant": " blue "}) == {"x-tenant": "blue"}


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"x y": "1"}, "'x y' is not a header's name"),
        ({"": "1"}, "'' is not a header's name"),
        ({"Content-Type": "x"}, "'content-type' is set by the exporter itself; leave it out"),
        ({"grpc-timeout": "1"}, "'grpc-timeout' is set by the exporter itself"),
        ({"A": "1", "a": "2"}, "'a' is given twice; keep one"),
    ],
)
def test_a_header_that_cannot_be_sent_is_told(headers: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_headers(headers)


@pytest.mark.parametrize("value", ["hush\nx: y", "hushé", "hush\0"])
def test_a_value_that_cannot_be_sent_is_not_repeated(value: str) -> None:
    with pytest.raises(ValueError, match="the value of 'x' holds characters") as caught:
        check_headers({"x": value})
    assert "hush" not in str(caught.value)


def test_a_map_is_one_line_of_pairs() -> None:
    assert parse_pairs("a=1, b = x=y ,,c=") == {"a": "1", "b": "x=y", "c": ""}


def test_a_map_may_be_json() -> None:
    assert parse_pairs(' {"a": "1,2"}') == {"a": "1,2"}


def test_standard_headers_are_percent_encoded_and_never_json() -> None:
    assert parse_pairs("authorization=Bearer%20x%3D%3D,b=1", encoded=True) == {
        "authorization": "Bearer x==",
        "b": "1",
    }
    with pytest.raises(ValueError, match="entry 1 is not name=value"):
        parse_pairs('{"a": "b"}', encoded=True)


@pytest.mark.parametrize("text", ["hush", "a=1,hush", "=hush", '{"a": hush', '{"a": ["hush"]}', '{"a": 1}'])
def test_what_is_no_map_is_told_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        parse_pairs(text)
    assert "hush" not in str(caught.value)


def test_a_file_holds_a_header_a_line() -> None:
    text = "# of the collector\n\nAuthorization: Bearer a=b:c\nx-tenant=blue\r\nx-empty:\n"
    assert parse_headers_file(text) == {"authorization": "Bearer a=b:c", "x-tenant": "blue", "x-empty": ""}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nhush", "line 2 is not a header; write name: value"),
        ("a: 1\nA: hush", "line 2 gives 'a' again; keep one"),
        ("host: hush", "'host' is set by the exporter itself"),
    ],
)
def test_what_is_no_header_in_a_file_is_told_by_its_line(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_headers_file(text)
    assert "hush" not in str(caught.value)


def test_without_a_file_the_headers_are_those_of_the_configuration() -> None:
    clock = HandClock()
    headers = HeadersFile(None, {"a": "1"}, clock)
    clock.seconds += 10
    assert headers.current() == {"a": "1"}


def test_those_of_a_file_go_over_those_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    path.write_text("b: file")
    assert HeadersFile(path, {"a": "1", "b": "2"}).current() == {"a": "1", "b": "file"}


def test_a_file_that_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HeadersFile(tmp_path / "none", {})


def test_what_would_be_binary_in_grpc_is_an_error_there(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    path.write_text("a: 1\nx-bin: 2")
    assert HeadersFile(path, {}).current() == {"a": "1", "x-bin": "2"}
    with pytest.raises(ValueError, match=r"line 2: 'x-bin' would be binary in gRPC; give it a name without -bin"):
        HeadersFile(path, {}, grpc=True)


def test_a_changed_file_is_read_again_but_looked_at_once_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "headers", HandClock()
    path.write_text("token: one")
    headers = HeadersFile(path, {}, clock)
    swap(path, "token: two")
    clock.seconds += 0.9
    assert headers.current() == {"token": "one"}
    clock.seconds += 0.1
    assert headers.current() == {"token": "two"}


def test_a_file_that_is_written_in_place_is_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "headers", HandClock()
    path.write_text("token: one")
    headers = HeadersFile(path, {}, clock)
    path.write_text("token: two")
    os.utime(path, ns=(1, 1))  # a clock that was set back changes the time too
    clock.seconds += 1
    assert headers.current() == {"token": "two"}


def test_a_link_that_is_moved_is_read_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "headers").write_text(f"token: {name}")
    link, clock = tmp_path / "current", HandClock()
    link.symlink_to("one")
    headers = HeadersFile(link / "headers", {}, clock)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(link)
    clock.seconds += 1
    assert headers.current() == {"token": "two"}


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "headers", HandClock()
    path.write_text("token: one")
    headers = HeadersFile(path, {}, clock)
    first = headers.current()
    clock.seconds += 1
    assert headers.current() is first


def test_a_file_that_becomes_unreadable_leaves_the_former_headers_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "headers", HandClock()
    path.write_text("token: one")
    headers = HeadersFile(path, {}, clock)
    path.unlink()
    for _ in range(3):
        clock.seconds += 1
        assert headers.current() == {"token": "one"}
    assert [(record.levelno, "what it held stays in force" in record.message) for record in caplog.records] == [
        (logging.ERROR, True)
    ]


def test_a_file_that_is_well_again_is_taken_and_may_fail_aloud_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "headers", HandClock()
    path.write_text("token: one")
    headers = HeadersFile(path, {}, clock)
    for text, expected in [("rubbish", "one"), ("token: two", "two"), ("rubbish", "two"), ("token: three", "three")]:
        swap(path, text)
        clock.seconds += 1
        assert headers.current() == {"token": expected}
    assert len(caplog.records) == 2
