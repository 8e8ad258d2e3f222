"""Numbers over time -> inline SVG: lines, bars, a band, a threshold, and the moments when something happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from estimator.core.text import format_number
from estimator.pages.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, picture, short, shortened, ticks

HEIGHT = 250
MOST_POINTS = 300
COLOURS = 6
# So few are shown one by one as well: a line through one point is nothing.
FEW_POINTS = 60
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Frame:
    """The time that is shown and the range of values."""

    since: float
    until: float
    low: float
    high: float

    def px(self, at: float) -> float:
        """Return the horizontal place of a time."""
        return LEFT + (at - self.since) / ((self.until - self.since) or 1.0) * (WIDTH - LEFT - RIGHT)

    def py(self, value: float) -> float:
        """Return the vertical place of a value; what lies beyond the range is drawn at its edge."""
        floor, kept = HEIGHT - BOTTOM, min(max(value, self.low), self.high)
        return floor - (kept - self.low) / ((self.high - self.low) or 1.0) * (floor - TOP)


def timeline(
    lines: Mapping[str, Points], times: tuple[float, float], *, y_title: str, title: str,
    threshold: float | None = None, moments: Sequence[tuple[float, str]] = (), bars: Points = (),
    band: Sequence[tuple[float, float, float]] = (), least: float | None = None,
) -> str:  # fmt: skip
    """Return the picture of lines by name; `band` is (time, low, high), `moments` are marked with their words.

    `times` is the time that is shown, in seconds since 1970; `least` is a value that the range must hold.
    """
    values = [value for points in lines.values() for _, value in points] + [value for _, value in bars]
    values += [end for _, low, high in band for end in (low, high)]
    values += [value for value in (threshold, least) if value is not None]
    if not values or not (any(lines.values()) or bars):
        return ""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    frame = Frame(*times, low if low == least else low - room, high + room)
    marks = [*_grid(frame, y_title), *_bars(frame, bars), *_band(frame, band)]
    for number, (name, points) in enumerate(lines.items()):
        shown = thinned(points)
        path = " ".join(f"{frame.px(at):.1f},{frame.py(value):.1f}" for at, value in shown)
        if len(shown) <= FEW_POINTS:
            marks += [
                f'<circle class="dot c{number % COLOURS}" cx="{frame.px(at):.1f}" cy="{frame.py(value):.1f}" r="3"/>'
                for at, value in shown
            ]
        marks.append(
            f'<polyline class="line c{number % COLOURS}" points="{path}"><title>{escape(name)}</title></polyline>'
        )
    if threshold is not None:
        y = frame.py(threshold)
        marks.append(f'<line class="guide" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    marks += [_moment(frame, at, words) for at, words in moments if times[0] <= at <= times[1]]
    return picture(marks, title, height=HEIGHT)


def thinned(points: Points) -> Points:
    """Return few enough points to draw, the largest of each stretch, so that no peak is lost."""
    step = max(1, -(-len(points) // MOST_POINTS))
    return [max(points[start : start + step], key=lambda point: point[1]) for start in range(0, len(points), step)]


def _grid(frame: Frame, y_title: str) -> list[str]:
    across = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{frame.py(v):.1f}" y2="{frame.py(v):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{frame.py(v) + 4:.1f}" text-anchor="end">{short(v)}</text>'
        for v in ticks(frame.low, frame.high)
    ]
    form = "%m-%d" if frame.until - frame.since > 3 * 86_400 else "%m-%d %H:%M"
    if frame.until - frame.since < 86_400:
        form = "%H:%M" if frame.until - frame.since > 600 else "%H:%M:%S"
    below = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = frame.since + share * (frame.until - frame.since)
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        told = datetime.fromtimestamp(at, UTC).strftime(form)
        below.append(
            f'<text class="tick" x="{frame.px(at):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="{anchor}">{told}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    side = (
        f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(shortened(y_title, 34))}</text>"
    )
    return [*across, *below, side]


def _bars(frame: Frame, bars: Points) -> list[str]:
    if not bars:
        return []
    width = (WIDTH - LEFT - RIGHT) / len(bars)
    floor = frame.py(max(frame.low, 0.0))
    return [
        f'<rect class="bar" x="{frame.px(at):.1f}" y="{frame.py(value):.1f}" width="{max(width - 1, 0.5):.1f}" '
        f'height="{max(floor - frame.py(value), 0):.1f}"><title>{format_number(value)}</title></rect>'
        for at, value in bars
    ]


def _band(frame: Frame, band: Sequence[tuple[float, float, float]]) -> list[str]:
    if not band:
        return []
    upper = [f"{frame.px(at):.1f},{frame.py(high):.1f}" for at, _, high in band]
    lower = [f"{frame.px(at):.1f},{frame.py(low):.1f}" for at, low, _ in reversed(band)]
    return [f'<polygon class="band" points="{" ".join([*upper, *lower])}"/>']


def _moment(frame: Frame, at: float, words: str) -> str:
    x = frame.px(at)
    return (
        f'<g class="moment"><line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<circle cx="{x:.1f}" cy="{TOP + 4}" r="4"/><title>{escape(words)}</title></g>'
    )
