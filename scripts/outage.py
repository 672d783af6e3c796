"""Let the destination be away while more is sent than the queue holds, and come back; see what that costs and loses."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from app.core.request import Signal
from tests.support.outage import CONCURRENCY, FULL, Drain, Report, outage

_MIB = 1 << 20
_BATCH_BYTES = 3584 << 10  # the default
_GROWTH = 1.15
_NOTED_SECONDS = 2.5  # notes are written once a second
_WELL, _LATER = {"200", "OK"}, {"503", "UNAVAILABLE"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/outage", description=__doc__)
    parser.add_argument("--bound", type=int, default=512, help="MiB of the queue's file (512)")
    parser.add_argument("--sent", type=int, default=2100, help="MiB that clients send (2100)")
    options = parser.parse_args()
    bound, sent = options.bound * _MIB, options.sent * _MIB
    with tempfile.TemporaryDirectory() as directory:
        sending = outage(
            Path(directory), bound, sent, batch_bytes=_BATCH_BYTES, tell=lambda line: print(line, flush=True)
        )
        report = asyncio.run(sending)
    print(f"\n{table(report)}\n")
    wrong = list(complaints(report, bound, sent))
    for complaint in wrong:
        print(f"FAILED: {complaint}")
    return 1 if wrong else 0


def settled_memory(report: Report) -> tuple[float, list[int]]:
    """The memory when the queue had become full, the median of a second, and each sample from then on, by size."""
    full = report.first_refusal
    return median(report.memory_between(full, full + 1)), sorted(report.memory_between(full, report.empty_at))


def full_speed(report: Report) -> float | None:
    """What part of the usual speed the drain had when all might be under way; None: it was too short for that."""
    return report.drain.full_speed / report.usual.full_speed if report.usual.full_speed else None


def most_of(sizes: list[int]) -> int:
    """What 95 of 100 do not exceed."""
    return sizes[int(0.95 * (len(sizes) - 1))]


def table(report: Report) -> str:
    """What docs/reliability.md has of it."""
    return "\n".join(["| | |", "| --- | --- |", *(f"| {what} | {came} |" for what, came in _rows(report))])


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    drain, clients = report.drain, report.clients
    file, bodies = max(size for _, size in report.file) / _MIB, drain.kept_bytes / _MIB
    yield "full", f"after {report.first_refusal:.1f} s; the file had {file:.0f} MiB, {bodies:.0f} MiB of them bodies"
    refusals = sum(times for answer, times in clients.answers.items() if answer in _LATER)
    seconds, said = clients.seconds - report.first_refusal, " and ".join(sorted(clients.answers.keys() & _LATER))
    hints = f"{clients.without_hint:,} of them without a hint" if clients.without_hint else "each with a hint"
    yield "from then on", f"{refusals:,} refusals in {seconds:.0f} s, {said}, {hints}"
    yield "sent", f"{clients.sent_bytes / _MIB:,.0f} MiB"
    statuses = " and ".join(sorted({str(status) for _, status, _ in report.health}))
    bodies_seen = [json.loads(body) for at, _, body in report.health if at < report.back_at]
    notes = dict.fromkeys(f"`{note}`" for body in bodies_seen for note in body.get("notes", ()))
    yield "`/health/ready`", f"{statuses} all the while; notes: {', '.join(notes) or 'none'}"
    value, later = settled_memory(report)
    most, rise = most_of(later), 100 * (most_of(later) / value - 1)
    sizes = f"{value / _MIB:.0f}, {most / _MIB:.0f} ({rise:+.0f} %), {later[-1] / _MIB:.0f} MiB"
    yield "memory when it was full; 95 of 100 samples until the queue was empty; the most", sizes
    if (speed := full_speed(report)) is None:
        yield "drained", "too soon to tell how fast"
    else:
        usual = f"{100 * speed:.0f} % of the usual speed ({report.usual.full_speed / _MIB:.0f} MiB/s)"
        yield "drained", f"at {usual} once each signal was back at its full number of batches; has to be 80 %"
    yield "under way at the destination for traces, as each batch came", _as_each_came(drain)
    yield "the same after a `kill -9` with a full queue, and a start", _as_each_came(report.restarted)
    places = f"more than {max(report.displaced.values())} batches after it"
    allowed = f"{2 * CONCURRENCY} are allowed: {CONCURRENCY} are under way together"
    before = "of what was acknowledged before another was sent, nothing came"
    yield "order", f"oldest first for each signal: {before} {places} ({allowed})"
    yield "acknowledged requests lost, delivered twice", f"{report.lost} of {report.acknowledged:,}, {report.repeated}"


def _as_each_came(drain: Drain) -> str:
    seen = [arrival.in_flight for arrival in drain.arrivals if arrival.signal is Signal.TRACES]
    return f"{' '.join(map(str, seen[:20]))} …; then up to {max(seen[20:], default=max(seen))}"


def complaints(report: Report, bound: int, sent: int) -> Iterator[str]:
    """What was not as it has to be."""
    if report.lost or report.repeated:
        yield f"{report.lost} requests lost, {report.repeated} delivered twice"
    if max(size for _, size in report.file) > bound:
        yield "the file was larger than its bound"
    value, later = settled_memory(report)
    if most_of(later) > _GROWTH * value:
        yield f"memory had {value / _MIB:.0f} MiB when the queue was full, and {most_of(later) / _MIB:.0f} MiB later"
    yield from _away(report, sent)
    yield from _drained(report)


def _away(report: Report, sent: int) -> Iterator[str]:
    clients = report.clients
    if clients.sent_bytes < sent:
        yield f"clients sent {clients.sent_bytes} bytes, and not {sent}"
    if wrong := clients.answers.keys() - _WELL - _LATER:
        yield f"clients met {', '.join(sorted(wrong))}"
    if clients.without_hint:
        yield f"{clients.without_hint} refusals did not say when to come back"
    if unready := [status for _, status, _ in report.health if status != 200]:
        yield f"/health/ready answered {unready[0]}"
    full = [
        body for at, _, body in report.health if report.first_refusal + _NOTED_SECONDS < at < report.clients.seconds
    ]
    notes = [FULL, *(f"export of {signal.value}" for signal in Signal)]
    if silent := [note for note in notes if any(note not in body for body in full)]:
        yield f"/health/ready did not say all the while: {', '.join(silent)}"


def _drained(report: Report) -> Iterator[str]:
    drain = report.drain
    for signal, places in report.displaced.items():
        if places > 2 * CONCURRENCY:
            yield f"a batch of {signal.value} was {places} places out of its turn"
    if not drain.ramps:
        yield "more came at once than the destination's answers allow"
    if not report.restarted.ramps:
        yield "more came at once after a restart than the destination's answers allow"
    if (speed := full_speed(report)) is not None and speed < 0.8:
        yield f"it drained at {speed:.0%} of the usual speed"


if __name__ == "__main__":
    sys.exit(main())
