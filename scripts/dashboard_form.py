"""A dashboard as Grafana 10 and newer import it, of what its panels are about.

Grafana's own JSON says each thing forty times over; here it is said once. scripts/dashboard.py has the panels.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["SOURCE", "Chapter", "Json", "Panel", "Query", "placed"]

Json = dict[str, Any]

Steps = tuple[tuple[float | None, str], ...]
"""From which value on which colour; the first has none."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24


@dataclass(frozen=True)
class Query:
    """An expression, and how what it finds is called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel; its `unit` is one of Grafana's."""

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    width: int = 8
    height: int = 8
    steps: Steps = ((None, "green"),)
    empty: str = ""
    """What is said where nothing is found."""
    least: float | None = 0
    most: float | None = None
    stacked: bool = False
    lined: bool = False
    """Whether the first step is drawn as a line."""
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Of a table: by its letter, the heading and unit of a query's column."""


@dataclass(frozen=True)
class Chapter:
    title: str
    panels: tuple[Panel, ...]
    closed: bool = False


def placed(chapters: Iterable[Chapter]) -> Iterator[Json]:
    """The panels from left to right and top to bottom; those of a closed chapter are in its row."""
    number, top = 0, 0
    for chapter in chapters:
        number += 1
        row: Json = {
            "id": number,
            "type": "row",
            "title": chapter.title,
            "collapsed": chapter.closed,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        top += 1
        panels: list[Json] = []
        left, tallest = 0, 0
        for panel in chapter.panels:
            if left + panel.width > COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            panels.append({"id": number, "gridPos": place, **_panel(panel)})
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
        if chapter.closed:
            row["panels"], panels = panels, []
        yield row
        yield from panels


def _panel(panel: Panel) -> Json:
    # A line behind a figure shows how it was. Where there may be no figure, its last one would look like one of now.
    at_once = panel.kind == "table" or (panel.kind == "stat" and bool(panel.empty or panel.queries[0].legend))
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "mappings": [],
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": value, "color": color} for value, color in panel.steps],
        },
        "custom": {},
    }
    for key, value in (("min", panel.least), ("max", panel.most)):
        if value is not None:
            defaults[key] = value
    if panel.empty:
        defaults["noValue"] = panel.empty
    look: Json = {"timeseries": _lines, "stat": _figure, "table": _table}[panel.kind](panel, defaults)
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": look.pop("overrides", [])},
        **look,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "editorMode": "code",
                "expr": query.expression,
                "legendFormat": query.legend or "__auto",
                "format": "table" if panel.kind == "table" else "time_series",
                "instant": at_once,
                "range": not at_once,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


def _lines(panel: Panel, defaults: Json) -> Json:
    defaults["custom"] = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 20 if panel.stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.lined else "off"},
    }
    return {
        "options": {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    }


def _figure(panel: Panel, _: Json) -> Json:
    several = bool(panel.queries[0].legend)
    return {
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value" if several else "background",
            "graphMode": "none" if several or panel.empty else "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "value_and_name" if several else "value",
        }
    }


def _table(panel: Panel, _: Json) -> Json:
    several = len(panel.queries) > 1
    hidden = {"Time": True} if several else {"Time": True, "Value": True}
    renamed = {f"Value #{letter}": heading for letter, (heading, _) in panel.columns.items()}
    changes: list[Json] = [{"id": "merge", "options": {}}] if several else []
    changes.append({"id": "organize", "options": {"excludeByName": hidden, "indexByName": {}, "renameByName": renamed}})
    return {
        "options": {"showHeader": True, "cellHeight": "sm"},
        "transformations": changes,
        "overrides": [
            {"matcher": {"id": "byName", "options": heading}, "properties": [{"id": "unit", "value": unit}]}
            for heading, unit in panel.columns.values()
        ],
    }
