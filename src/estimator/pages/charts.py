"""Numbers -> inline SVG: lines, points, bars, histograms, matrices. Colours come from the page's style sheet."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.text import format_plain

WIDTH, HEIGHT = 480, 290
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 44
# A bar of a small histogram with the room beside it, and the height of the tallest.
SPARK_STEP, SPARK_HEIGHT = 6, 48
HEAT_LABEL = 118
# How a point is drawn; the first two differ by the ends of their line, which the style sheet rounds or squares.
POINTS = ("h0", "h0", "m-3 3h6l-3-6z", "m-4 0h8m-4-4v8")


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG picture with its heading, how to read it, and the names of its series for a legend below it."""

    heading: str
    reading: str
    svg: str
    series: Sequence[str] = ()


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

    def draw(self, marks: Sequence[str], title: str, *, extra: str = "") -> str:
        """Return the whole picture, named for screen readers; `extra` are more attributes of it."""
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
            f"{escape(shortened(self.x_title, 48))}</text>"
            f'<text class="axis" transform="translate(14 {(TOP + self.height - BOTTOM) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(shortened(self.y_title, 40))}</text>'
        )
        return picture([*grid, *below, titles, *marks], title, height=self.height, extra=extra)


def picture(marks: Sequence[str], title: str, *, height: int = HEIGHT, extra: str = "") -> str:
    """Return marks as an SVG element that scales with the page; a title of its own would hide a page's tooltip."""
    name = escape(title)
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}"{extra}'
    return f"<svg {box}>{'' if extra else f'<title>{name}</title>'}{''.join(marks)}</svg>"


def shortened(name: str, most: int) -> str:
    """Return a name cut to a length, with an ellipsis.

    >>> shortened("Neighborhood", 8)
    'Neighbo…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


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
            return f"{format_plain(round(value / (1e3 if letter == 'k' else size), 3))}{letter}"
    return format_plain(value)


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


def points(
    groups: Mapping[str, Sequence[tuple[float, float]]], *, x_title: str, y_title: str, title: str,
    y: tuple[float, float], best: Sequence[tuple[float, float]] = (), limit: float | None = None,
) -> str:  # fmt: skip
    """Return groups of points with their names, a line of steps through `best`, and a limit across.

    Points beyond the range `y` are drawn at its edge.
    """
    places = [x for group in groups.values() for x, _ in group] + ([] if limit is None else [limit])
    if not places:
        return ""
    axes = Axes((min(places), max(places)), y, x_title, y_title, height=320)
    marks = []
    if limit is not None:
        at = axes.px(limit)
        marks.append(f'<line class="guide" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{axes.height - BOTTOM}"/>')
    if best:
        steps = " ".join(f"H{axes.px(x):.1f}V{axes.py(min(max(value, y[0]), y[1])):.1f}" for x, value in best)
        marks.append(
            f'<path class="line c0" d="M{axes.px(best[0][0]):.1f} {axes.py(min(best[0][1], y[1])):.1f}{steps}"/>'
        )
    for number, (name, group) in enumerate(groups.items()):
        style = f'class="dot c{number}" r="3"'
        marks += [
            f'<circle {style} cx="{axes.px(x):.1f}" cy="{axes.py(min(max(value, y[0]), y[1])):.1f}">'
            f"<title>{format_plain(x)}: {format_plain(value)}</title></circle>"
            for x, value in group
        ]
        marks += [_legend(number, name)] if len(groups) > 1 else []
    return axes.draw(marks, title)


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
    """Return the distribution of numbers between their 0.5 % and 99.5 % quantiles, each bar with its own words."""
    low, high = (float(v) for v in np.quantile(values, [0.005, 0.995]))
    counts, edges = np.histogram(
        values, bins=min(bins, max(5, len(values) // 5)), range=(low, high if high > low else low + 1)
    )
    axes = Axes((float(edges[0]), float(edges[-1])), (0, float(counts.max())), x_title, "rows")
    marks = [
        f'<rect class="bar" x="{axes.px(a):.1f}" y="{axes.py(n):.1f}" '
        f'width="{max(axes.px(b) - axes.px(a) - 1, 0.5):.1f}" height="{axes.py(0) - axes.py(n):.1f}">'
        f"<title>{short(a)} to {short(b)}: {n} rows</title></rect>"
        for a, b, n in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    ]
    return axes.draw(marks, title)


def distribution(edges: Sequence[float], counts: Sequence[int], *, x_title: str, title: str) -> str:
    """Return counts between even edges as bars on axes; the page's script tells each bar."""
    axes = Axes((edges[0], edges[-1]), (0, float(max(counts))), x_title, "rows", height=360)
    step = (WIDTH - LEFT - RIGHT) / len(counts)
    path = "".join(
        f"M{LEFT + (place + 0.5) * step:.4g} {axes.py(0):.0f}V{axes.py(count):.4g}"
        for place, count in enumerate(counts)
        if count
    )
    mark = f'<path class="bars" stroke-width="{max(step - 1, 0.5):.3g}" d="{path}"/>'
    return axes.draw([mark], title, extra=_told(edges, counts, LEFT, WIDTH - RIGHT))


