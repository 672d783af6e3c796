"""The line on a terminal that tells how far something is."""

import io

import pytest

from app.send.bar import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    """Moves by a second whenever it is asked."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 1
        return self._now


def seen(stream: io.StringIO) -> str:
    """What is on the line of a terminal after all that was written."""
    line = ""
    for part in stream.getvalue().split("\r"):
        line = part + line[len(part) :]
    return line.rstrip()


def test_it_is_drawn_over_itself() -> None:
    stream = Terminal()
    bar = Bar(stream, Time(), {})
    bar.draw(0.0, "0/100 spans")
    assert seen(stream) == "[....................]   0%  0/100 spans"
    bar.draw(0.5, "50/100 spans  trying again")
    assert seen(stream) == "[##########..........]  50%  50/100 spans  trying again"
    bar.draw(1.0, "done")
    assert seen(stream) == "[####################] 100%  done"
    assert "\n" not in stream.getvalue()


def test_it_leaves_an_empty_line() -> None:
    stream = Terminal()
    bar = Bar(stream, Time(), {})
    bar.draw(0.5, "half")
    bar.clear()
    assert seen(stream) == ""
    assert stream.getvalue().endswith("\r")
    written = stream.getvalue()
    bar.clear()
    assert stream.getvalue() == written


def test_it_is_drawn_ten_times_a_second_at_most() -> None:
    stream = Terminal()
    bar = Bar(stream, lambda: 5.0, {})
    for _ in range(100):
        bar.draw(0.5, "x")
    assert stream.getvalue().count("\r") == 1


def test_it_is_not_wider_than_the_terminal() -> None:
    stream = Terminal()
    Bar(stream, Time(), {}).draw(0.5, "x" * 200)
    assert len(seen(stream)) == 79  # where the stream cannot be asked for its width


@pytest.mark.parametrize(("stream", "environ"), [(io.StringIO(), {}), (Terminal(), {"TERM": "dumb"})])
def test_where_no_terminal_is_nothing_is_drawn(stream: io.StringIO, environ: dict[str, str]) -> None:
    bar = Bar(stream, Time(), environ)
    bar.draw(0.5, "half")
    bar.clear()
    assert stream.getvalue() == ""
