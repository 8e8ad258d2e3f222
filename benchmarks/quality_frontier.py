"""Results of the quality benchmark -> an SVG of relative error against CPU seconds, with the frontier of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

import numpy as np
from quality_ours import OURS
from quality_results import Results, cpu_seconds, field_of, geometric_mean

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 740, 60, 400
# Errors above are drawn at the upper edge, so that the others can be told apart.
MOST_ERROR = 1.3
CHARACTER, LINE = 7.4, 15
Box = tuple[float, float, float, float]
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.small { font-size: 12px; fill: #57606a; }
.title { font-size: 15px; font-weight: 600; }
.grid { stroke: #d0d7de; }
.frontier { fill: none; stroke: #57606a; stroke-dasharray: 5 4; }
.leader { stroke: #8c959f; }
.ours { fill: #0969da; }
.peer { fill: #bc4c00; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .frontier { stroke: #9198a1; }
  .ours { fill: #4493f8; }
  .peer { fill: #f0883e; }
}"""


@dataclass(frozen=True)
class Point:
    """A competitor: its median CPU seconds and its mean relative error, and where it is drawn."""

    name: str
    seconds: float
    error: float
    x: float
    y: float

    @property
    def label(self) -> str:
        """The name, and the error where it is too large for the chart."""
        return self.name if self.error <= MOST_ERROR else f"{self.name} ({self.error:.2f})"


def frontier(results: Results) -> str:
    """Return the chart; a competitor without any success is not in it."""
    # The last ones have all competitors.
    _, results = results.by_seeds()[-1]
    field = field_of(results)
    if not field.tables:
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"/>\n'
    seconds = {name: cpu_seconds(results, name, field.tables) for name in field.competitors}
    values = [
        (name, float(np.median(seconds[name])), geometric_mean(ratios))
        for name, ratios in zip(field.competitors, field.relative, strict=True)
        if len(seconds[name])
    ]
    decades = floor(log10(min(cpu for _, cpu, _ in values))), ceil(log10(max(cpu for _, cpu, _ in values)))
    low, high = decades[0], max(decades[1], decades[0] + 1)
    top = min(MOST_ERROR, max(1.05, *(error for _, _, error in values)))
    points = [
        Point(
            name,
            cpu,
            error,
            LEFT + (log10(cpu) - low) / (high - low) * (RIGHT - LEFT),
            BOTTOM - (min(error, top) - 1.0) / (top - 1.0) * (BOTTOM - TOP - 20),
        )
        for name, cpu, error in values
    ]
    return "\n".join([*_axes(low, high, top, len(field.tables)), *_marks(points), "</svg>", ""])


def _axes(low: int, high: int, top: float, n_tables: int) -> list[str]:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">Error on rows held out, and what it cost: {n_tables} tables</text>',
        *(
            f'<circle class="{kind}" cx="{x}" cy="38" r="5"/><text class="small" x="{x + 10}" y="42">{name}</text>'
            for kind, name, x in (("ours", "ours", LEFT + 6), ("peer", "others", LEFT + 66))
        ),
    ]
    for decade in range(low, high + 1):
        x = LEFT + (decade - low) / (high - low) * (RIGHT - LEFT)
        lines.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{BOTTOM}"/>')
        lines.append(f'<text class="small" x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{10.0**decade:g}</text>')
    step = next(step for step in (0.01, 0.02, 0.05, 0.1) if (top - 1.0) / step <= 7)
    for index in range(int((top - 1.0) / step + 1e-9) + 1):
        y = BOTTOM - index * step / (top - 1.0) * (BOTTOM - TOP - 20)
        lines.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>')
        lines.append(
            f'<text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{1 + index * step:.2f}</text>'
        )
    middle = (TOP + BOTTOM) / 2
    lines.append(
        f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 42}" text-anchor="middle">CPU seconds, median table</text>'
    )
    lines.append(
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
        "error / the smallest (geometric mean)</text>"
    )
    return lines


def _frontier_corners(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the corners of the line through the points that none is both cheaper and better than."""
    best, chosen = float("inf"), []
    for point in sorted(points, key=lambda point: (point.seconds, point.error)):
        if point.error < best:
            best = point.error
            chosen.append(point)
    corners = [(chosen[0].x, chosen[0].y)]
    for before, after in pairwise(chosen):
        corners += [(after.x, before.y), (after.x, after.y)]
    return corners


def _marks(points: Sequence[Point]) -> list[str]:
    """Return the frontier, the points and their labels, each at the nearest free place, far ones with a leader line."""
    corners = _frontier_corners(points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    lines = [f'<polyline class="frontier" points="{path}"/>']
    taken = [(point.x - 6, point.y - 6, point.x + 6, point.y + 6) for point in points]
    taken += [(min(a, c), min(b, d) - 1, max(a, c) + 1, max(b, d) + 1) for (a, b), (c, d) in pairwise(corners)]
    for point in sorted(points, key=lambda point: point.y):
        box = _label_box(point, taken)
        taken.append(box)
        middle = (box[1] + box[3]) / 2
        if abs(middle - point.y) > 1.5 * LINE:
            end = box[0] if box[0] > point.x else box[2]
            ends = f'x1="{point.x:.1f}" y1="{point.y:.1f}" x2="{end:.1f}" y2="{middle:.1f}"'
            lines.append(f'<line class="leader" {ends}/>')
        kind = "ours" if point.name in OURS else "peer"
        lines.append(f'<circle class="{kind}" cx="{point.x:.1f}" cy="{point.y:.1f}" r="5"/>')
        lines.append(f'<text x="{box[0]:.1f}" y="{middle + 4:.1f}">{escape(point.label)}</text>')
    return lines


def _label_box(point: Point, taken: Sequence[Box]) -> Box:
    """Return the nearest place for a label that overlaps nothing; the right of the point if there is none."""
    width = len(point.label) * CHARACTER
    heights = [0.0, *(sign * (10 + step * LINE / 2) for step in range(30) for sign in (-1, 1))]
    boxes = [
        (x, point.y + height - LINE / 2, x + width, point.y + height + LINE / 2)
        for height in heights
        for x in (point.x + 8, point.x - 8 - width)
    ]
    for box in boxes:
        is_inside = box[0] >= LEFT and box[2] <= RIGHT + 15 and box[1] >= TOP - 12 and box[3] <= BOTTOM
        if is_inside and not any(_overlap(box, other) for other in taken):
            return box
    return boxes[0]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
