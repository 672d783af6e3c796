"""Lines over time."""

import re

from app.console.charts import Line, chart

MINUTE_NS = 60 * 10**9
TIMES = [1_760_000_000 * 10**9 + n * 10 * 10**9 for n in range(360)]


def points_of(markup: str) -> list[tuple[float, float]]:
    drawn = re.search(r'<polyline points="([^"]*)"', markup)
    assert drawn is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in drawn[1].split())]


def test_time_goes_from_left_to_right_and_what_is_more_is_higher() -> None:
    points = points_of(chart("Fill", TIMES, [Line("full", [n / 360 for n in range(360)], "first")], str, 1.0))
    assert len(points) == 360
    assert points == sorted(points, key=lambda point: point[0])
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    assert (points[-1][0], points[0][0] < 100) == (708.0, True)


def test_what_is_older_than_an_hour_is_not_drawn() -> None:
    times = [0, 30 * MINUTE_NS, 61 * MINUTE_NS]
    assert len(points_of(chart("Age", times, [Line("age", [9, 1, 2], "first")], str))) == 2


def test_a_young_service_has_a_short_chart() -> None:
    for minutes, begin in ((3, 10), (12, 30), (31, 60), (90, 60)):
        drawn = chart("Age", [0, minutes * MINUTE_NS], [Line("age", [9, 1], "first")], str)
        assert f">{begin} min ago<" in drawn


def test_the_same_is_told_in_words_and_in_a_table() -> None:
    lines = [Line("accepted", [float(n) for n in range(360)], "first"), Line("delivered", [5.0] * 360, "second")]
    markup = chart("Items a second", TIMES, lines, "{:.0f}/s".format)
    words = "Items a second. accepted: now 359/s, at most 359/s; delivered: now 5/s, at most 5/s."
    assert f'role="img" aria-label="{words}"' in markup
    rows = re.findall(r"<tr><td>([\d:]*)</td><td>(\d+/s)</td><td>(\d+/s)</td></tr>", markup)
    assert len(rows) == 12
    assert rows[0] == ("09:53:10", "359/s", "5/s")


def test_one_line_has_an_area_under_it_and_two_have_none() -> None:
    line = Line("a", [1.0, 2.0], "first")
    assert "<polygon" in chart("One", TIMES[:2], [line], str)
    assert "<polygon" not in chart("Two", TIMES[:2], [line, line], str)


def test_the_scale_ends_at_a_round_number() -> None:
    for value, top in ((0.0, 1.0), (0.034, 0.05), (1.2, 2.0), (437.0, 500.0), (1000.0, 1000.0)):
        drawn = chart("Scale", [0], [Line("a", [value], "first")], str)
        labels = re.findall(r'class="end">([\d.]+)<', drawn)
        assert float(labels[2]) == top, labels
