"""Numbers -> inline SVG: lines, points, bars, histograms, matrices. Colors come from style.css."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from estimator.core.arrays import Floats, Ints, equal_width_bins
from estimator.core.text import format_plain
from estimator.pages.axes import LEFT, RIGHT, TOP, WIDTH, Axes, Points, picture, short, shortened, thin

# The width of a bar of a small histogram with its margin, and the height of the tallest bar.
SPARK_STEP, SPARK_HEIGHT = 6, 48
HEAT_LABEL = 118
# The width of a character of a label.
CHARACTER = 7
# The path of a point by group; the first two differ by the ends of their line, which style.css rounds or squares.
POINT_SHAPES = ("h0", "h0", "m-3 3h6l-3-6z", "m-4 0h8m-4-4v8")


@dataclass(frozen=True, slots=True)
class LegendKey:
    """A line of a legend: a sample of what is drawn, as the content of a picture of 24 by 12, and its name."""

    sample: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG picture with its heading, how to read it, and the keys of a legend below it."""

    heading: str
    reading: str
    svg: str
    legend: Sequence[LegendKey] = ()


def lines(series: Mapping[str, Sequence[float]], *, x_title: str, y_title: str, title: str) -> str:
    """Return curves over 1, 2, 3, ...; values that are not finite are left out."""
    curves = {
        name: [(float(x), y) for x, y in enumerate(values, start=1) if y is not None and math.isfinite(y)]
        for name, values in series.items()
    }
    values = [y for points in curves.values() for _, y in points]
    if not values:
        return ""
    # The first losses may be so large that the rest of the curve would look flat.
    top = float(np.quantile(values, 0.98)) * 1.1 if len(values) > 50 else max(values)
    last = max(x for points in curves.values() for x, _ in points)
    axes = Axes((1, last), (min(0.0, *values), top), x_title, y_title)
    marks = []
    for number, (name, points) in enumerate(curves.items()):
        marks.append(f'<polyline class="line c{number}" points="{axes.path(thin(points, 400))}"/>')
        marks.append(_legend(number, name))
    return axes.draw(marks, title)


def _legend(number: int, name: str) -> str:
    y = TOP + 10 + 18 * number
    return (
        f'<rect class="c{number}" x="{WIDTH - 150}" y="{y - 8}" width="14" height="4"/>'
        f'<text class="tick" x="{WIDTH - 130}" y="{y}">{escape(shortened(name, 18))}</text>'
    )


