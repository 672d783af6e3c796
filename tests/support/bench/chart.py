"""The picture of a run: bars beside the peers', and lines of what grows, as SVG, for light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from xml.sax.saxutils import escape

from tests.support.bench.compare import SIZES
from tests.support.bench.gateways import OURS
from tests.support.bench.growth import Point
from tests.support.bench.results import Results

__all__ = ["draw"]

_WIDTH, _MARGIN, _HEAD, _GAP = 960, 24, 78, 24
_NAMES = 214
"""Width of the gateways' names."""
_BAR, _ROW, _TOP = 11, 34, 26
_LINES, _AXIS = 190, 34
_VALUE = 52
"""Width of a number behind its bar."""
_LARGE = 64
"""Spans a request from which the picture has its cost: one span costs fifty times as much."""
_GIB = 1 << 30
_LABELS = {"http": "HTTP", "grpc": "gRPC"}

_STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
.title { font-size: 17px; font-weight: 600 } .name { font-size: 13px; font-weight: 600 }
.title, .name, .own { fill: #1f2328 } .own { font-weight: 600 } .small { font-size: 11px }
.page { fill: #ffffff } .grid { stroke: #d0d7de; stroke-width: 1 }
.http { fill: #0969da } .grpc { fill: #bc4c00 } .peer { opacity: 0.45 }
polyline { fill: none; stroke-width: 1.5; stroke-linejoin: round }
polyline.http { fill: none; stroke: #0969da } polyline.grpc { fill: none; stroke: #bc4c00 }
.end { text-anchor: end } .middle { text-anchor: middle }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } .title, .name, .own { fill: #f0f6fc }
  .page { fill: #0d1117 } .grid { stroke: #30363d }
  .http { fill: #4493f8 } .grpc { fill: #f0883e }
  polyline.http { stroke: #4493f8 } polyline.grpc { stroke: #f0883e }
}
"""


@dataclass(frozen=True, slots=True)
class _Panel:
    """What a span costs over something that grows."""

    name: str
    lines: dict[str, list[tuple[float, float]]]
    """By what the legend calls them; two at most."""
    logarithmic: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        return [point for line in self.lines.values() for point in line]


def draw(results: Results) -> str:
    """The picture of a run in which at least the gateways were compared."""
    gateways = results.gateways()
    bars = _TOP + _ROW * len(gateways) + 16
    panels = [panel for panel in _panels(results) if panel.points]
    height = _HEAD + bars + (_LINES + _MARGIN + 24 if panels else 0) + _MARGIN
    subtitle = f"Longer is better; each column has its own scale. {results.machine.get('Machine', '')}"
    title = "Spans that arrive for a second of the gateway's processor time"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="8"/>',
        f'<text class="title" x="{_MARGIN}" y="32">{escape(title)}</text>',
        f'<text x="{_MARGIN}" y="54">{escape(subtitle)}</text>',
        f'<g transform="translate({_MARGIN} {_HEAD})">{_bars(results, gateways)}</g>',
    ]
    if panels:
        width = (_WIDTH - 2 * _MARGIN - _GAP * (len(panels) - 1)) / len(panels)
        below, top = "Microseconds of processor time for a span, as things grow", _HEAD + bars + _MARGIN
        parts.append(f'<text class="title" x="{_MARGIN}" y="{top}">{below}</text>')
        beside = "lower is better; otlp-service with its queue on disk"
        parts.append(f'<text class="end" x="{_WIDTH - _MARGIN}" y="{top}">{beside}</text>')
        for n, panel in enumerate(panels):
            left, top = _MARGIN + n * (width + _GAP), _HEAD + bars + _MARGIN + 24
            parts.append(f'<g transform="translate({left:.1f} {top})">{_lines(panel, width)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _bars(results: Results, gateways: Sequence[str]) -> str:
    own = {gateway.name for gateway in OURS}
    width = (_WIDTH - 2 * _MARGIN - _NAMES - _GAP * (len(SIZES) - 1)) / len(SIZES)
    parts = []
    for row, gateway in enumerate(gateways):
        kind = "own" if gateway in own else ""
        parts.append(f'<text class="{kind}" x="0" y="{_TOP + row * _ROW + 16}">{escape(gateway)}</text>')
    for n, spans in enumerate(SIZES):
        left = _NAMES + n * (width + _GAP)
        speeds = {
            (row, transport): results.speed(gateway, transport, spans)
            for row, gateway in enumerate(gateways)
            for transport in ("http", "grpc")
        }
        most = max((speed for speed in speeds.values() if speed), default=1.0)
        noun = "span" if spans == 1 else "spans"
        parts.append(f'<text class="name" x="{left:.1f}" y="10">{spans} {noun} a request</text>')
        for (row, transport), speed in speeds.items():
            if speed is None:
                continue
            top = _TOP + row * _ROW + (0 if transport == "http" else _BAR + 1)
            long = max(1.0, (width - _VALUE) * speed / most)
            peer = "" if gateways[row] in own else " peer"
            parts.append(
                f'<rect class="{transport}{peer}" x="{left:.1f}" y="{top}" width="{long:.1f}" height="{_BAR}"/>'
                f'<text class="small" x="{left + long + 4:.1f}" y="{top + _BAR - 1}">{_short(speed)}</text>'
            )
    right = _WIDTH - 2 * _MARGIN
    parts += [
        f'<text class="end grpc" x="{right}" y="-24">gRPC</text>',
        f'<text class="end http" x="{right - 44}" y="-24">HTTP</text>',
    ]
    return "".join(parts)


def _panels(results: Results) -> list[_Panel]:
    large = [point for point in results.sizes if point.at >= _LARGE]
    into = [(depth.bytes / _GIB, depth.in_us) for depth in results.depths]
    out = [(depth.bytes / _GIB, depth.out_us) for depth in results.depths]
    away = [(outage.seconds, outage.cpu_us) for outage in results.outages]
    return [
        _Panel("spans a request", _by_transport(large), logarithmic=True),
        _Panel("clients", _by_transport(results.clients), logarithmic=True),
        _Panel("GiB waiting", {"in": into, "out": out}),
        _Panel("seconds of outage", {"": away}),
    ]


def _by_transport(points: Sequence[Point]) -> dict[str, list[tuple[float, float]]]:
    return {
        label: [(point.at, point.cpu_us) for point in points if point.transport == transport]
        for transport, label in _LABELS.items()
    }


def _lines(panel: _Panel, width: float) -> str:
    top, bottom = 34.0, float(_LINES - 20)
    first, last = min(x for x, _ in panel.points), max(x for x, _ in panel.points)
    ceiling = _ceiling(max(y for _, y in panel.points))

    def across(value: float) -> float:
        if panel.logarithmic:
            value, low, high = log10(value), log10(first), log10(last)
        else:
            low, high = 0.0, last
        return _AXIS + (width - _AXIS - 8) * ((value - low) / (high - low) if high > low else 0.5)

    def up(value: float) -> float:
        return bottom - (bottom - top) * value / ceiling

    parts = [f'<text class="name" x="0" y="10">{escape(panel.name)}</text>']
    for level in (0.0, ceiling / 2, ceiling):
        parts.append(f'<line class="grid" x1="{_AXIS}" x2="{width:.1f}" y1="{up(level):.1f}" y2="{up(level):.1f}"/>')
        parts.append(f'<text class="end small" x="{_AXIS - 5}" y="{up(level) + 4:.1f}">{level:.3g}</text>')
    parts += [
        f'<text class="middle small" x="{across(x):.1f}" y="{bottom + 15:g}">{round(x, 2):,.6g}</text>'
        for x in (first, last)
    ]
    for (label, line), kind in zip(panel.lines.items(), _LABELS, strict=False):
        if not line:
            continue
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
        parts += [f'<circle class="{kind}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.5"/>' for x, y in line]
        if label:
            x, y = across(line[0][0]) + 4, up(line[0][1]) - 6
            parts.append(f'<text class="{kind} small" x="{x:.1f}" y="{y:.1f}">{label}</text>')
    return "".join(parts)


def _ceiling(highest: float) -> float:
    """A round number that is not below `highest`."""
    power: float = 10.0 ** floor(log10(highest))
    return next(power * factor for factor in (1, 2, 3, 4, 5, 6, 8, 10) if power * factor >= highest)


def _short(speed: float) -> str:
    """Thousands, as few digits as tell them apart."""
    return f"{speed / 1000:.0f} k" if speed >= 10_000 else f"{speed / 1000:.1f} k"
