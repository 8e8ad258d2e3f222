"""Correlations -> the columns worth showing, similar ones side by side, and the strongest pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from estimator.core.arrays import Floats
from estimator.exploration.profile import Profile

MOST_COLUMNS = 60
MOST_PAIRS = 15


@dataclass(frozen=True, slots=True)
class Pair:
    """Two columns and how they move together; NaN where ranks are not defined."""

    left: str
    right: str
    pearson: float
    spearman: float


def strongest_pairs(profile: Profile, *, most: int = MOST_PAIRS) -> list[Pair]:
    """Return the pairs of columns with the largest correlations, upwards or downwards."""
    rows, columns = np.tril_indices(len(profile.numeric), -1)
    sizes = np.abs(np.nan_to_num(profile.pearson[rows, columns]))
    best = np.argsort(-sizes, kind="stable")[:most]
    return [
        Pair(profile.numeric[j], profile.numeric[i], float(profile.pearson[i, j]), float(profile.spearman[i, j]))
        for i, j, size in zip(rows[best].tolist(), columns[best].tolist(), sizes[best].tolist(), strict=True)
        if size >= 0.005
    ]


def shown_columns(profile: Profile, *, most: int = MOST_COLUMNS) -> list[int]:
    """Return the places of the columns that correlate most with another one, similar columns side by side.

    Columns without variance are left out; the target stays in.
    """
    sizes = np.abs(np.nan_to_num(profile.pearson))
    np.fill_diagonal(sizes, 0.0)
    strength = sizes.max(axis=0, initial=0.0)
    is_target = np.array([name == profile.target for name in profile.numeric], dtype=bool)
    strength[is_target & (strength > 0)] = np.inf
    chosen = [int(place) for place in np.argsort(-strength, kind="stable")[:most] if strength[place] > 0]
    return [chosen[place] for place in clustered(np.nan_to_num(profile.pearson[np.ix_(chosen, chosen)]))]


def clustered(values: Floats) -> list[int]:
    """Return an order in which neighbours are alike, from average linkage (Sokal and Michener, 1958).

    Of the ways to turn two branches that are joined, the one is kept in which the ends that meet are most alike.

    >>> clustered(np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.1], [0.9, 0.1, 1.0]]))
    [0, 2, 1]
    """
    branches = [[place] for place in range(len(values))]
    alike = (values + values.T) / 2
    between = alike.copy()
    while len(branches) > 1:
        np.fill_diagonal(between, -np.inf)
        first, second = sorted(np.unravel_index(int(between.argmax()), between.shape))
        left, right = branches[first], branches[second]
        weights = np.array([len(left), len(right)]) / (len(left) + len(right))
        joined = weights @ between[[first, second]]
        branches[first] = _joined(left, right, alike)
        between[first], between[:, first] = joined, joined
        between = np.delete(np.delete(between, second, axis=0), second, axis=1)
        del branches[second]
    order = branches[0] if branches else []
    # Both directions fit as well; the one that begins nearer the table's first column is kept.
    return order if order[:1] <= order[-1:] else order[::-1]


def _joined(left: list[int], right: list[int], alike: Floats) -> list[int]:
    turns = [(a, b) for a in (left, left[::-1]) for b in (right, right[::-1])]
    a, b = max(turns, key=lambda turn: alike[turn[0][-1], turn[1][0]])
    return [*a, *b]