def points(
    groups: Mapping[str, Points],
    *,
    x_title: str,
    y_title: str,
    title: str,
    y: tuple[float, float],
    best: Points = (),
    limit: float | None = None,
) -> str:
    """Return named groups of points, a line of steps through `best`, and a dashed line at x = `limit`.

    Points beyond the range `y` are drawn at its edge.
    """
    xs = [x for group in groups.values() for x, _ in group] + ([] if limit is None else [limit])
    if not xs:
        return ""
    axes = Axes((min(xs), max(xs)), y, x_title, y_title, height=320)
    marks = [] if limit is None else [axes.vertical(limit, style="guide")]
    if best:
        steps = " ".join(f"H{axes.px(x):.1f}V{axes.py(value):.1f}" for x, value in best)
        marks.append(f'<path class="line c0" d="M{axes.px(best[0][0]):.1f} {axes.py(best[0][1]):.1f}{steps}"/>')
    for number, (name, group) in enumerate(groups.items()):
        style = f'class="dot c{number}" r="3"'
        marks += [
            f'<circle {style} cx="{axes.px(x):.1f}" cy="{axes.py(value):.1f}">'
            f"<title>{format_plain(x)}: {format_plain(value)}</title></circle>"
            for x, value in group
        ]
        marks += [_legend(number, name)] if len(groups) > 1 else []
    return axes.draw(marks, title)


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over x, NaN where there is none, with a band from `low` to `high`; a dashed line without a band."""

    y: Floats
    low: Floats | None = None
    high: Floats | None = None


def curves(
    x: Floats,
    series: Sequence[Curve],
    *,
    marked: float,
    compared: float,
    level: float | None = None,
    x_title: str,
    y_title: str,
    title: str,
) -> str:
    """Return curves in the colors of their places; lines at x = `marked`, dashed at x = `compared` and y = `level`."""
    arrays = [array for curve in series for array in (curve.y, curve.low, curve.high) if array is not None]
    values = np.concatenate([array[np.isfinite(array)] for array in arrays])
    if not len(values):
        return ""
    axes = Axes((float(x[0]), float(x[-1])), (min(0.0, float(values.min())), float(values.max())), x_title, y_title)
    marks = [axes.vertical(compared, style="guide")]
    marks += [] if level is None else [axes.horizontal(level, style="guide")]
    for number, curve in enumerate(series):
        if curve.low is not None and curve.high is not None:
            around = axes.path([*_finite_points(x, curve.low), *reversed(_finite_points(x, curve.high))])
            marks.append(f'<polygon class="band c{number}" points="{around}"/>')
        style = f"line c{number}" + (" dashed" if curve.low is None else "")
        marks.append(f'<polyline class="{style}" points="{axes.path(_finite_points(x, curve.y))}"/>')
    is_left = axes.px(marked) < WIDTH / 2
    label = f'x="{axes.px(marked) + (5 if is_left else -5):.1f}" y="{axes.floor - 6}"'
    anchor = "start" if is_left else "end"
    marks += [
        axes.vertical(marked, style="whisker"),
        f'<text class="tick" {label} text-anchor="{anchor}">{format_plain(float(f"{marked:.4g}"))}</text>',
    ]
    return axes.draw(marks, title)


def _finite_points(x: Floats, y: Floats) -> list[tuple[float, float]]:
    return [(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True) if math.isfinite(b)]


def scatter(
    x: Floats,
    y: Floats,
    *,
    x_title: str,
    y_title: str,
    title: str,
    limit: int = 1000,
    whiskers: tuple[Floats, Floats] | None = None,
) -> str:
    """Return points and the diagonal on which x equals y, and a whisker of each point from its low to its high y."""
    step = max(1, len(x) // limit)
    lows, highs = (y, y) if whiskers is None else whiskers
    low, high = float(min(x.min(), lows.min())), float(max(x.max(), highs.max()))
    axes = Axes((low, high), (low, high), x_title, y_title, height=420)
    diagonal = (
        f'<line class="guide" x1="{axes.px(low):.1f}" y1="{axes.py(low):.1f}" '
        f'x2="{axes.px(high):.1f}" y2="{axes.py(high):.1f}"/>'
    )
    dots = [
        f'<circle class="dot" cx="{axes.px(a):.1f}" cy="{axes.py(b):.1f}" r="2.5"/>'
        for a, b in zip(x[::step].tolist(), y[::step].tolist(), strict=True)
    ]
    lines = [
        f'<path class="whisker" d="M{axes.px(place):.1f} {axes.py(start):.1f}V{axes.py(end):.1f}"/>'
        for place, start, end in zip(x[::step].tolist(), lows[::step].tolist(), highs[::step].tolist(), strict=True)
        if whiskers is not None
    ]
    return axes.draw([diagonal, *lines, *dots], title)


def histogram(values: Floats, *, x_title: str, title: str, bins: int = 40) -> str:
    """Return a histogram of numbers between their 0.5% and 99.5% quantiles, each bar with a tooltip."""
    low, high = (float(v) for v in np.quantile(values, [0.005, 0.995]))
    counts, edges = equal_width_bins(values, min(bins, max(5, len(values) // 5)), span=(low, high))
    axes = Axes((float(edges[0]), float(edges[-1])), (0, float(counts.max())), x_title, "rows")
    marks = [
        f'<rect class="bar" x="{axes.px(a):.1f}" y="{axes.py(n):.1f}" '
        f'width="{max(axes.px(b) - axes.px(a) - 1, 0.5):.1f}" height="{axes.py(0) - axes.py(n):.1f}">'
        f"<title>{short(a)} to {short(b)}: {n} rows</title></rect>"
        for a, b, n in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    ]
    return axes.draw(marks, title)


def distribution(edges: Sequence[float], counts: Sequence[int], *, x_title: str, title: str) -> str:
    """Return a histogram with axes; a page's script shows each bar's tooltip."""
    axes = Axes((edges[0], edges[-1]), (0, float(max(counts))), x_title, "rows", height=360)
    step = (WIDTH - LEFT - RIGHT) / len(counts)
    path = "".join(
        f"M{LEFT + (index + 0.5) * step:.4g} {axes.py(0):.0f}V{axes.py(count):.4g}"
        for index, count in enumerate(counts)
        if count
    )
    mark = f'<path class="bars" stroke-width="{max(step - 1, 0.5):.3g}" d="{path}"/>'
    return axes.draw([mark], title, extra=_bin_attributes(edges, counts, LEFT, WIDTH - RIGHT))


def spark(edges: Sequence[float], counts: Sequence[int], *, title: str, is_time: bool = False) -> str:
    """Return a small histogram without axes; if `is_time`, the edges are seconds since 1970."""
    most, floor, width = max(*counts, 1), SPARK_HEIGHT, SPARK_STEP * len(counts)
    path = "".join(
        f"M{index * SPARK_STEP + SPARK_STEP // 2} {floor}V{min(floor - 1, round(floor - floor * count / most))}"
        for index, count in enumerate(counts)
        if count
    )
    box = f'viewBox="0 0 {width} {floor}" role="img" aria-label="{escape(title)}" preserveAspectRatio="none"'
    extra = _bin_attributes(edges, counts, 0, width) + (' data-days=""' if is_time else "")
    return f'<svg class="spark" {box}{extra}><path class="bars" d="{path}"/></svg>'


def _bin_attributes(edges: Sequence[float], counts: Sequence[int], left: int, right: int) -> str:
    """Return the attributes from which a page's script makes the tooltip of each bar."""
    bins = f"{edges[0]:.10g} {edges[-1]:.10g} {left} {right}"
    return f' tabindex="0" data-bins="{bins}" data-counts="{" ".join(map(str, counts))}"'


