"""Lines over time as SVG that a style sheet colours, with the same in words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.console.html import Markup, tag
from app.console.words import clock

__all__ = ["Line", "chart"]

_WIDTH, _HEIGHT = 720, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 26
_MINUTE_NS = 60 * 10**9
_SPANS: Mapping[int, Sequence[int]] = {10: (10, 5, 0), 30: (30, 20, 10, 0), 60: (60, 45, 30, 15, 0)}
"""By how many minutes a chart goes back: which of them have a label. A young service has a short chart."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is drawn: its name, its values, and the class by which it is told from another."""

    name: str
    values: Sequence[float]
    style: str


def chart(
    title: str,
    times_ns: Sequence[int],
    lines: Sequence[Line],
    write: Callable[[float], str],
    ceiling: float | None = None,
) -> Markup:
    """A chart of the hour before the last of `times_ns`, or less where there is less.

    Args:
        title: what it shows, in words.
        times_ns: when the values were read.
        lines: one or two.
        write: says a value.
        ceiling: the largest value there can be; None: as large as the largest that there is.
    """
    end = times_ns[-1]
    age = min(end - times_ns[0], max(_SPANS) * _MINUTE_NS)
    labels = next(each for minutes, each in _SPANS.items() if age <= minutes * _MINUTE_NS)
    whole = labels[0] * _MINUTE_NS
    top = ceiling or _nice(max(max(line.values) for line in lines))

    def x(time_ns: int) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (1 - (end - time_ns) / whole), 1)

    def y(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - min(value, top) / top), 1)

    shapes: list[Markup] = []
    for share in (0.0, 0.5, 1.0):
        height = y(top * share)
        shapes.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height, class_="grid"))
        shapes.append(tag("text", write(top * share), x=_LEFT - 8, y=height + 4, class_="end"))
    for minutes in labels:
        place = x(end - minutes * _MINUTE_NS)
        anchor = "start" if minutes == labels[0] else "end" if minutes == 0 else "middle"
        label = "now" if minutes == 0 else f"{minutes} min ago"
        shapes.append(tag("text", label, x=place, y=_HEIGHT - 6, class_=anchor))
    shown = [number for number, time_ns in enumerate(times_ns) if end - time_ns <= whole]
    for line in lines:
        points = [(x(times_ns[number]), y(line.values[number])) for number in shown]
        drawn = " ".join(f"{a:g},{b:g}" for a, b in points)
        floor = y(0)
        area = f"{points[0][0]:g},{floor:g} {drawn} {points[-1][0]:g},{floor:g}"
        if len(lines) == 1:
            shapes.append(tag("polygon", points=area, class_=f"area {line.style}"))
        shapes.append(tag("polyline", points=drawn, class_=f"line {line.style}"))
        shapes.append(tag("circle", cx=points[-1][0], cy=points[-1][1], r=3, class_=f"dot {line.style}"))
    words = "; ".join(
        f"{line.name}: now {write(line.values[-1])}, at most {write(max(line.values[n] for n in shown))}"
        for line in lines
    )
    svg = tag("svg", *shapes, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=f"{title}. {words}.")
    legend = [
        tag(
            "span",
            tag("span", "", class_=f"key {line.style}", aria_hidden="true"),
            f"{line.name}: now ",
            tag("b", write(line.values[-1])),
            class_="legend",
        )
        for line in lines
    ]
    return tag("figure", tag("figcaption", tag("h2", title), legend), svg, _table(times_ns, lines, write))


def _table(times_ns: Sequence[int], lines: Sequence[Line], write: Callable[[float], str]) -> Markup:
    """Every fifth minute, for who does not see the chart, or wants figures."""
    every = range(len(times_ns) - 1, -1, -30)
    head = tag("tr", tag("th", "Time (UTC)", scope="col"), [tag("th", line.name, scope="col") for line in lines])
    rows = [
        tag("tr", tag("td", clock(times_ns[n])), [tag("td", write(line.values[n])) for line in lines]) for n in every
    ]
    return tag("details", tag("summary", "The same as a table"), tag("table", tag("thead", head), tag("tbody", rows)))


def _nice(value: float) -> float:
    """The next round number."""
    if value <= 0:
        return 1.0
    step = 1.0
    while step < value:
        step *= 10
    while step / 10 >= value:
        step /= 10
    return next(step * part for part in (0.1, 0.2, 0.5, 1.0) if step * part >= value)
