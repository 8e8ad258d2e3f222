"""The coordinate system of a chart: scales, ticks, grid and titles as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from estimator.core.text import format_plain

WIDTH, HEIGHT = 480, 290
# Margins of the plot area; the bottom one is smaller without a title below it.
LEFT, RIGHT, TOP, BOTTOM, BOTTOM_UNTITLED = 64, 16, 14, 44, 26
# Powers of ten below are no ordinary doubles; numbers above are not abbreviated but written with an exponent.
SMALLEST_SPAN, LARGEST_ABBREVIATED = 1e-300, 1e15
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axes:
    """A plot area in SVG units: data ranges, titles and height.

    `x_ticks` are (value, label) from the left edge to the right one; without them, round numbers are labeled.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_title: str
    y_title: str
    height: int = HEIGHT
    x_ticks: Sequence[tuple[float, str]] | None = None

    def px(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return LEFT + (value - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0) * (WIDTH - LEFT - RIGHT)

    def py(self, value: float) -> float:
        """Return the vertical position of a value; one beyond the range is drawn at its edge."""
        low, high = self.y
        fraction = (min(max(value, low), high) - low) / ((high - low) or 1.0)
        return self.floor - fraction * (self.floor - TOP)

    @property
    def floor(self) -> int:
        """The vertical position of the x axis."""
        return self.height - (BOTTOM if self.x_title else BOTTOM_UNTITLED)

    def path(self, points: Points) -> str:
        """Return points as the attribute of a polyline or polygon."""
        return " ".join(f"{self.px(x):.1f},{self.py(y):.1f}" for x, y in points)

    def vertical(self, x: float, *, style: str) -> str:
        """Return a line from top to bottom at a value."""
        return f'<line class="{style}" x1="{self.px(x):.1f}" x2="{self.px(x):.1f}" y1="{TOP}" y2="{self.floor}"/>'

    def horizontal(self, y: float, *, style: str) -> str:
        """Return a line from left to right at a value."""
        return f'<line class="{style}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.py(y):.1f}" y2="{self.py(y):.1f}"/>'

    def draw(self, marks: Sequence[str], title: str, *, extra: str = "") -> str:
        """Return the whole picture, named for screen readers; `extra` are further attributes of its element."""
        below = (
            f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(shortened(self.x_title, 48))}</text>"
        )
        left = (
            f'<text class="axis" transform="translate(14 {(TOP + self.floor) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(shortened(self.y_title, 40))}</text>'
        )
        titles = [below, left] if self.x_title else [left]
        return picture([*self._y_grid(), *self._x_labels(), *titles, *marks], title, height=self.height, extra=extra)

    def _y_grid(self) -> list[str]:
        return [
            self.horizontal(value, style="grid")
            + f'<text class="tick" x="{LEFT - 6}" y="{self.py(value) + 4:.1f}" text-anchor="end">{short(value)}</text>'
            for value in ticks(*self.y)
        ]

    def _x_labels(self) -> list[str]:
        labels = [(value, short(value)) for value in ticks(*self.x)] if self.x_ticks is None else self.x_ticks
        # Given labels are long: those at the edges must not stick out.
        edges = {} if self.x_ticks is None else {self.x[0]: "start", self.x[1]: "end"}
        return [
            f'<text class="tick" x="{self.px(value):.1f}" y="{self.floor + 16}" '
            f'text-anchor="{edges.get(value, "middle")}">{escape(label)}</text>'
            for value, label in labels
        ]


def picture(marks: Sequence[str], title: str, *, height: int = HEIGHT, extra: str = "") -> str:
    """Return marks as an SVG element that scales with the page.

    With `extra` attributes the page shows its own tooltip, which a title element would hide.
    """
    name = escape(title)
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}"{extra}'
    return f"<svg {box}>{'' if extra else f'<title>{name}</title>'}{''.join(marks)}</svg>"


def shortened(name: str, length: int) -> str:
    """Return a name cut to a length, with an ellipsis.

    >>> shortened("Neighborhood", 8)
    'Neighbo…'
    """
    return name if len(name) <= length else f"{name[: length - 1]}…"


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Return about `count` round numbers between two values.

    >>> ticks(0.0, 10.0), ticks(0.0, 3e-20)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.0, 1e-20, 2e-20, 3e-20])
    """
    span = high - low
    if not (span > SMALLEST_SPAN and math.isfinite(span)):
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    digits = max(12, 3 - math.floor(math.log10(step)))
    return [round(multiple * step, digits) for multiple in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Return a tick's label, with large numbers abbreviated.

    >>> short(250000.0), short(0.25)
    ('250k', '0.25')
    """
    if abs(value) >= LARGEST_ABBREVIATED:
        return f"{value:.3g}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{format_plain(round(value / (1e3 if letter == 'k' else size), 3))}{letter}"
    return format_plain(value)


def thin(points: Points, limit: int = 300) -> Points:
    """Return at most `limit` points: the highest of each stretch, so that no peak is lost.

    >>> thin([(0, 1.0), (1, 9.0), (2, 3.0)], limit=2)
    [(1, 9.0), (2, 3.0)]
    """
    step = max(1, -(-len(points) // limit))
    return [max(points[start : start + step], key=lambda point: point[1]) for start in range(0, len(points), step)]
