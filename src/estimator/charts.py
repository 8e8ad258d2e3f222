"""Numbers -> inline SVG: lines, points, bars, a histogram, a matrix. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from estimator.task import Floats
from estimator.wording import plain

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 44


@dataclass(frozen=True, slots=True)
class Axes:
    """A plot area: data ranges, axis titles and the drawing of ticks and grid."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_title: str
    y_title: str
    height: int = HEIGHT

    def px(self, value: float) -> float:
        """Return the horizontal place of a value."""
        return LEFT + (value - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0) * (WIDTH - LEFT - RIGHT)

    def py(self, value: float) -> float:
        """Return the vertical place of a value."""
        floor = self.height - BOTTOM
        return floor - (value - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0) * (floor - TOP)

    def draw(self, marks: Sequence[str], title: str) -> str:
        """Return the whole picture, named for screen readers."""
        grid = [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.py(v):.1f}" y2="{self.py(v):.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{self.py(v) + 4:.1f}" text-anchor="end">{short(v)}</text>'
            for v in ticks(*self.y)
        ]
        below = [
            f'<text class="tick" x="{self.px(v):.1f}" y="{self.height - BOTTOM + 16}" text-anchor="middle">'
            f"{short(v)}</text>"
            for v in ticks(*self.x)
        ]
        titles = (
            f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(self.x_title)}</text>"
            f'<text class="axis" transform="translate(14 {(TOP + self.height - BOTTOM) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y_title)}</text>'
        )
        return picture([*grid, *below, titles, *marks], title, height=self.height)


def picture(marks: Sequence[str], title: str, *, height: int = HEIGHT) -> str:
    """Return marks as an SVG element that scales with the page."""
    name = escape(title)
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}"'
    return f"<svg {box}><title>{name}</title>{''.join(marks)}</svg>"


