"""A run: what is sent, what is told, and how it ends."""

import io
import signal
import threading
from collections.abc import Callable

import pytest

from app.core.request import Signal
from app.send.answers import Outcome
from app.send.batch import Batch, Batches
from app.send.options import Options
from app.send.run import Run
from app.send.shop import Shop


class Destination:
    """Answers each request by what `decide` says of the number of its items and how many came before."""

    def __init__(self, decide: Callable[[int, int], Outcome]) -> None:
        self._decide = decide
        self.requests: list[int] = []

    def send(self, batch: Batch, items: int) -> Outcome:
        assert isinstance(batch, list)
        assert len(batch) == items
        self.requests.append(items)
        return self._decide(items, len(self.requests) - 1)


class Terminal(io.StringIO):
    """Tells when something is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self.written.set()
        return super().write(text)


class Steps:
    """A clock that moves by so many seconds whenever it is asked."""

    def __init__(self, seconds: float = 1) -> None:
        self._seconds = seconds
        self._now = 0.0

    def __call__(self) -> float:
        self._now += self._seconds
        return self._now


class Told:
    """A run, and what it told."""

    def __init__(
        self,
        destination: Destination,
        remarks: io.StringIO | None = None,
        clock: Callable[[], float] | None = None,
        **options: object,
    ) -> None:
        self.output, self.remarks = io.StringIO(), remarks or io.StringIO()
        self.run = Run(
            Options(**({"signal": Signal.TRACES, "endpoint": "http://u:secret@h:1"} | options)),  # type: ignore[arg-type]
            destination,
            Batches(Signal.TRACES, Shop()),
            lambda: "503: full",
            output=self.output,
            remarks=self.remarks,
            monotonic=clock or Steps(),
        )

    def go(self) -> tuple[int, str, list[str]]:
        """The exit code, the summary, and the remarks."""
        code = self.run.go()
        return code, self.output.getvalue(), self.remarks.getvalue().splitlines()


def all_of(items: int, _before: int) -> Outcome:
    return Outcome(items, 0)


def test_all_is_sent_and_told_in_one_line() -> None:
    destination = Destination(all_of)
    code, summary, remarks = Told(destination, count=1200).go()
    assert (code, remarks) == (0, [])
    assert destination.requests == [512, 512, 176]
    assert summary.startswith("1200 spans sent over http/protobuf to http://u:****@h:1: 1200 accepted, 0 refused in ")
    assert summary.endswith("/s)\n")
    assert summary.count("\n") == 1


@pytest.mark.parametrize("step", [0.011, 0.013, 0.017])
def test_the_last_request_of_a_time_goes_at_its_end_and_is_not_lost(step: float) -> None:
    destination = Destination(all_of)
    code, _, remarks = Told(destination, clock=Steps(step), rate=4, duration=0.5).go()
    assert (code, remarks, destination.requests) == (0, [], [1, 1])


def test_some_that_are_refused_are_told_with_the_reason_and_the_rest_is_sent() -> None:
    def decide(items: int, before: int) -> Outcome:
        return Outcome(0, items, "503: full") if before in {1, 2} else Outcome(items, 0)

    code, summary, remarks = Told(Destination(decide), count=2048).go()
    assert code == 1
    assert "2048 spans sent over http/protobuf" in summary
    assert "1024 accepted, 1024 refused in" in summary
    assert remarks == ["otlp-service send: 1024 spans refused: 503: full"]


def test_when_nothing_of_the_first_request_is_accepted_no_more_is_sent() -> None:
    destination = Destination(lambda items, _: Outcome(0, items, "401: no key"))
    code, summary, remarks = Told(destination, count=2000).go()
    assert code == 1
    assert destination.requests == [512]
    assert "0 accepted, 512 refused" in summary
    assert remarks == [
        "otlp-service send: 512 spans refused: 401: no key",
        "otlp-service send: gave up: nothing of the first request was accepted",
    ]


def test_there_is_nothing_to_give_up_when_the_first_request_was_all() -> None:
    code, _, remarks = Told(Destination(lambda items, _: Outcome(0, items, "no")), count=10).go()
    assert (code, remarks) == (1, ["otlp-service send: 10 spans refused: no"])


def test_one_item_that_is_rejected_is_not_success() -> None:
    code, summary, _ = Told(Destination(lambda items, _: Outcome(items - 1, 1, "rejected: bad")), count=10).go()
    assert code == 1
    assert "9 accepted, 1 refused" in summary


def test_a_terminal_is_told_how_far_it_is_and_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()

    def decide(items: int, before: int) -> Outcome:
        if before == 1:
            assert terminal.written.wait(10)
        return Outcome(items - 2, 2, "rejected: bad")

    code, _, _ = Told(Destination(decide), terminal, count=1024, timeout=1e6).go()
    drawn, *_, last = terminal.getvalue().split("\r")[1:]
    assert drawn == "[##########..........]  50%  512/1024 spans  2 refused  trying again: 503: full"
    assert (code, last) == (1, "otlp-service send: 4 spans refused: rejected: bad\n")


def test_only_so_many_reasons_are_told() -> None:
    def decide(items: int, before: int) -> Outcome:
        return Outcome(items - 1, 1, f"reason {before}")

    _, _, remarks = Told(Destination(decide), count=512 * 20).go()
    assert len(remarks) == 6
    assert remarks[-1] == "otlp-service send: 15 spans refused: other reasons"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_after_the_request_under_way(number: int, code: int) -> None:
    def decide(items: int, before: int) -> Outcome:
        if before == 1:
            told.run.stop(number)
        return Outcome(items, 0)

    told = Told(Destination(decide), count=10_000)
    ended, summary, _ = told.go()
    assert ended == code
    assert "1024 accepted, 0 refused in" in summary


def test_a_second_signal_does_not_wait_for_the_request_under_way() -> None:
    released = threading.Event()

    def decide(items: int, _before: int) -> Outcome:
        told.run.stop(signal.SIGINT)
        told.run.stop(signal.SIGINT)
        released.wait(10)
        return Outcome(items, 0)

    told = Told(Destination(decide), count=100, timeout=1e6)
    code, summary, _ = told.go()
    released.set()
    assert code == 130
    assert "100 spans sent" in summary
    assert "0 accepted, 0 refused, 100 unanswered in" in summary


def test_a_signal_waits_a_moment_only_for_the_request_under_way() -> None:
    released = threading.Event()

    def decide(items: int, _before: int) -> Outcome:
        told.run.stop(signal.SIGINT)
        released.wait(10)
        return Outcome(items, 0)

    told = Told(Destination(decide), count=100, timeout=1e6)
    code, summary, _ = told.go()
    released.set()
    assert (code, "100 unanswered" in summary) == (130, True)


def test_an_exporter_that_is_stuck_ends_the_run() -> None:
    released = threading.Event()

    def decide(items: int, _before: int) -> Outcome:
        released.wait(10)
        return Outcome(items, 0)

    code, summary, remarks = Told(Destination(decide), count=1000, timeout=3).go()
    released.set()
    assert code == 1
    assert "0 accepted, 0 refused, 512 unanswered" in summary
    assert remarks == ["otlp-service send: gave up: no answer after 5 s"]


def test_a_mistake_of_the_exporter_is_not_hidden() -> None:
    def decide(_items: int, _before: int) -> Outcome:
        raise LookupError("a mistake")

    with pytest.raises(LookupError, match="a mistake"):
        Told(Destination(decide)).go()
