"""What a run found, as a part of docs/performance.md."""

from collections.abc import Iterable, Iterator, Sequence

from tests.support.bench.gateways import DISK, OURS
from tests.support.bench.results import GOALS, Results, columns

__all__ = ["BEGIN", "END", "put_into", "write"]

BEGIN, END = "<!-- scripts/bench writes from here -->", "<!-- to here -->"
_MIB, _GIB = 1 << 20, 1 << 30
_LABELS = {"http": "HTTP", "grpc": "gRPC"}
_SPEEDS = """\
Thousands of spans that arrived for each second of the gateway's processor time, at 1, 100 and 512 spans a request
(medians), and the most memory that it had to itself meanwhile (RssAnon + RssShmem; the goal is 160 MiB):"""
_RATIOS = """\
How many times as many as the peer (medians of the ratios in each round); in brackets the goal, and in bold what
misses it:"""
_STANDING = """\
Processor time until it listens (the service: until it is ready; the goal is 1.2 s), and then of a core with nothing
to do (the goal is 0.5 %):"""
_LATENCY = f"""\
{DISK.name}, 512 spans a request, at half of the rate that it takes from clients which send as fast as they can (the
goal is 25 ms for 99 %):"""
_JSON = """\
Processor time for a request, from its text to checked and counted bytes of protobuf, beside protobuf's own reader
(`json_format`, to bytes; the goal is 5 times as fast). The spans are those of the tables above; metrics and logs are
what `otlp-service send` makes:"""


def put_into(page: str, part: str) -> str:
    """`page` with `part` between the marks.

    Raises:
        ValueError: it has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no place for what was measured, from {BEGIN!r} to {END!r}")
    return f"{before}{BEGIN}\n\n{part}\n{END}{after}"


def write(results: Results) -> str:
    """The tables of a run."""
    parts = [_circumstances(results), *_compared(results), *_alone(results), *_grown(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _circumstances(results: Results) -> str:
    lines = [f"Measured by `{results.command}` on:", "", *(f"- {what}: {is_}" for what, is_ in results.machine.items())]
    lines += [f"- **Left out**: {what}" for what in results.left_out]
    lines += [f"- **Lost spans**: {what}" for what in _lossy(results)]
    return "\n".join(lines)


def _lossy(results: Results) -> Iterator[str]:
    """Of each gateway that lost something, when."""
    for gateway in results.gateways():
        cells = [cell for cell in results.cells if cell.gateway == gateway]
        lost = [f"{_LABELS[cell.transport]} {cell.spans}" for cell in cells if cell.lost]
        if lost:
            yield f"{gateway}, in {len(lost)} of {len(cells)} measurements ({', '.join(dict.fromkeys(lost))})"


def _compared(results: Results) -> list[str]:
    if not results.cells:
        return []
    heads = [f"{_LABELS[transport]} {spans}" for transport, spans in columns()]
    own = {gateway.name for gateway in OURS}
    speeds = [
        [
            f"**{gateway}**" if gateway in own else gateway,
            *(_speed(results.speed(gateway, transport, spans)) for transport, spans in columns()),
            f"{results.memory(gateway) / _MIB:.0f} MiB",
        ]
        for gateway in results.gateways()
    ]
    ratios = []
    for goal in GOALS:
        row = [f"{goal.gateway}, to {goal.peer}"]
        for transport, spans in columns():
            ratio = results.ratio(goal.gateway, goal.peer, transport, spans)
            row.append(_judged(ratio, goal.least.get((transport, spans))))
        ratios.append(row)
    return [
        "### Beside the peers",
        _SPEEDS,
        _table(["", *heads, "memory"], speeds),
        _RATIOS,
        _table(["", *heads], ratios),
    ]


def _alone(results: Results) -> list[str]:
    parts = []
    if results.standing:
        rows = [
            [
                each.gateway,
                f"{each.ready_cpu_seconds:.2f} s",
                f"{each.idle_percent:.2f} %",
                f"{each.memory_bytes / _MIB:.0f} MiB",
            ]
            for each in results.standing
        ]
        parts += [
            "### Started, and idle",
            _STANDING,
            _table(["", "to start", "idle", "memory, idle"], rows),
        ]
    if results.latencies:
        rows = [
            [
                _LABELS[each.transport],
                f"{each.rate:.0f}",
                f"{each.p50:.1f} ms",
                f"{each.p99:.1f} ms",
                f"{each.p999:.1f} ms",
            ]
            for each in results.latencies
        ]
        parts += [
            "### Until the acknowledgement",
            _LATENCY,
            _table(["", "requests a second", "half within", "99 % within", "99.9 % within"], rows),
        ]
    if results.json:
        rows = [
            [
                each.signal,
                str(each.items),
                f"{each.ours_us:,.0f} µs",
                f"{each.json_format_us:,.0f} µs",
                f"{each.times_faster:.1f}",
            ]
            for each in results.json
        ]
        parts += [
            "### JSON",
            _JSON,
            _table(["", "a request", "otlp-service", "json_format", "times faster"], rows),
        ]
    return parts


def _grown(results: Results) -> list[str]:
    parts = []
    for points, what in ((results.sizes, "spans a request"), (results.clients, "clients")):
        sizes = list(dict.fromkeys(point.at for point in points))
        if sizes:
            rows = [
                [_LABELS[transport], *(f"{point.cpu_us:.2f}" for point in points if point.transport == transport)]
                for transport in _LABELS
            ]
            parts.append(_table([what, *(f"{size:,}" for size in sizes)], rows))
    if results.depths:
        heads = ["GiB that wait", *(f"{depth.bytes / _GIB:.2f}" for depth in results.depths)]
        rows = [
            ["to keep a span", *(f"{depth.in_us:.2f}" for depth in results.depths)],
            ["to deliver it", *(f"{depth.out_us:.2f}" for depth in results.depths)],
            ["memory, MiB", *(f"{depth.memory_bytes / _MIB:.0f}" for depth in results.depths)],
        ]
        parts.append(_table(heads, rows))
    if results.outages:
        heads = ["seconds of outage", *(f"{outage.seconds:g}" for outage in results.outages)]
        rows = [
            ["all of it", *(f"{outage.cpu_us:.2f}" for outage in results.outages)],
            ["memory, MiB", *(f"{outage.memory_bytes / _MIB:.0f}" for outage in results.outages)],
        ]
        parts.append(_table(heads, rows))
    if parts:
        parts[:0] = ["### Growth", f"Microseconds of processor time for a span; {DISK.name}:"]
    return parts


def _speed(speed: float | None) -> str:
    if speed is None:
        return ""
    thousands = speed / 1000
    return f"{thousands:.0f}" if thousands >= 10 else f"{thousands:.1f}"


def _judged(ratio: float | None, goal: float | None) -> str:
    if ratio is None:
        return ""
    shown = f"{ratio:.2f}" if ratio < 1 else f"{ratio:.1f}"
    if goal is None:
        return shown
    return f"{shown if ratio >= goal else f'**{shown}**'} ({goal:g})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
