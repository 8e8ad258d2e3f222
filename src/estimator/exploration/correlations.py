"""Correlations -> the columns worth showing, similar ones side by side, and the strongest pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from estimator.exploration.profile import Profile
from estimator.task import Floats

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
    """Return an order in which neighbours are alike: average linkage, its branches turned to fit each other.

    The turning is that of Bar-Joseph, Gifford and Jaakkola (2001).

    >>> clustered(np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.1], [0.9, 0.1, 1.0]]))
    [0, 2, 1]
    """
    if len(values) < 3:
        return list(range(len(values)))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distances = np.clip(1.0 - (values + values.T) / 2, 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), method="average", optimal_ordering=True)
    order = [int(place) for place in leaves_list(tree)]
    # Both directions fit as well; the one that begins nearer the table's first column is kept.
    return order if order[0] < order[-1] else order[::-1]
