"""Rows as points on two axes, in groups by their target, so that a page can colour and name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from estimator.core.arrays import Floats, Mask
from estimator.core.text import format_number
from estimator.exploration.profile import ColumnProfile, Profile
from estimator.pages import charts
from estimator.pages.charts import Group

SHOWN_POINTS = 1000
SHADES = 6
MOST_LEVELS = 8


@dataclass(frozen=True, slots=True)
class Cloud:
    """A picture of rows as points, how to read it, and its legend."""

    heading: str
    reading: str
    svg: str
    groups: Sequence[Group]


def clouds(profile: Profile) -> list[Cloud]:
    """Return the rows on their principal axes and, when they were asked for, as neighbours."""
    shares = [f"{share:.0%} of the variance" for share in profile.axes[:2]]
    found = []
    if len(profile.places) >= 3 and len(shares) == 2:
        groups = grouped(profile, profile.places)
        words = {"x_title": f"first axis, {shares[0]}", "y_title": f"second axis, {shares[1]}"}
        svg = charts.cloud(groups, **words, title="rows on the first two principal axes")
        reading = "Rows seen along the two directions in which the numbers vary most."
        found.append(Cloud("Principal axes", reading, svg, groups))
    if len(profile.neighbours) >= 3:
        groups = grouped(profile, profile.neighbours)
        words = {"x_title": "first t-SNE axis", "y_title": "second t-SNE axis"}
        svg = charts.cloud(groups, **words, title="rows beside their nearest neighbours, by t-SNE")
        reading = "Rows that are alike lie close together; the size of a gap between groups says nothing."
        found.append(Cloud("Neighbours (t-SNE)", reading, svg, groups))
    return found


def grouped(profile: Profile, places: Floats) -> list[Group]:
    """Return some rows' places by the target: in shades from small to large, or by level.

    `place_colours` are the target's numbers; of a target of levels, they are what `top` has as its mean there, or else
    the level's place in `top`.
    """
    step = -(-len(places) // SHOWN_POINTS)
    places, goal = places[::step], profile.place_colours[: len(places)][::step]
    target = profile.column(profile.target)
    known = ~np.isnan(goal)
    if len(np.unique(goal[known])) < 2:
        return [Group("rows", "none", places)]
    groups = _levels(target, goal, places) if target.top else _shades(goal, known, places)
    return [group for group in [*groups, Group("unknown", "none", places[~known])] if len(group.places)]


def _levels(target: ColumnProfile, goal: Floats, places: Floats) -> list[Group]:
    codes = {
        level: place if mean is None else round(mean) for place, (level, _, mean) in enumerate(target.top[:MOST_LEVELS])
    }
    groups = [
        Group(charts.shortened(level, 40), f"level{place}", places[goal == code], place % len(charts.POINTS))
        for place, (level, code) in enumerate(codes.items())
    ]
    others: Mask = ~np.isin(goal, list(codes.values())) & ~np.isnan(goal)
    return [*groups, Group("other levels", "none", places[others])]


def _shades(goal: Floats, known: Mask, places: Floats) -> list[Group]:
    edges = np.unique(np.quantile(goal[known], np.linspace(0, 1, SHADES + 1)))
    shade = np.where(known, np.searchsorted(edges[1:-1], goal, side="right"), -1)
    last = max(len(edges) - 2, 1)
    return [
        Group(
            f"{format_number(low)} to {format_number(high)}",
            f"shade{round(number * (SHADES - 1) / last)}",
            places[shade == number],
        )
        for number, (low, high) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    ]
