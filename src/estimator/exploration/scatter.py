"""Rows as points on two axes, in groups by their target, so that a page can color and name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.text import format_number
from estimator.exploration.profile import ColumnProfile, Profile
from estimator.pages import charts
from estimator.pages.axes import shortened
from estimator.pages.charts import PointGroup

MAX_POINTS = 1000
SHADES = 6
MAX_CATEGORIES = 8


@dataclass(frozen=True, slots=True)
class ScatterPlot:
    """A picture of rows as points, how to read it, and its legend."""

    heading: str
    reading: str
    svg: str
    groups: Sequence[PointGroup]


def scatter_plots(profile: Profile) -> list[ScatterPlot]:
    """Return the rows on their principal components and, if it was computed, by t-SNE."""
    variances = [f"{fraction:.0%} of variance" for fraction in profile.explained_variance[:2]]
    plots = []
    if len(profile.components) >= 3 and len(variances) == 2:
        groups = group_points(profile, profile.components)
        titles = {"x_title": f"first component, {variances[0]}", "y_title": f"second component, {variances[1]}"}
        svg = charts.points_by_group(groups, **titles, title="rows on the first two principal components")
        reading = "Rows along the two directions in which the numeric columns vary most."
        plots.append(ScatterPlot("Principal components", reading, svg, groups))
    if len(profile.tsne) >= 3:
        groups = group_points(profile, profile.tsne)
        titles = {"x_title": "first t-SNE axis", "y_title": "second t-SNE axis"}
        svg = charts.points_by_group(groups, **titles, title="rows near similar rows, by t-SNE")
        reading = "Similar rows are close together; distances between clusters have no meaning."
        plots.append(ScatterPlot("Neighbors (t-SNE)", reading, svg, groups))
    return plots


def group_points(profile: Profile, points: Floats) -> list[PointGroup]:
    """Return points (n, 2) in groups by target: in shades from small to large, or by class.

    `row_targets` are the target's numbers. For classes, they are the means in `top_categories`, or else the class's
    index there.
    """
    step = -(-len(points) // MAX_POINTS)
    points, targets = points[::step], profile.row_targets[: len(points)][::step]
    target = profile.column(profile.target)
    has_target = ~np.isnan(targets)
    if len(np.unique(targets[has_target])) < 2:
        return [PointGroup("rows", "none", points)]
    groups = _by_class(target, targets, points) if target.top_categories else _by_shade(targets, has_target, points)
    return [group for group in [*groups, PointGroup("unknown", "none", points[~has_target])] if len(group.points)]


def _by_class(target: ColumnProfile, targets: Floats, points: Floats) -> list[PointGroup]:
    codes = {
        name: index if mean is None else round(mean)
        for index, (name, _, mean) in enumerate(target.top_categories[:MAX_CATEGORIES])
    }
    groups = [
        PointGroup(shortened(name, 40), f"category{index}", points[targets == code], index % len(charts.POINT_SHAPES))
        for index, (name, code) in enumerate(codes.items())
    ]
    others: Mask = ~np.isin(targets, list(codes.values())) & ~np.isnan(targets)
    return [*groups, PointGroup("other classes", "none", points[others])]


def _by_shade(targets: Floats, has_target: Mask, points: Floats) -> list[PointGroup]:
    edges = np.unique(np.quantile(targets[has_target], np.linspace(0, 1, SHADES + 1)))
    shade = np.where(has_target, np.searchsorted(edges[1:-1], targets, side="right"), -1)
    last = max(len(edges) - 2, 1)
    ranges = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return [
        PointGroup(
            f"{format_number(low)} to {format_number(high)}",
            f"shade{round(number * (SHADES - 1) / last)}",
            points[shade == number],
        )
        for number, (low, high) in enumerate(ranges)
    ]
