"""Numbers over time -> inline SVG: lines, stacked bars, bands, a threshold, and marks, each with a key for a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import Literal, NamedTuple

from estimator.core.clock import SECONDS_PER_DAY
from estimator.core.text import format_number
from estimator.pages.axes import LEFT, RIGHT, TOP, WIDTH, Axes, Points, thin
from estimator.pages.charts import LegendKey

HEIGHT = 232
SERIES_COLORS = 6
# Up to so many points are drawn as dots too: a line through one point is invisible.
FEW_POINTS = 60
MarkKind = Literal["alarm", "go-live", "event"]
# What is drawn on top of a mark's line, at its origin.
MARK_SHAPES: Mapping[MarkKind, str] = {
    "alarm": "M0-5l6 10h-12z",
    "go-live": "M0-5l5 5-5 5-5-5z",
    "event": "M-3-3h6v6h-6z",
}
MARK_NAMES: Mapping[MarkKind, str] = {"alarm": "alarm", "go-live": "a version goes live", "event": "other event"}


@dataclass(frozen=True, slots=True)
class TimeMark:
    """Something that happened at a time, in seconds since 1970."""

    time: float
    text: str
    kind: MarkKind


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """What is drawn over time, each by its name: lines, bars that are stacked, and bands of (time, low, high).

    Lines, bars and bands of one name have one color. `threshold` is a value and its name.
    """

    lines: Mapping[str, Points] = field(default_factory=dict)
    bars: Mapping[str, Points] = field(default_factory=dict)
    bands: Mapping[str, Sequence[tuple[float, float, float]]] = field(default_factory=dict)
    threshold: tuple[float, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw but a threshold."""
        return not any(self.lines.values()) and not any(self.bars.values())

    @property
    def values(self) -> list[float]:
        """All values that the y axis must hold."""
        stacks: dict[float, float] = {}
        for bars in self.bars.values():
            for time, value in bars:
                stacks[time] = stacks.get(time, 0.0) + value
        values = [value for points in self.lines.values() for _, value in points]
        values += [end for band in self.bands.values() for _, low, high in band for end in (low, high)]
        return [*values, *stacks.values(), *([self.threshold[0]] if self.threshold else [])]


class Timeline(NamedTuple):
    """A picture, and the keys of what is drawn in it; both are empty if there is nothing to draw."""

    svg: str
    legend: list[LegendKey]


def timeline(
    series: TimeSeries,
    times: tuple[float, float],
    *,
    y_title: str,
    title: str,
    marks: Sequence[TimeMark] = (),
    least: float | None = None,
) -> Timeline:
    """Return a chart of series by name; `least` is a value that the y axis must include.

    `times` is the period shown, in seconds since 1970.
    """
    if series.is_empty:
        return Timeline("", [])
    values = series.values + ([] if least is None else [least])
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    y = (low if low == least else low - margin, high + margin)
    axes = Axes(times, y, "", y_title, HEIGHT, _time_ticks(*times))
    names = list(dict.fromkeys([*series.bars, *series.lines]))
    colors = {name: number % SERIES_COLORS for number, name in enumerate(names)}
    drawn = [*_bars(axes, series.bars, colors), *_bands(axes, series.bands, colors)]
    for name, points in series.lines.items():
        drawn += _line(axes, name, thin(points), colors[name]) if points else []
    if series.threshold is not None:
        drawn.append(axes.horizontal(series.threshold[0], style="guide"))
    shown = [mark for mark in marks if times[0] <= mark.time <= times[1]]
    drawn += [_mark(axes, mark) for mark in shown]
    return Timeline(axes.draw(drawn, title), _legend(series, colors, shown))


def _legend(series: TimeSeries, colors: Mapping[str, int], marks: Sequence[TimeMark]) -> list[LegendKey]:
    keys = []
    for name, color in colors.items():
        if any(value for _, value in series.bars.get(name, ())):
            keys.append(LegendKey(f'<rect class="bar c{color}" width="24" height="12"/>', name))
        elif series.lines.get(name):
            band = f'<rect class="band c{color}" width="24" height="12"/>' if series.bands.get(name) else ""
            keys.append(LegendKey(f'{band}<path class="line c{color}" d="M0 6h24"/>', name))
    if series.threshold is not None:
        keys.append(LegendKey('<path class="guide" d="M0 6h24"/>', series.threshold[1]))
    for kind, shape in MARK_SHAPES.items():
        if any(mark.kind == kind for mark in marks):
            path = f'<path class="event" d="M12 0v12"/><path transform="translate(12 6)" d="{shape}"/>'
            keys.append(LegendKey(f'<g class="moment {kind}">{path}</g>', MARK_NAMES[kind]))
    return keys


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


def _bars(axes: Axes, bars: Mapping[str, Points], colors: Mapping[str, int]) -> list[str]:
    marks, tops = [], dict[float, float]()
    for name, points in bars.items():
        width = (WIDTH - LEFT - RIGHT) / max(len(points), 1)
        for time, value in points:
            if not value:
                continue
            below = tops.get(time, 0.0)
            tops[time] = below + value
            top, floor = axes.py(tops[time]), axes.py(max(below, axes.y[0]))
            marks.append(
                f'<rect class="bar c{colors[name]}" x="{axes.px(time):.1f}" y="{top:.1f}" '
                f'width="{max(width - 1, 0.5):.1f}" height="{max(floor - top, 0):.1f}">'
                f"<title>{escape(name)}: {format_number(value)}</title></rect>"
            )
    return marks


def _bands(
    axes: Axes, bands: Mapping[str, Sequence[tuple[float, float, float]]], colors: Mapping[str, int]
) -> list[str]:
    marks = []
    for name, band in bands.items():
        upper = [(time, high) for time, _, high in band]
        lower = [(time, low) for time, low, _ in reversed(band)]
        marks += [f'<polygon class="band c{colors[name]}" points="{axes.path([*upper, *lower])}"/>'] if band else []
    return marks


def _mark(axes: Axes, mark: TimeMark) -> str:
    shape = f'<path transform="translate({axes.px(mark.time):.1f} {TOP + 5})" d="{MARK_SHAPES[mark.kind]}"/>'
    line = axes.vertical(mark.time, style="event")
    return f'<g class="moment {mark.kind}">{line}{shape}<title>{escape(mark.text)}</title></g>'
