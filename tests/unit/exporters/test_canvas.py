"""How wide a line is, and what a stream takes."""

import io
import os

import pytest

from app.exporters.canvas import ASCII, UNICODE, Canvas, Piece, canvas_for, cells

TERMINAL = {"TERM": "xterm"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("größe", 5), ("e\u0301", 1), ("中文", 4), ("🙂", 2), ("\uff57\uff49", 4), ("├─", 2)],
)
def test_a_text_has_the_width_that_a_terminal_gives_it(text: str, width: int) -> None:
    assert cells(text) == width


@pytest.mark.parametrize(
    ("text", "room", "fitted"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("中文字", 6, "中文字"),
        ("中文字", 5, "中文…"),
        ("中文字", 4, "中…"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("abc", -3, ""),
        ("", 0, ""),
    ],
)
def test_what_does_not_fit_is_cut(text: str, room: int, fitted: str) -> None:
    assert Canvas().fit(text, room) == fitted
    assert cells(fitted) <= max(room, 0)


def test_a_column_has_its_width_whatever_is_in_it() -> None:
    assert [Canvas().column(text, 4) for text in ("", "ab", "中", "中文", "中文字")] == [
        "    ",
        "ab  ",
        "中  ",
        "中文",
        "中… ",
    ]


def test_a_line_has_colours_only_where_there_are_some() -> None:
    pieces = [Piece("one", "red"), Piece(" two "), Piece("", "bold"), Piece("  ")]
    assert Canvas(colour=True).line(pieces) == "\x1b[31mone\x1b[0m two"
    assert Canvas(colour=False).line(pieces) == "one two"


def test_a_service_keeps_its_colour_and_none_means_an_error() -> None:
    canvas = Canvas()
    names = [f"service {number}" for number in range(5)]
    styles = [canvas.service(name) for name in names]
    assert len(set(styles)) == 5
    assert not {"red", ""} & set(styles)
    assert [Canvas(services=canvas.services).service(name) for name in names] == styles


def test_only_so_many_services_are_remembered() -> None:
    canvas = Canvas()
    for number in range(5000):
        canvas.service(f"service {number}")
    assert len(canvas.services) <= 1000


@pytest.mark.parametrize(
    ("stream", "environ", "colour"),
    [
        (Terminal(), TERMINAL, True),
        (Terminal(), {}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), TERMINAL | {"NO_COLOR": "1"}, False),
        (Terminal(), TERMINAL | {"NO_COLOR": ""}, True),
        (io.StringIO(), TERMINAL, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "0"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals_and_those_who_want_them(
    stream: io.StringIO, environ: dict[str, str], colour: bool
) -> None:
    assert canvas_for(stream, environ).colour is colour


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "93")
    assert canvas_for(io.StringIO()).width == 93
    monkeypatch.setenv("COLUMNS", "7")
    assert canvas_for(io.StringIO()).width == 40
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("sys.__stdout__", None)
    assert canvas_for(io.StringIO()).width == 120


def test_a_tree_is_drawn_with_what_the_stream_can_encode() -> None:
    with open(os.devnull, "w", encoding="ascii") as stream:  # noqa: PTH123 - a real text stream
        assert canvas_for(stream, {}).glyphs == ASCII
    with open(os.devnull, "w", encoding="utf-8") as stream:  # noqa: PTH123 - as above
        assert canvas_for(stream, {}).glyphs == UNICODE


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_the_rails_of_a_tree_are_as_wide_as_each_other(glyphs: tuple[str, ...]) -> None:
    assert {len(glyph) for glyph in glyphs[:4]} == {3}
