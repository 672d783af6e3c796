"""The oracle of the fault laboratory: it sees what is lost, repeated and invented, and nothing else."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.core.request import Signal
from tests.support.chaos.numbered import altered, numbered, numbers
from tests.support.chaos.oracle import Delivery, Stretch, Verdict, judge

REQUESTS: dict[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
SENT = dict.fromkeys(range(1, 7), Signal.TRACES)


def verdict(
    *deliveries: Sequence[int],
    acknowledged: Sequence[int] = (),
    resent: Mapping[int, int] = {},
    stretches: Sequence[Stretch] = (),
    damaged: Sequence[int] = (),
    unheard: Sequence[int] = (),
) -> Verdict:
    """The verdict on deliveries of spans, one each ten seconds; `unheard` are those whose answer was lost."""
    return judge(
        sent=SENT,
        acknowledged=acknowledged,
        resent=resent,
        deliveries=[
            Delivery(Signal.TRACES, each, 10.0 * place, [], place in unheard) for place, each in enumerate(deliveries)
        ],
        stretches=stretches,
        damaged=damaged,
    )


def says(signal: Signal, body: bytes) -> bytes:
    """What a request says, always in the same bytes."""
    request = REQUESTS[signal].FromString(body)
    return request.SerializeToString(deterministic=True)


def test_all_is_good_when_what_was_acknowledged_arrived_once() -> None:
    found = verdict([1, 2], [3], acknowledged=[1, 2])
    assert found.good
    assert (found.acknowledged, found.delivered, found.unacknowledged) == (2, 3, 1)


def test_what_was_acknowledged_and_did_not_arrive_is_lost() -> None:
    found = verdict([1], acknowledged=[1, 2, 3])
    assert found.lost == {2, 3}
    assert not found.good


def test_what_was_in_a_damaged_page_is_not_lost_but_taken() -> None:
    found = verdict([1], acknowledged=[1, 2, 3], damaged=[1, 2, 4])
    assert (found.lost, found.taken) == ({3}, {2})


def test_what_arrives_and_was_never_sent_is_invented() -> None:
    assert verdict([1, 99]).invented == {99}


def test_what_arrives_as_another_signal_is_invented() -> None:
    found = judge(sent=SENT, acknowledged=[], resent={}, deliveries=[Delivery(Signal.LOGS, [1], 0.0)], stretches=[])
    assert found.invented == {1}


def test_what_arrives_not_as_it_was_sent_is_altered() -> None:
    mangled = Delivery(Signal.TRACES, [1, 2], 0.0, [2])
    found = judge(sent=SENT, acknowledged=[1, 2], resent={}, deliveries=[mangled], stretches=[])
    assert (found.altered, found.good) == ({2}, False)


def test_what_arrives_twice_for_no_reason_is_unexplained() -> None:
    found = verdict([1], [1, 2], [2], acknowledged=[1, 2])
    assert found.unexplained == {1: (0.0, 10.0), 2: (10.0, 20.0)}
    assert not found.good


def test_a_client_that_sends_again_explains_a_repetition() -> None:
    found = verdict([1], [1, 2], [2], resent={1: 1})
    assert (found.repeated, found.unexplained) == ({"its client sent it again": 1}, {2: (10.0, 20.0)})


def test_a_client_explains_no_more_repetitions_than_it_sent() -> None:
    found = verdict([1], [1], [1], resent={1: 1})
    assert (found.repeated, found.unexplained) == ({"its client sent it again": 1}, {1: (10.0, 20.0)})


def test_what_is_twice_in_one_delivery_is_no_delivery_that_was_made_again() -> None:
    found = verdict([1, 1], unheard=[0], stretches=[Stretch("killed", 0.0, 9.0, 0.0)])
    assert found.unexplained == {1: (0.0, 0.0)}


def test_two_that_a_client_sent_may_be_delivered_again_together() -> None:
    found = verdict([1, 1], [1, 1], resent={1: 1}, unheard=[0])
    assert (found.repeated, found.unexplained) == ({"the answer was lost": 2, "its client sent it again": 1}, {})


def test_a_lost_answer_explains_that_this_very_delivery_is_repeated() -> None:
    found = verdict([1, 2], [1], [2], [1], unheard=[0])
    assert (found.repeated, found.unexplained) == ({"the answer was lost": 2}, {1: (10.0, 30.0)})


@pytest.mark.parametrize(
    ("begin", "end", "explained"),
    [
        (0.0, 9.0, False),
        (0.0, 10.0, True),
        (10.0, 11.0, True),
        (12.0, 15.0, True),
        (12.1, 15.0, False),
        (25.0, 29.0, False),
        (30.0, 99.0, False),
    ],
    ids=[
        "ended before the first",
        "until the first",
        "from the first",
        "while the first was under way",
        "when the first was settled",
        "between, long after the first",
        "from the second",
    ],
)
def test_a_fault_explains_that_what_was_under_way_then_is_repeated(begin: float, end: float, explained: bool) -> None:
    found = verdict([5], [1], [6], [1], stretches=[Stretch("killed", begin, end, 2.0)])
    assert found.repeated == ({"killed": 1} if explained else {})
    assert found.good == explained


@pytest.mark.parametrize("signal", Signal)
def test_numbers_are_read_as_they_were_written(signal: Signal) -> None:
    body = numbered(signal, 5, 3) + numbered(signal, 900, 2)
    assert numbers(signal, body) == [5, 7, 6, 900, 901]


@pytest.mark.parametrize("signal", Signal)
def test_items_are_as_they_were_sent_however_requests_are_merged(signal: Signal) -> None:
    assert altered(signal, numbered(signal, 5, 20) + numbered(signal, 900, 1)) == []


@pytest.mark.parametrize("signal", Signal)
def test_no_bit_of_a_request_can_be_altered_unseen(signal: Signal) -> None:
    body = numbered(signal, 5, 2)
    unseen = []
    for bit in range(8 * len(body)):
        mangled = bytearray(body)
        mangled[bit // 8] ^= 1 << bit % 8
        with suppress(DecodeError):  # who cannot even read it has seen it
            if numbers(signal, bytes(mangled)) == [5, 6] and not altered(signal, bytes(mangled)):
                unseen.append(says(signal, bytes(mangled)))
    assert set(unseen) <= {body}, "but for those that say the same, as a 3 does where a 1 is true"


@pytest.mark.parametrize("signal", Signal)
def test_an_item_in_the_resource_of_another_is_altered(signal: Signal) -> None:
    even, odd = (bytearray(numbered(signal, number, 1)) for number in (6, 7))
    place = even.index(b"host-0") + 5
    even[place : place + 1] = b"1"
    place = even.index(b"resource/0") + 9
    even[place : place + 1] = b"1"
    assert altered(signal, bytes(even + odd)) == [6]
