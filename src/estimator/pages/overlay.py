"""Two distributions over the same bins on one axis -> inline SVG: filled bars, and the outline of others over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from estimator.pages.axes import LEFT, TOP, WIDTH, Axes, picture, short, shortened, ticks
from estimator.pages.charts import LegendKey

HEIGHT = 240
# Rows of named bins: their height, and the widths of the names on the left and of the fractions on the right.
ROW, NAMES, FRACTIONS = 26, 150, 132
# Ticks further left would touch the name of the missing values.
MIN_TICK = LEFT + 76
SAMPLES = ('<rect class="before" width="24" height="12"/>', '<path class="after" d="M1 12V3h22v9"/>')


@dataclass(frozen=True, slots=True)
class BinFractions:
    """The fractions of two groups of rows in the same bins, each named; `missing` are those of missing values.

    With `borders`, one fewer than bins, the bins are ranges of a number in order, the first and last of them open.
    """

    names: Sequence[str]
    before: Sequence[float]
    after: Sequence[float]
    missing: tuple[float, float] = (0.0, 0.0)
    borders: Sequence[float] = ()


def overlay(bins: BinFractions, labels: tuple[str, str], *, title: str) -> tuple[str, list[LegendKey]]:
    """Return the picture of two distributions and its legend; `labels` name the groups of rows."""
    svg = _ranges(bins, labels, title) if bins.borders else _rows(bins, labels, title)
    return svg, [LegendKey(sample, label) for sample, label in zip(SAMPLES, labels, strict=True)]


def _ranges(bins: BinFractions, labels: tuple[str, str], title: str) -> str:
    low, high = bins.borders[0], bins.borders[-1]
    width = (high - low) / max(len(bins.borders) - 1, 1) or 1.0
    borders = [low - width, *bins.borders, high + width]
    has_missing = max(bins.missing) > 0
    left = borders[0] - 2.5 * width if has_missing else borders[0]
    top = max(*bins.before, *bins.after, *bins.missing, 1e-9)
    axes = Axes((left, borders[-1]), (0.0, top * 1.04), "value", "fraction of the rows", HEIGHT, [])
    labeled = [(value, short(value)) for value in ticks(low, high)]
    axes = Axes(axes.x, axes.y, axes.x_title, axes.y_title, HEIGHT, [t for t in labeled if axes.px(t[0]) > MIN_TICK])
    marks = []
    for index, before in enumerate(bins.before):
        text = _fractions(bins.names[index], before, bins.after[index], labels)
        marks.append(_bar(axes, (borders[index], borders[index + 1]), before, text))
    marks.append(_outline(axes, borders, bins.after))
    if has_missing:
        ends = (left, left + width)
        marks.append(_bar(axes, ends, bins.missing[0], _fractions("missing", *bins.missing, labels)))
        marks.append(_outline(axes, ends, bins.missing[1:]))
        marks.append(f'<text class="tick" x="{LEFT}" y="{axes.floor + 16}">missing</text>')
    return axes.draw(marks, title)


def _bar(axes: Axes, ends: tuple[float, float], value: float, text: str) -> str:
    start, end = (axes.px(x) for x in ends)
    top = axes.py(value)
    # The whole height takes the pointer, as a low bar is hard to hit.
    return (
        f'<g><rect class="before" x="{start + 0.5:.1f}" y="{top:.1f}" width="{max(end - start - 1, 0.5):.1f}" '
        f'height="{axes.floor - top:.1f}"/><rect class="target" x="{start:.1f}" y="{TOP}" '
        f'width="{end - start:.1f}" height="{axes.floor - TOP}"/><title>{escape(text)}</title></g>'
    )


def _outline(axes: Axes, borders: Sequence[float], values: Sequence[float]) -> str:
    steps = [f"V{axes.py(value):.1f}H{axes.px(border):.1f}" for border, value in zip(borders[1:], values, strict=True)]
    return f'<path class="after" d="M{axes.px(borders[0]):.1f} {axes.floor}{"".join(steps)}V{axes.floor}"/>'


def _rows(bins: BinFractions, labels: tuple[str, str], title: str) -> str:
    rows = list(zip(bins.names, bins.before, bins.after, strict=True))
    rows += [("missing", *bins.missing)] if max(bins.missing) > 0 else []
    scale = (WIDTH - NAMES - FRACTIONS) / max(max(before, after) for _, before, after in rows)
    marks = []
    for index, (name, before, after) in enumerate(rows):
        y = TOP + index * ROW
        marks.append(
            f'<g><text class="tick" x="{NAMES - 8}" y="{y + 13}" text-anchor="end">{escape(shortened(name, 19))}</text>'
            f'<rect class="before" x="{NAMES}" y="{y}" width="{before * scale:.1f}" height="{ROW - 8}"/>'
            f'<path class="after" d="M{NAMES} {y + 1}h{max(after * scale, 1):.1f}v{ROW - 10}H{NAMES}"/>'
            f'<text class="count" x="{WIDTH - 4}" y="{y + 13}" text-anchor="end">{before:.1%} → {after:.1%}</text>'
            f"<title>{escape(_fractions(name, before, after, labels))}</title></g>"
        )
    return picture(marks, title, height=TOP + ROW * len(rows) + 4)


def _fractions(name: str, before: float, after: float, labels: tuple[str, str]) -> str:
    return f"{name}: {before:.1%} of the rows {labels[0]}, {after:.1%} {labels[1]}"