def row_bars(fractions: Sequence[float]) -> str:
    """Return a bar for each row of a table, as its background; the first row is the header."""
    path = "".join(
        f"M0 {row + 1.5}h{max(100 * fraction, 0.5):.3g}" for row, fraction in enumerate(fractions) if fraction > 0
    )
    box = f'viewBox="0 0 100 {len(fractions) + 1}" preserveAspectRatio="none"'
    return f'<svg {box} aria-hidden="true"><path class="bars" d="{path}"/></svg>'


def heat_map(values: Floats, names: Sequence[str], *, title: str) -> str:
    """Return the lower triangle of a correlation matrix: blue is positive, orange negative, pale near 0.

    A column's name is on the diagonal: its cells are left of it and below it.
    """
    size = len(names)
    cell = min(48.0, (WIDTH - HEAT_LABEL if size <= 40 else WIDTH) / max(size - 1, 1))
    marks = [f'<g class="cells" transform="scale({cell:.4g}) translate(0 .5)">{_cells(values)}</g>']
    if cell >= 8.5:
        style = "tick" if cell >= 13 else "tick small"
        marks += [
            f'<text class="{style}" x="{index * cell + 3:.1f}" y="{(index + 0.5) * cell + 4:.1f}">'
            f"{escape(shortened(name, max(15, min(24, int((WIDTH - index * cell) / 7.8)))))}</text>"
            for index, name in enumerate(names)
        ]
    percents = [f"{100 * values[i, j]:.0f}" for i in range(size) for j in range(i)]
    listed = escape(json.dumps(list(names), ensure_ascii=False))
    extra = f' tabindex="0" data-names="{listed}" data-cell="{cell:.4g}" data-values="{" ".join(percents)}"'
    return picture([*marks, _heat_legend()], title, height=math.ceil(max(size * cell, 40)), extra=extra)


def _cells(values: Floats) -> str:
    """Return the cells, one path per shade."""
    rows, columns = np.tril_indices(len(values), -1)
    shades = np.rint(10 * values[rows, columns]).astype(int)
    paths = []
    for shade in np.unique(shades).tolist():
        is_shade = shades == shade
        d = "".join(f"M{j} {i}h.94" for i, j in zip(rows[is_shade].tolist(), columns[is_shade].tolist(), strict=True))
        style = "even" if shade == 0 else "up" if shade > 0 else "down"
        paths.append(f'<path class="{style}" stroke-opacity="{abs(shade) / 10 or 1:g}" d="{d}"/>')
    return "".join(paths)


def _heat_legend() -> str:
    """Return the shades from -1 to 1 with labels, in the empty corner next to the triangle."""
    left = WIDTH - 152
    shades = [
        f'<path class="{"even" if shade == 0 else "up" if shade > 0 else "down"}" '
        f'stroke-opacity="{abs(shade) / 5 or 1:g}" d="M{index} 0h.94"/>'
        for index, shade in enumerate(range(-5, 6))
    ]
    ends = "".join(
        f'<text class="tick" x="{left + 13 * index + 6.5:g}" y="30" text-anchor="middle">{label}</text>'
        for index, label in ((0, "-1"), (5, "0"), (10, "1"))
    )
    return f'<g class="cells" transform="translate({left} 8) scale(13)">{"".join(shades)}</g>{ends}'


@dataclass(frozen=True, slots=True)
class PointGroup:
    """Points (n, 2) that are drawn alike: their label, CSS class and shape."""

    label: str
    style: str
    points: Floats
    shape: int = 0

    @property
    def key(self) -> str:
        """The point as it looks in a legend."""
        path = f'<path class="{self.style} p{self.shape}" d="M4 4{POINT_SHAPES[self.shape]}"/>'
        return f'<svg class="key" viewBox="-1 -1 10 10" aria-hidden="true">{path}</svg>'


