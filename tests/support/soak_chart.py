"""One picture of a soak: small multiples over one time axis, as SVG, for light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import floor, isnan, log10
from xml.sax.saxutils import escape

from tests.support.soak import Sample

__all__ = ["draw"]

_MIB = 1 << 20
_WIDTH, _PANEL, _ACROSS = 960, 190, 2
_HEAD, _MARGIN, _AXIS, _GAP = 74, 24, 46, 28
_TITLE, _FOOT = 34, 22

_STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
.title { font-size: 17px; font-weight: 600 } .name { font-size: 13px; font-weight: 600 }
.title, .name { fill: #1f2328 }
.page { fill: #ffffff } .away { fill: #eaeef2 } .grid { stroke: #d0d7de; stroke-width: 1 }
.line { fill: none; stroke-width: 1.5; stroke-linejoin: round }
.line.a { stroke: #0969da } .line.b { stroke: #bc4c00 } text.a { fill: #0969da } text.b { fill: #bc4c00 }
.end { text-anchor: end } .middle { text-anchor: middle }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } .title, .name { fill: #f0f6fc }
  .page { fill: #0d1117 } .away { fill: #212830 } .grid { stroke: #30363d }
  .line.a { stroke: #4493f8 } .line.b { stroke: #f0883e } text.a { fill: #4493f8 } text.b { fill: #f0883e }
}
"""


@dataclass(frozen=True, slots=True)
class _Panel:
    name: str
    unit: str
    lines: tuple[tuple[str, str, float], ...]
    """Of each its legend, the figure, and what one of the unit is."""


_PANELS = (
    _Panel("Memory", "MiB", (("RssAnon + RssShmem", "memory_bytes", _MIB),)),
    _Panel("Queue on disk", "MiB", (("file", "file_bytes", _MIB), ("taken", "used_bytes", _MIB))),
    _Panel("From request to success", "ms", (("median", "p50_ms", 1), ("99 %", "p99_ms", 1))),
    _Panel("Processor", "% of a core", (("user and system", "cpu_percent", 1),)),
    _Panel("Descriptors and threads", "", (("descriptors", "descriptors", 1), ("threads", "threads", 1))),
    _Panel("Items a second", "", (("accepted", "accepted_per_second", 1), ("delivered", "delivered_per_second", 1))),
)


def draw(samples: Sequence[Sample], title: str, subtitle: str) -> str:
    """The picture of at least one sample."""
    rows = -(-len(_PANELS) // _ACROSS)
    height = _HEAD + rows * _PANEL + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="8"/>',
        f'<text class="title" x="{_MARGIN}" y="32">{escape(title)}</text>',
        f'<text x="{_MARGIN}" y="52">{escape(subtitle)}</text>',
    ]
    width = (_WIDTH - 2 * _MARGIN - _GAP) / _ACROSS
    for n, panel in enumerate(_PANELS):
        left = _MARGIN + n % _ACROSS * (width + _GAP)
        top = _HEAD + n // _ACROSS * _PANEL
        parts.append(f'<g transform="translate({left:g} {top:g})">{_draw_panel(panel, samples, width)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _draw_panel(panel: _Panel, samples: Sequence[Sample], width: float) -> str:
    right, top, bottom = width, float(_TITLE), float(_PANEL - _FOOT)
    values = [
        [(sample.seconds, float(getattr(sample, figure)) / unit) for sample in samples]
        for _, figure, unit in panel.lines
    ]
    highest = max((value for line in values for _, value in line if not isnan(value)), default=0.0)
    step = _step(highest)
    ceiling = step * max(1, -(-highest // step))
    minutes = samples[-1].seconds / 60

    def x(seconds: float) -> float:
        return _AXIS + (right - _AXIS) * seconds / (minutes * 60)

    def y(value: float) -> float:
        return bottom - (bottom - top) * value / ceiling

    name = f"{panel.name}, {panel.unit}" if panel.unit else panel.name
    parts = [f'<text class="name" x="0" y="18">{escape(name)}</text>']
    legend = right
    for (text, _, _), kind in reversed([*zip(panel.lines, "ab", strict=False)]):
        parts.append(f'<text class="end {kind}" x="{legend:.0f}" y="18">{escape(text)}</text>')
        legend -= 8 * len(text) + 10
    for away, run in groupby(samples, key=lambda sample: sample.away):
        if away:
            seen = [sample.seconds for sample in run]
            before = max((sample.seconds for sample in samples if sample.seconds < seen[0]), default=0.0)
            parts.append(
                f'<rect class="away" x="{x(before):.1f}" y="{top:g}" width="{x(seen[-1]) - x(before):.1f}" '
                f'height="{bottom - top:g}"/>'
            )
    for n in range(round(ceiling / step) + 1):
        level = y(n * step)
        parts.append(f'<line class="grid" x1="{_AXIS}" x2="{right:g}" y1="{level:.1f}" y2="{level:.1f}"/>')
        parts.append(f'<text class="end" x="{_AXIS - 6}" y="{level + 4:.1f}">{n * step:,.10g}</text>')
    apart = _step(minutes)
    marks = [n * apart for n in range(int(minutes / apart + 0.05) + 1)]
    for mark in marks:
        anchor, unit = ("end", " min") if mark == marks[-1] else ("middle", "")
        parts.append(f'<text class="{anchor}" x="{x(mark * 60):.1f}" y="{bottom + 16:g}">{mark:g}{unit}</text>')
    for line, kind in zip(values, "ab", strict=False):
        points = " ".join(f"{x(seconds):.1f},{y(value):.1f}" for seconds, value in line if not isnan(value))
        parts.append(f'<polyline class="line {kind}" points="{points}"/>')
    return "".join(parts)


def _step(highest: float) -> float:
    """A round distance of which about four reach `highest`."""
    if highest <= 0:
        return 1.0
    power: float = 10.0 ** floor(log10(highest / 4))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * 4.5 >= highest)