def spark(edges: Sequence[float], counts: Sequence[int], *, title: str, days: bool = False) -> str:
    """Return counts between even edges as a row of small bars without axes; `days`: the edges are times."""
    most, floor, width = max(*counts, 1), SPARK_HEIGHT, SPARK_STEP * len(counts)
    path = "".join(
        f"M{place * SPARK_STEP + SPARK_STEP // 2} {floor}V{min(floor - 1, round(floor - floor * count / most))}"
        for place, count in enumerate(counts)
        if count
    )
    box = f'viewBox="0 0 {width} {floor}" role="img" aria-label="{escape(title)}" preserveAspectRatio="none"'
    extra = _told(edges, counts, 0, width) + (' data-days=""' if days else "")
    return f'<svg class="spark" {box}{extra}><path class="bars" d="{path}"/></svg>'


def _told(edges: Sequence[float], counts: Sequence[int], left: int, right: int) -> str:
    """Return attributes from which a page's script can tell every bar, on hover and by arrow keys."""
    bins = f"{edges[0]:.10g} {edges[-1]:.10g} {left} {right}"
    return f' tabindex="0" data-bins="{bins}" data-counts="{" ".join(map(str, counts))}"'


def row_bars(shares: Sequence[float]) -> str:
    """Return a bar for every row of a table, to be laid behind it; the first row is its head."""
    path = "".join(f"M0 {place + 1.5}h{max(100 * share, 0.5):.3g}" for place, share in enumerate(shares) if share > 0)
    box = f'viewBox="0 0 100 {len(shares) + 1}" preserveAspectRatio="none"'
    return f'<svg {box} aria-hidden="true"><path class="bars" d="{path}"/></svg>'


def heat(values: Floats, names: Sequence[str], *, title: str) -> str:
    """Return the triangle of correlations: blue for positive, orange for negative, paler towards 0.

    A column's name is on the diagonal: its cells are left of the name and below it.
    """
    size = len(names)
    cell = min(48.0, (WIDTH - HEAT_LABEL if size <= 40 else WIDTH) / max(size - 1, 1))
    marks = [f'<g class="cells" transform="scale({cell:.4g}) translate(0 .5)">{_cells(values)}</g>']
    if cell >= 8.5:
        style = "tick" if cell >= 13 else "tick small"
        marks += [
            f'<text class="{style}" x="{place * cell + 3:.1f}" y="{(place + 0.5) * cell + 4:.1f}">'
            f"{escape(shortened(name, max(15, min(24, int((WIDTH - place * cell) / 7.8)))))}</text>"
            for place, name in enumerate(names)
        ]
    told = [f"{100 * values[i, j]:.0f}" for i in range(size) for j in range(i)]
    listed = escape(json.dumps(list(names), ensure_ascii=False))
    extra = f' tabindex="0" data-names="{listed}" data-cell="{cell:.4g}" data-values="{" ".join(told)}"'
    return picture([*marks, _heat_key()], title, height=math.ceil(max(size * cell, 40)), extra=extra)


def _cells(values: Floats) -> str:
    """Return one path for the cells of each shade."""
    rows, columns = np.tril_indices(len(values), -1)
    shades = np.rint(10 * values[rows, columns]).astype(int)
    paths = []
    for shade in np.unique(shades).tolist():
        chosen = shades == shade
        d = "".join(f"M{j} {i}h.94" for i, j in zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True))
        style = "even" if shade == 0 else "up" if shade > 0 else "down"
        paths.append(f'<path class="{style}" stroke-opacity="{abs(shade) / 10 or 1:g}" d="{d}"/>')
    return "".join(paths)


