"""What must not be: of what clients saw, of how the service ended, of what it said of itself, and of its books."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from app.core.request import Signal
from tests.support.chaos.clients import Answer, Seen, Transport
from tests.support.chaos.fault import ANSWERED, Fault
from tests.support.chaos.kubelet import Probe
from tests.support.chaos.oracle import Delivery
from tests.support.scrape import Scrape

__all__ = ["CHANNEL_BACKOFF", "wrong_answers", "wrong_books", "wrong_endings", "wrong_health"]

CHANNEL_BACKOFF: Final = 1.0
"""For how long a gRPC channel may repeat that nobody was there, after somebody is."""
_DROPPED: Final = "otlp_exporter_dropped_items_total"


def wrong_answers(
    faults: Iterable[Fault], answers: Iterable[Answer], was_up: Callable[[float, float], bool]
) -> list[str]:
    """What clients saw and must not see; without faults, all that is not "acknowledged".

    `was_up` tells whether at a time, and for so many seconds before it, a process was there.
    """
    sees: set[Seen] = {Seen.TAKEN}
    refuses: set[Transport] = set()
    for fault in faults:
        sees |= ANSWERED | fault.sees
        refuses |= fault.refuses
    wrong: Counter[str] = Counter()
    for answer in answers:
        if answer.seen not in sees:
            wrong[f"{answer.transport}: {answer.seen}: {answer.detail}"] += 1
        slack = CHANNEL_BACKOFF if answer.transport == "grpc" else 0.0
        if answer.seen is Seen.NOBODY and answer.transport not in refuses and was_up(answer.asked, slack):
            wrong[f"{answer.transport}: no connection to a process that lives: {answer.detail}"] += 1
    return [f"{times} times {what}" for what, times in wrong.items()]


def wrong_endings(faults: Iterable[Fault], endings: Iterable[int]) -> list[str]:
    """How the service ended and must not end."""
    allowed = {code for fault in faults for code in fault.ends}
    return [f"the service ended with {code}" for code in endings if code not in allowed]


def wrong_health(faults: Iterable[Fault], lasting: Iterable[str], probes: Iterable[Probe]) -> list[str]:
    """What the service said of itself and must not say; whether it is ready, one that is about to end may deny.

    `lasting` are the notes that earlier faults have left.
    """
    ready, live, notes = {"200"}, {"200"}, {note.split()[0] for note in lasting}
    for fault in faults:
        ready |= fault.ready
        live |= fault.live
        notes |= fault.notes
    wrong: Counter[str] = Counter()
    for probe in probes:
        wrong.update(f"a note {name}: {text}" for name, text in probe.notes.items() if name.split()[0] not in notes)
        if not probe.leaving and probe.ready not in ready:
            wrong[f"not ready: {probe.ready}"] += 1
        if not probe.leaving and probe.live not in live:
            wrong[f"not live: {probe.live}"] += 1
    return [f"{times} probes: {what}" for what, times in wrong.items()]


def wrong_books(scrape: Scrape, deliveries: Iterable[Delivery], resent: Mapping[int, int]) -> list[str]:
    """Where a process that lived all the while, and holds nothing any more, has not counted what arrived."""
    arrived: dict[Signal, set[int]] = {signal: set() for signal in Signal}
    for delivery in deliveries:
        arrived[delivery.signal].update(delivery.numbers)
    wrong = []
    for signal, items in arrived.items():
        books = scrape.books(signal)
        most = len(items) + sum(resent.get(number, 0) for number in items)
        if not len(items) <= books.accepted <= most:
            wrong.append(f"{books.accepted} {signal.noun} were counted as accepted, {len(items)} arrived")
        if others := books.dropped - scrape.total(_DROPPED, signal=signal.value, reason="rejected"):
            wrong.append(f"{others:.0f} {signal.noun} were dropped, and not by the destination")
    return wrong
