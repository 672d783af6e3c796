import io
import json
import logging
from collections.abc import Iterator

import pytest

from app.telemetry.logs import Sparingly, configure

log = logging.getLogger("app.somewhere")


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
    assert first == {"level": "warning", "logger": "app.somewhere", "message": "3 spans — “quoted”\nsecond line"}
    assert second["message"] == "next"


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


def test_what_may_happen_a_thousand_times_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    sparingly = Sparingly(log, seconds=10, monotonic=lambda: now)
    for number in range(1000):
        sparingly.error("refused", "refused %d", number)
    sparingly.error("other", "another kind")
    assert caplog.messages == ["refused 0", "another kind"]
    now = 10.0
    sparingly.error("refused", "refused %s", "again")
    now = 20.0
    sparingly.error("refused", "refused once more")
    assert caplog.messages[2:] == ["refused again (and 999 more like it)", "refused once more"]


def test_what_grpc_says_of_a_clients_metadata_is_not_told() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    cython = logging.getLogger("grpc._cython.cygrpc")
    cython.error("Invalid encoding on %s", b"hush")
    cython.error("something else")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["something else"]
