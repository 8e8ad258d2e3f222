"""Numbers over time -> inline SVG: lines, bars, a band, a threshold, and markers of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from estimator.core.clock import SECONDS_PER_DAY
from estimator.core.text import format_number
from estimator.pages.axes import LEFT, RIGHT, TOP, WIDTH, Axes, Points, thin

HEIGHT = 232
SERIES_COLORS = 6
# Up to so many points are drawn as dots too: a line through one point is invisible.
FEW_POINTS = 60


def timeline(
    lines: Mapping[str, Points],
    times: tuple[float, float],
    *,
    y_title: str,
    title: str,
    threshold: float | None = None,
    moments: Sequence[tuple[float, str]] = (),
    bars: Points = (),
    band: Sequence[tuple[float, float, float]] = (),
    least: float | None = None,
) -> str:
    """Return a chart of lines by name, or an empty text if there is nothing to draw.

    `times` is the period shown, in seconds since 1970. `band` is (time, low, high); `moments` are events (time, text);
    `least` is a value that the y axis must include.
    """
    values = [value for points in lines.values() for _, value in points] + [value for _, value in bars]
    values += [end for _, low, high in band for end in (low, high)]
    values += [value for value in (threshold, least) if value is not None]
    if not values or not (any(lines.values()) or bars):
        return ""
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    y = (low if low == least else low - margin, high + margin)
    axes = Axes(times, y, "", y_title, HEIGHT, _time_ticks(*times))
    marks = [*_bars(axes, bars), *_band(axes, band)]
    for number, (name, points) in enumerate(lines.items()):
        marks += _line(axes, name, thin(points), number % SERIES_COLORS)
    if threshold is not None:
        marks.append(axes.horizontal(threshold, style="guide"))
    marks += [_moment(axes, time, text) for time, text in moments if times[0] <= time <= times[1]]
    return axes.draw(marks, title)


def _time_ticks(since: float, until: float) -> list[tuple[float, str]]:
    seconds = until - since
    if seconds > 3 * SECONDS_PER_DAY:
        form = "%m-%d"
    elif seconds >= SECONDS_PER_DAY:
        form = "%m-%d %H:%M"
    else:
        form = "%H:%M" if seconds > 600 else "%H:%M:%S"
    times = [since + third / 3 * seconds for third in range(3)] + [until]
    return [(time, datetime.fromtimestamp(time, UTC).strftime(form)) for time in times]


def _line(axes: Axes, name: str, points: Points, color: int) -> list[str]:
    dots = [
        f'<circle class="dot c{color}" cx="{axes.px(time):.1f}" cy="{axes.py(value):.1f}" r="3"/>'
        for time, value in points
        if len(points) <= FEW_POINTS
    ]
    title = f"<title>{escape(name)}</title>"
    return [*dots, f'<polyline class="line c{color}" points="{axes.path(points)}">{title}</polyline>']


def _bars(axes: Axes, bars: Points) -> list[str]:
    width = (WIDTH - LEFT - RIGHT) / max(len(bars), 1)
    floor = axes.py(max(axes.y[0], 0.0))
    return [
        f'<rect class="bar" x="{axes.px(time):.1f}" y="{axes.py(value):.1f}" width="{max(width - 1, 0.5):.1f}" '
        f'height="{max(floor - axes.py(value), 0):.1f}"><title>{format_number(value)}</title></rect>'
        for time, value in bars
    ]


def _band(axes: Axes, band: Sequence[tuple[float, float, float]]) -> list[str]:
    if not band:
        return []
    upper = [(time, high) for time, _, high in band]
    lower = [(time, low) for time, low, _ in reversed(band)]
    return [f'<polygon class="band" points="{axes.path([*upper, *lower])}"/>']


def _moment(axes: Axes, time: float, text: str) -> str:
    dot = f'<circle cx="{axes.px(time):.1f}" cy="{TOP + 4}" r="4"/>'
    return f'<g class="moment">{axes.vertical(time, style="event")}{dot}<title>{escape(text)}</title></g>'
