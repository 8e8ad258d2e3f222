"""Correlations -> the columns of a heat map, similar ones adjacent, and the strongest pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from estimator.core.arrays import Floats
from estimator.exploration.profile import Profile

MAX_COLUMNS = 60
MAX_PAIRS = 15


@dataclass(frozen=True, slots=True)
class Pair:
    """Two columns and their correlations; NaN where ranks are undefined."""

    left: str
    right: str
    pearson: float
    spearman: float


def strongest_pairs(profile: Profile, *, most: int = MAX_PAIRS) -> list[Pair]:
    """Return the pairs of columns with the largest absolute correlations."""
    rows, columns = np.tril_indices(len(profile.numeric), -1)
    sizes = np.abs(np.nan_to_num(profile.pearson[rows, columns]))
    best = np.argsort(-sizes, kind="stable")[:most]
    return [
        Pair(profile.numeric[j], profile.numeric[i], float(profile.pearson[i, j]), float(profile.spearman[i, j]))
        for i, j, size in zip(rows[best].tolist(), columns[best].tolist(), sizes[best].tolist(), strict=True)
        if size >= 0.005
    ]


def shown_columns(profile: Profile, *, most: int = MAX_COLUMNS) -> list[int]:
    """Return the indices of the columns most correlated with another one, similar columns adjacent.

    Columns without variance are left out; the target is kept.
    """
    sizes = np.abs(np.nan_to_num(profile.pearson))
    np.fill_diagonal(sizes, 0.0)
    strength = sizes.max(axis=0, initial=0.0)
    is_target = np.array([name == profile.target for name in profile.numeric], dtype=bool)
    strength[is_target & (strength > 0)] = np.inf
    strongest = [int(index) for index in np.argsort(-strength, kind="stable")[:most] if strength[index] > 0]
    return [strongest[index] for index in cluster_order(np.nan_to_num(profile.pearson[np.ix_(strongest, strongest)]))]


def cluster_order(values: Floats) -> list[int]:
    """Return an order in which similar columns are adjacent, by average linkage (Sokal and Michener, 1958).

    Two branches are joined in the orientation in which the ends that meet are most similar.

    >>> cluster_order(np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.1], [0.9, 0.1, 1.0]]))
    [0, 2, 1]
    """
    branches = [[index] for index in range(len(values))]
    similarity = (values + values.T) / 2
    between = similarity.copy()
    while len(branches) > 1:
        np.fill_diagonal(between, -np.inf)
        first, second = sorted(np.unravel_index(int(between.argmax()), between.shape))
        left, right = branches[first], branches[second]
        weights = np.array([len(left), len(right)]) / (len(left) + len(right))
        joined = weights @ between[[first, second]]
        branches[first] = _best_join(left, right, similarity)
        between[first], between[:, first] = joined, joined
        between = np.delete(np.delete(between, second, axis=0), second, axis=1)
        del branches[second]
    order = branches[0] if branches else []
    # Both directions fit equally; start nearer to the table's first column.
    return order if order[:1] <= order[-1:] else order[::-1]


def _best_join(left: list[int], right: list[int], similarity: Floats) -> list[int]:
    turns = [(a, b) for a in (left, left[::-1]) for b in (right, right[::-1])]
    a, b = max(turns, key=lambda turn: similarity[turn[0][-1], turn[1][0]])
    return [*a, *b]
