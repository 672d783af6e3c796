import io
import json
import logging
import weakref
from collections.abc import Iterator

import pytest

from app.core.log import Log, SpanIds, within
from app.telemetry.logs import Lines, TextFormatter, configure, tell_what_was_held_back

log = logging.getLogger("app.somewhere")
ours = Log("app.somewhere")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("app")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


def test_json_is_one_object_a_line() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    log.warning("%d spans — “quoted”\nsecond line", 3)
    log.error("next")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "warning",
        "event": "library",
        "message": "3 spans — “quoted”\nsecond line",
        "logger": "app.somewhere",
        "fields": {},
    }
    assert second["message"] == "next"


@pytest.mark.parametrize(("encoding", "written"), [("utf-8", "é😀"), ("latin-1", "\\u00e9\\ud83d\\ude00")])
def test_json_is_json_whatever_the_stream_can_hold(encoding: str, written: str) -> None:
    raw = io.BytesIO()
    configure("info", "json", io.TextIOWrapper(raw, encoding, errors="backslashreplace", write_through=True))
    ours.info("well", "%(what)s", what="é😀")
    line = raw.getvalue().decode(encoding)
    assert (json.loads(line)["message"], written in line) == ("é😀", True)


def test_json_tells_exceptions() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        int("a mistake")
    except ValueError:
        log.exception("it failed")
    line = json.loads(stream.getvalue())
    assert line["message"] == "it failed"
    assert line["exception"].endswith("invalid literal for int() with base 10: 'a mistake'")


def test_text_is_for_people() -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    log.info("ready")
    assert stream.getvalue()[8] == "."
    assert stream.getvalue()[12:] == " info    app.somewhere: ready\n"


@pytest.mark.parametrize(
    ("level", "ours", "libraries"),
    [
        ("debug", ["debug", "info", "warning", "error"], ["warning", "error"]),
        ("info", ["info", "warning", "error"], ["warning", "error"]),
        ("error", ["error"], ["error"]),
    ],
)
def test_libraries_speak_from_warnings_on(level: str, ours: list[str], libraries: list[str]) -> None:
    stream = io.StringIO()
    configure(level, "json", stream)
    for logger in (log, logging.getLogger("some.library")):
        for name in ("debug", "info", "warning", "error"):
            logger.log(logging.getLevelNamesMapping()[name.upper()], "x")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines if line["logger"] == "app.somewhere"] == ours
    assert [line["level"] for line in lines if line["logger"] == "some.library"] == libraries


class Minutes:
    """Lines in text, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stream = io.StringIO()
        self.lines = Lines(self.stream, lambda: self.now)
        self.lines.setFormatter(TextFormatter())
        logging.getLogger().handlers[:] = [self.lines]
        logging.getLogger("app").setLevel("INFO")

    @property
    def told(self) -> list[str]:
        return [line.partition(": ")[2] for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def minutes() -> Minutes:
    return Minutes()


def test_of_trouble_that_is_alike_one_line_is_told_in_a_minute_and_the_number_of_the_others(minutes: Minutes) -> None:
    for number in range(1000):
        ours.error("refused", "refused %(number)d", number=number)
        ours.error("refused", "refused %(number)d", kind="other", number=number)
        log.warning("of a library")
    assert minutes.told == ["refused 0", "refused 0", "of a library"]
    minutes.now += 60
    ours.error("refused", "refused again")
    minutes.now += 60
    ours.error("refused", "refused once more")
    assert minutes.told[3:] == ["refused again (and 999 more like it)", "refused once more"]


def test_what_was_held_back_is_told_when_its_minute_is_over(minutes: Minutes) -> None:
    for number in range(5):
        ours.warning("failing", "failing %(number)d", number=number)
        tell_what_was_held_back()
    minutes.now += 60
    tell_what_was_held_back()
    tell_what_was_held_back()
    assert minutes.told == ["failing 0", "failing 4 (and 3 more like it)"]
    ours.warning("failing", "failing again")
    minutes.lines.close()
    assert minutes.told[2:] == ["failing again"]


def test_what_is_held_back_keeps_nothing_in_memory_of_what_went_wrong(minutes: Minutes) -> None:
    class Request:
        """Something large."""

    def work(request: Request) -> None:
        assert request
        raise ValueError("oops")

    requests = [Request(), Request()]
    left = [weakref.ref(request) for request in requests]
    while requests:
        try:
            work(requests.pop(0))
        except ValueError as fault:
            ours.error("failed", "it failed", fault=fault)
    assert left[1]() is None  # of the first pytest has a record of its own
    minutes.lines.close()
    assert minutes.stream.getvalue().count("ValueError: oops") == 1
    assert minutes.told.count("it failed") == 2


def test_news_are_told_each_time_unless_they_have_a_kind(minutes: Minutes) -> None:
    for _ in range(3):
        ours.info("well", "it is well")
        ours.info("again", "it is well again", kind="traces")
    assert minutes.told == ["it is well", "it is well again", "it is well", "it is well"]


def test_our_lines_have_an_event_their_values_and_the_span_that_they_are_in() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    ours.info("recovered", "recovered %(items)d %(noun)s", items=3, noun="spans")
    with within(SpanIds("0af7", "b7ad")), within(None):
        ours.error("failed", "it failed at 100 %", fault=ValueError("oops"))
    ours.debug("unheard", "nobody hears it")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["fields"], first["message"]) == (
        "recovered",
        {"items": 3, "noun": "spans"},
        "recovered 3 spans",
    )
    assert "trace_id" not in first
    assert (second["trace_id"], second["span_id"], second["fields"]) == ("0af7", "b7ad", {})
    assert (second["message"], second["exception"]) == ("it failed at 100 %", "ValueError: oops")


def test_json_tells_how_many_more_there_were() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    for _ in range(3):
        ours.error("refused", "refused")
    logging.getLogger().handlers[0].close()
    assert [json.loads(line).get("more_like_it") for line in stream.getvalue().splitlines()] == [None, 1]


@pytest.mark.parametrize(
    ("environment", "colourful"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_text_has_colours_where_they_can_be_seen(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], colourful: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    configure("info", "text", stream)
    ours.error("refused", "refused")
    assert ("\x1b[31merror" in stream.getvalue()) is colourful
    assert stream.getvalue().endswith(" app.somewhere: refused\n")


def test_what_others_say_neither_begins_a_line_nor_commands_a_terminal() -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    ours.error("refused", "refused: %(reason)s", reason="a\nb\x1b[2J\u2028\x9b")
    assert stream.getvalue().endswith(": refused: a\\nb\\x1b[2J\\u2028\\x9b\n")


def test_what_others_say_in_an_exception_does_neither() -> None:
    stream = io.StringIO()
    configure("info", "text", stream)
    ours.error("failed", "it failed", fault=ValueError("a\n12:34:56.789 error   b\x1b[2J\r\x9b"))
    _, *lines = stream.getvalue().split("\n")
    assert lines == ["  ValueError: a", "  12:34:56.789 error   b\\x1b[2J\\r\\x9b", ""]


def test_what_grpc_says_of_a_clients_metadata_is_not_told() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    cython = logging.getLogger("grpc._cython.cygrpc")
    cython.error("Invalid encoding on %s", b"hush")
    cython.error("something else")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["something else"]
