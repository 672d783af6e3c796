"""What the fault laboratory takes for wrong, beside what is lost."""

from collections.abc import Mapping

import pytest

from app.core.request import Signal
from tests.support.chaos.backend_faults import Away
from tests.support.chaos.clients import Answer, Seen, Transport
from tests.support.chaos.disk_faults import SyncHangs
from tests.support.chaos.fault import Fault
from tests.support.chaos.judges import wrong_answers, wrong_books, wrong_endings, wrong_health
from tests.support.chaos.kubelet import Life, Probe
from tests.support.chaos.machine_faults import DescriptorsExhausted
from tests.support.chaos.oracle import Delivery
from tests.support.chaos.process_faults import Killed, Stopped, Terminated
from tests.support.scrape import Scrape


def answer(seen: Seen, transport: Transport = "http") -> Answer:
    return Answer(0, 1.0, 2.0, transport, Signal.TRACES, 1, 2, seen, "so it was said")


def probe(
    *, live: str = "200", ready: str = "200", notes: Mapping[str, str] = {}, at: float = 1.0, ended: float | None = None
) -> Probe:
    return Probe(at, Life(0.0, 0.0, ended, None if ended is None else 1), live, ready, notes)


class TestAnswers:
    @pytest.mark.parametrize("seen", [seen for seen in Seen if seen is not Seen.TAKEN])
    def test_without_a_fault_everything_is_acknowledged(self, seen: Seen) -> None:
        answers = [answer(Seen.TAKEN), answer(seen)]
        assert wrong_answers([], answers, lambda *_: False) == [f"1 times http: {seen}: so it was said"]

    def test_later_is_an_answer_to_any_fault(self) -> None:
        assert wrong_answers([Away()], [answer(Seen.TAKEN), answer(Seen.LATER)], lambda *_: True) == []

    @pytest.mark.parametrize("seen", [Seen.NO_HINT, Seen.NEVER, Seen.SILENCE])
    def test_what_a_fault_has_no_clients_see_is_wrong(self, seen: Seen) -> None:
        assert len(wrong_answers([Killed()], [answer(seen)], lambda *_: False)) == 1

    def test_a_connection_is_refused_only_where_nobody_lives(self) -> None:
        answers = [answer(Seen.NOBODY), answer(Seen.NOBODY, "grpc")]
        assert wrong_answers([Killed()], answers, lambda *_: False) == []
        # gRPC's channel repeats for a second what it knows.
        wrong = wrong_answers([Killed()], answers, lambda _, slack: slack == 0)
        assert wrong == ["1 times http: no connection to a process that lives: so it was said"]

    def test_a_drain_without_a_descriptor_refuses_connections_over_grpc_alone(self) -> None:
        faults = [Terminated(), DescriptorsExhausted()]
        assert wrong_answers(faults, [answer(Seen.NOBODY, "grpc")], lambda *_: True) == []
        assert len(wrong_answers(faults, [answer(Seen.NOBODY)], lambda *_: True)) == 1
        assert len(wrong_answers(faults[1:], [answer(Seen.NOBODY, "grpc")], lambda *_: False)) == 1


def test_the_service_ends_only_as_one_of_the_faults_has_it() -> None:
    assert wrong_endings([Killed(), Terminated(), Away()], [-9, 0]) == []
    assert wrong_endings([Terminated(), Away()], [-9, 0]) == ["the service ended with -9"]


class TestHealth:
    @pytest.mark.parametrize("ready", ["503", "none"])
    def test_who_accepts_is_ready(self, ready: str) -> None:
        assert wrong_health([Away()], [], [probe(), probe(ready=ready)]) == [f"1 probes: not ready: {ready}"]

    def test_who_is_stopped_says_nothing_and_who_drains_is_not_ready_but_live(self) -> None:
        assert wrong_health([Stopped()], [], [probe(live="none", ready="none")]) == []
        assert wrong_health([Terminated()], [], [probe(ready="503")]) == []
        assert wrong_health([Terminated()], [], [probe(live="503", ready="503")]) == ["1 probes: not live: 503"]

    def test_who_is_about_to_end_need_not_be_ready(self) -> None:
        assert wrong_health([Killed()], [], [probe(live="none", ready="none", at=9.5, ended=10.0)]) == []
        assert len(wrong_health([Killed()], [], [probe(live="none", ready="none", at=5.0, ended=10.0)])) == 2

    @pytest.mark.parametrize(
        ("fault", "lasting", "right"),
        [(SyncHangs(), [], True), (Away(), [], False), (Away(), ["disk"], True)],
        ids=["of its fault", "of another", "that lasts"],
    )
    def test_a_note_has_a_fault_that_it_is_about(self, fault: Fault, lasting: list[str], right: bool) -> None:
        wrong = wrong_health([fault], lasting, [probe(notes={"disk": "no answer"})])
        assert wrong == ([] if right else ["1 probes: a note disk: no answer"])


class TestBooks:
    DELIVERIES = (Delivery(Signal.TRACES, [1, 2], 0.0), Delivery(Signal.TRACES, [2, 3], 1.0))

    @pytest.mark.parametrize(("accepted", "right"), [(2, False), (3, True), (4, False)])
    def test_what_was_accepted_is_what_arrived(self, accepted: int, right: bool) -> None:
        scrape = Scrape(f'otlp_receiver_accepted_items_total{{signal="traces"}} {accepted}\n')
        wrong = wrong_books(scrape, self.DELIVERIES, {})
        assert wrong == ([] if right else [f"{accepted} spans were counted as accepted, 3 arrived"])

    @pytest.mark.parametrize(("accepted", "right"), [(3, True), (4, True), (5, False)])
    def test_what_was_sent_again_may_have_been_accepted_again(self, accepted: int, right: bool) -> None:
        scrape = Scrape(f'otlp_receiver_accepted_items_total{{signal="traces"}} {accepted}\n')
        assert (wrong_books(scrape, self.DELIVERIES, {1: 1}) == []) == right

    def test_only_the_destination_drops(self) -> None:
        scrape = Scrape(
            'otlp_receiver_accepted_items_total{signal="traces"} 3\n'
            'otlp_exporter_dropped_items_total{signal="traces",reason="rejected"} 1\n'
            'otlp_exporter_dropped_items_total{signal="traces",reason="damaged"} 2\n'
        )
        assert wrong_books(scrape, self.DELIVERIES, {}) == ["2 spans were dropped, and not by the destination"]