def _heat_key() -> str:
    """Return the shades from -1 to 1 with their numbers, in the corner that the triangle leaves free."""
    left = WIDTH - 152
    shades = [
        f'<path class="{"even" if shade == 0 else "up" if shade > 0 else "down"}" '
        f'stroke-opacity="{abs(shade) / 5 or 1:g}" d="M{place} 0h.94"/>'
        for place, shade in enumerate(range(-5, 6))
    ]
    ends = "".join(
        f'<text class="tick" x="{left + 13 * place + 6.5:g}" y="30" text-anchor="middle">{word}</text>'
        for place, word in ((0, "-1"), (5, "0"), (10, "1"))
    )
    return f'<g class="cells" transform="translate({left} 8) scale(13)">{"".join(shades)}</g>{ends}'


@dataclass(frozen=True, slots=True)
class Group:
    """Points that are drawn alike: what they are, their number among the groups, and their places (n, 2)."""

    label: str
    style: str
    places: Floats
    point: int = 0

    @property
    def key(self) -> str:
        """The point as a legend shows it."""
        path = f'<path class="{self.style} p{self.point}" d="M4 4{POINTS[self.point]}"/>'
        return f'<svg class="key" viewBox="-1 -1 10 10" aria-hidden="true">{path}</svg>'


def cloud(groups: Sequence[Group], *, x_title: str, y_title: str, title: str) -> str:
    """Return groups of points on two axes."""
    places = np.concatenate([group.places for group in groups])
    low, high = places.min(axis=0).tolist(), places.max(axis=0).tolist()
    axes = Axes((low[0], high[0]), (low[1], high[1]), x_title, y_title, height=360)
    marks = [
        f'<path class="{group.style} p{group.point}" d="'
        + "".join(f"M{axes.px(a):.0f} {axes.py(b):.0f}{POINTS[group.point]}" for a, b in group.places.tolist())
        + '"/>'
        for group in groups
    ]
    return axes.draw(marks, title)


def bars(names: Sequence[str], values: Sequence[float], spreads: Sequence[float], *, title: str) -> str:
    """Return horizontal bars, largest first, with a whisker of one spread on each side."""
    row, left = 20, 190
    height = row * len(names) + 24
    ends = [value + spread for value, spread in zip(values, spreads, strict=True)]
    low, high = min(0.0, *values), max(*ends, 1e-300)
    scale = (WIDTH - left - 70) / ((high - low) or 1.0)
    zero = left - low * scale
    marks = []
    for place, (name, value, spread) in enumerate(zip(names, values, spreads, strict=True)):
        y = 12 + place * row
        label = shortened(name, 26)
        start, end = sorted((zero, zero + value * scale))
        reach = zero + (value + spread) * scale
        marks.append(
            f'<text class="tick" x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{start:.1f}" y="{y + 2}" width="{max(end - start, 0.5):.1f}" height="{row - 6}">'
            f"<title>{escape(name)}: {format_plain(value)}</title></rect>"
            f'<line class="whisker" x1="{zero + (value - spread) * scale:.1f}" x2="{reach:.1f}" '
            f'y1="{y + row / 2 - 1}" y2="{y + row / 2 - 1}"/>'
            f'<text class="tick" x="{max(end, reach) + 6:.1f}" y="{y + 12}">{short(float(f"{value:.3g}"))}</text>'
        )
    return picture(marks, title, height=height)


def band(x: Floats, y: Floats, low: Floats, high: Floats, *, x_title: str, y_title: str, title: str) -> str:
    """Return a curve with a band around it."""
    axes = Axes((float(x[0]), float(x[-1])), (float(low.min()), float(high.max())), x_title, y_title)
    places = [axes.px(value) for value in x.tolist()]

    def path(values: Floats) -> list[str]:
        return [f"{place:.1f},{axes.py(value):.1f}" for place, value in zip(places, values.tolist(), strict=True)]

    around = " ".join([*path(low), *reversed(path(high))])
    marks = [f'<polygon class="band" points="{around}"/>', f'<polyline class="line c0" points="{" ".join(path(y))}"/>']
    return axes.draw(marks, title)


def matrix(counts: Floats, names: Sequence[str], *, title: str) -> str:
    """Return a confusion matrix: true levels down, decided levels across, shaded by their share of the row."""
    size, left, top = len(names), 120, 40
    cell = min(90, (WIDTH - left - 10) // size)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    marks = [
        f'<text class="axis" x="{left}" y="14">decided as</text><text class="axis" x="4" y="{top + 14}">true</text>'
    ]
    for i, name in enumerate(names):
        label = escape(shortened(name, 14))
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