def ticks(low: float, high: float, *, wanted: int = 5) -> list[float]:
    """Return round numbers between two values.

    >>> ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low]
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Return a tick's label: thousands and millions abbreviated.

    >>> short(250000.0), short(0.25)
    ('250k', '0.25')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{plain(round(value / (1e3 if letter == 'k' else size), 3))}{letter}"
    return plain(value)


def lines(series: Mapping[str, Sequence[float]], *, x_title: str, y_title: str, title: str) -> str:
    """Return curves over 1, 2, 3, ...; values that are not finite are left out."""
    known = {name: [(place + 1, v) for place, v in enumerate(values) if v is not None and math.isfinite(v)]
             for name, values in series.items()}  # fmt: skip
    values = [v for points in known.values() for _, v in points]
    if not values:
        return ""
    # The first rounds tower over the rest; the curve's story is below them.
    top = float(np.quantile(values, 0.98)) * 1.1 if len(values) > 50 else max(values)
    axes = Axes(
        (1, max(place for points in known.values() for place, _ in points)), (min(0.0, *values), top), x_title, y_title
    )
    marks = []
    for number, (name, points) in enumerate(known.items()):
        path = " ".join(f"{axes.px(x):.1f},{axes.py(min(y, top)):.1f}" for x, y in _thinned(points))
        marks.append(f'<polyline class="line c{number}" points="{path}"/>')
        marks.append(_legend(number, name))
    return axes.draw(marks, title)


def _thinned(points: Sequence[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    step = max(1, len(points) // most)
    return [*points[::step], points[-1]]


def _legend(number: int, name: str) -> str:
    y = TOP + 10 + 18 * number
    return (
        f'<rect class="c{number}" x="{WIDTH - 150}" y="{y - 8}" width="14" height="4"/>'
        f'<text class="tick" x="{WIDTH - 130}" y="{y}">{escape(name)}</text>'
    )


def scatter(x: Floats, y: Floats, *, x_title: str, y_title: str, title: str, most: int = 1000) -> str:
    """Return points and the diagonal on which answer and truth agree."""
    step = max(1, len(x) // most)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    axes = Axes((low, high), (low, high), x_title, y_title, height=420)
    diagonal = (
        f'<line class="guide" x1="{axes.px(low):.1f}" y1="{axes.py(low):.1f}" '
        f'x2="{axes.px(high):.1f}" y2="{axes.py(high):.1f}"/>'
    )
    dots = [
        f'<circle class="dot" cx="{axes.px(a):.1f}" cy="{axes.py(b):.1f}" r="2.5"/>'
        for a, b in zip(x[::step].tolist(), y[::step].tolist(), strict=True)
    ]
    return axes.draw([diagonal, *dots], title)


def histogram(values: Floats, *, x_title: str, title: str, bins: int = 40) -> str:
    """Return the distribution of numbers between their 0.5 % and 99.5 % quantiles."""
    low, high = (float(v) for v in np.quantile(values, [0.005, 0.995]))
    counts, edges = np.histogram(
        values, bins=min(bins, max(5, len(values) // 5)), range=(low, high if high > low else low + 1)
    )
    return distribution(edges.tolist(), counts.tolist(), x_title=x_title, title=title)


def distribution(edges: Sequence[float], counts: Sequence[int], *, x_title: str, title: str) -> str:
    """Return counts between edges as bars."""
    axes = Axes((edges[0], edges[-1]), (0, float(max(counts))), x_title, "rows")
    marks = [
        f'<rect class="bar" x="{axes.px(a):.1f}" y="{axes.py(n):.1f}" '
        f'width="{max(axes.px(b) - axes.px(a) - 1, 0.5):.1f}" height="{axes.py(0) - axes.py(n):.1f}">'
        f"<title>{short(a)} to {short(b)}: {n} rows</title></rect>"
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return axes.draw(marks, title)


def spark(counts: Sequence[float], *, title: str, width: int = 240, height: int = 48) -> str:
    """Return counts as a row of small bars without axes."""
    most, step = max(*counts, 1e-300), width / max(len(counts), 1)
    path = "".join(
        f"M{place * step:.1f} {height}V{height - (height - 2) * count / most:.1f}h{max(step - 0.8, 0.6):.1f}V{height}"
        for place, count in enumerate(counts)
    )
    box = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" preserveAspectRatio="none"'
    return f'<svg class="spark" {box}><path class="bar" d="{path}"/></svg>'


def heat(values: Floats, names: Sequence[str], *, title: str) -> str:
    """Return a square of correlations: blue for positive, orange for negative, paler towards 0."""
    size, left = len(names), 130
    cell = max(4.0, min(26.0, (WIDTH - left) / max(size, 1)))
    marks = []
    for i, name in enumerate(names):
        if cell >= 9:
            label = escape(name if len(name) <= 18 else f"{name[:17]}…")
            y = i * cell + cell / 2 + 4
            marks.append(f'<text class="tick" x="{left - 6}" y="{y:.1f}" text-anchor="end">{label}</text>')
        marks += [
            f'<rect class="{"up" if values[i, j] >= 0 else "down"}" x="{left + j * cell:.1f}" y="{i * cell:.1f}" '
            f'width="{cell - 0.6:.1f}" height="{cell - 0.6:.1f}" fill-opacity="{abs(values[i, j]):.2f}">'
            f"<title>{escape(name)} and {escape(names[j])}: {values[i, j]:.2f}</title></rect>"
            for j in range(size)
            if abs(values[i, j]) >= 0.05
        ]
    return picture(marks, title, height=int(size * cell) + 8)


def cloud(places: Floats, colours: Floats, *, title: str) -> str:
    """Return points on two axes, darker where the third value is larger."""
    low, high = places.min(axis=0), places.max(axis=0)
    axes = Axes(
        (float(low[0]), float(high[0])), (float(low[1]), float(high[1])), "first axis", "second axis", height=420
    )
    ranks = np.argsort(np.argsort(colours)) / max(len(colours) - 1, 1)
    marks = [
        f'<circle class="dot" cx="{axes.px(a):.1f}" cy="{axes.py(b):.1f}" r="2.5" '
        f'fill-opacity="{0.15 + 0.8 * rank:.2f}"/>'
        for (a, b), rank in zip(places.tolist(), ranks.tolist(), strict=True)
    ]
    return axes.draw(marks, title)


def bars(names: Sequence[str], values: Sequence[float], spreads: Sequence[float], *, title: str) -> str:
    """Return horizontal bars, largest first, with a whisker of one spread on each side."""
    row, left = 20, 190
    height = row * len(names) + 24
    low, high = min(0.0, *values), max(*values, 1e-300)
    scale = (WIDTH - left - 70) / ((high - low) or 1.0)
    zero = left - low * scale
    marks = []
    for place, (name, value, spread) in enumerate(zip(names, values, spreads, strict=True)):
        y = 12 + place * row
        label = name if len(name) <= 26 else f"{name[:25]}…"
        start, end = sorted((zero, zero + value * scale))
        reach = zero + (value + spread) * scale
        marks.append(
            f'<text class="tick" x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{start:.1f}" y="{y + 2}" width="{max(end - start, 0.5):.1f}" height="{row - 6}">'
            f"<title>{escape(name)}: {plain(value)}</title></rect>"
            f'<line class="whisker" x1="{zero + (value - spread) * scale:.1f}" x2="{reach:.1f}" '
            f'y1="{y + row / 2 - 1}" y2="{y + row / 2 - 1}"/>'
            f'<text class="tick" x="{max(end, reach) + 6:.1f}" y="{y + 12}">{short(float(f"{value:.3g}"))}</text>'
        )
    return picture(marks, title, height=height)


def matrix(counts: Floats, names: Sequence[str], *, title: str) -> str:
    """Return a confusion matrix: true levels down, decided levels across, shaded by their share of the row."""
    size, left, top = len(names), 120, 40
    cell = min(90, (WIDTH - left - 10) // size)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    marks = [
        f'<text class="axis" x="{left}" y="14">decided as</text><text class="axis" x="4" y="{top + 14}">true</text>'
    ]
    for i, name in enumerate(names):
        label = escape(name if len(name) <= 14 else f"{name[:13]}…")
        marks.append(
            f'<text class="tick" x="{left - 8}" y="{top + i * 32 + 20}" text-anchor="end">{label}</text>'
            f'<text class="tick" x="{left + i * cell + cell / 2:.0f}" y="{top - 8}" text-anchor="middle">{label}</text>'
        )
        marks += [
            f'<rect class="cell" x="{left + j * cell}" y="{top + i * 32}" width="{cell - 2}" height="30" '
            f'fill-opacity="{0.06 + 0.74 * shares[i, j]:.2f}"/>'
            f'<text class="count" x="{left + j * cell + cell / 2:.0f}" y="{top + i * 32 + 20}" '
            f'text-anchor="middle">{int(counts[i, j])}</text>'
            for j in range(size)
        ]
    return picture(marks, title, height=top + 32 * size + 8)