def points_by_group(groups: Sequence[PointGroup], *, x_title: str, y_title: str, title: str) -> str:
    """Return groups of points on two axes."""
    points = np.concatenate([group.points for group in groups])
    low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    axes = Axes((low[0], high[0]), (low[1], high[1]), x_title, y_title, height=360)
    marks = [
        f'<path class="{group.style} p{group.shape}" d="'
        + "".join(f"M{axes.px(a):.0f} {axes.py(b):.0f}{POINT_SHAPES[group.shape]}" for a, b in group.points.tolist())
        + '"/>'
        for group in groups
    ]
    return axes.draw(marks, title)


def bars(
    names: Sequence[str], values: Sequence[float], lows: Sequence[float], highs: Sequence[float], *, title: str
) -> str:
    """Return horizontal bars, each with a whisker from its low to its high."""
    row, left = 20, 190
    height = row * len(names) + 24
    low, high = min(0.0, *values, *lows), max(*values, *highs, 1e-300)
    scale = (WIDTH - left - 70) / ((high - low) or 1.0)
    zero = left - low * scale
    marks = []
    for index, (name, value, lowest, highest) in enumerate(zip(names, values, lows, highs, strict=True)):
        y = 12 + index * row
        label = shortened(name, 26)
        start, end = sorted((zero, zero + value * scale))
        reach = zero + highest * scale
        marks.append(
            f'<text class="tick" x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{start:.1f}" y="{y + 2}" width="{max(end - start, 0.5):.1f}" height="{row - 6}">'
            f"<title>{escape(name)}: {format_plain(value)}</title></rect>"
            f'<line class="whisker" x1="{zero + lowest * scale:.1f}" x2="{reach:.1f}" '
            f'y1="{y + row / 2 - 1}" y2="{y + row / 2 - 1}"/>'
            f'<text class="tick" x="{max(end, reach) + 6:.1f}" y="{y + 12}">{short(float(f"{value:.3g}"))}</text>'
        )
    return picture(marks, title, height=height)


def band(x: Floats, y: Floats, low: Floats, high: Floats, *, x_title: str, y_title: str, title: str) -> str:
    """Return a curve with a band around it."""
    axes = Axes((float(x[0]), float(x[-1])), (float(low.min()), float(high.max())), x_title, y_title)
    curve, lower, upper = ([*zip(x.tolist(), values.tolist(), strict=True)] for values in (y, low, high))
    around = axes.path([*lower, *reversed(upper)])
    marks = [f'<polygon class="band" points="{around}"/>', f'<polyline class="line c0" points="{axes.path(curve)}"/>']
    return axes.draw(marks, title)


def matrix(counts: Floats | Ints, names: Sequence[str], *, title: str) -> str:
    """Return a confusion matrix: actual classes down, predicted classes across, shaded by their fraction of the row."""
    size, left, top = len(names), 120, 40
    cell = min(90, (WIDTH - left - 10) // size)
    across = min(14, cell // CHARACTER)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    marks = [
        f'<text class="axis" x="{left}" y="14">predicted</text><text class="axis" x="4" y="{top + 14}">actual</text>'
    ]
    for i, name in enumerate(names):
        down = f"<title>{escape(name)}</title>{escape(shortened(name, 14))}"
        above = f"<title>{escape(name)}</title>{escape(shortened(name, across))}"
        marks.append(
            f'<text class="tick" x="{left - 8}" y="{top + i * 32 + 20}" text-anchor="end">{down}</text>'
            f'<text class="tick" x="{left + i * cell + cell / 2:.0f}" y="{top - 8}" text-anchor="middle">{above}</text>'
        )
        marks += [
            f'<rect class="cell" x="{left + j * cell}" y="{top + i * 32}" width="{cell - 2}" height="30" '
            f'fill-opacity="{0.06 + 0.74 * fractions[i, j]:.2f}"/>'
            f'<text class="count" x="{left + j * cell + cell / 2:.0f}" y="{top + i * 32 + 20}" '
            f'text-anchor="middle"><title>{int(counts[i, j]):,}</title>{_fitting(int(counts[i, j]), cell)}</text>'
            for j in range(size)
        ]
    return picture(marks, title, height=top + 32 * size + 8)


def _fitting(count: int, width: float) -> str:
    """Return a count that fits a cell, abbreviated if need be."""
    texts = (str(count), short(count), f"{count / 1000:.0f}k", f"{count / 1e6:.0f}M")
    return next((text for text in texts if CHARACTER * len(text) <= width), "…")
