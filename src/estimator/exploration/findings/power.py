"""How well one column alone predicts another, out of fold, with its standard error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from estimator.core.arrays import Floats, Indices, Mask

MAX_ROWS = 3000
MAX_CLASSES = 20
N_FOLDS = 3
MIN_LEAF_ROWS = 5
MAX_LEAVES = 128
# A split must explain this many times the variance that a split at random would.
MIN_GAIN = 12.0
PRIOR_ROWS = 1.0
SIMILAR = 0.9


@dataclass(frozen=True, slots=True)
class Power:
    """The fraction of the target's variance that predictions of held-out rows explain, and its standard error.

    For classes, the variance is that of their indicators (the Brier score); for numbers, that of their ranks.
    """

    explained: float = 0.0
    error: float = 0.0

    @property
    def low(self) -> float:
        """The lower end of the 95% interval."""
        return self.explained - 2.0 * self.error


def ranked(values: Floats) -> Floats:
    """Return the ranks of known values from 0 to 1, of shape (rows, 1): no outlier decides, and no scale."""
    ranks = pl.Series(values).rank("average").to_numpy()
    return np.asarray(ranks, np.float64)[:, None] / max(len(values), 1)


def outcomes(values: Floats) -> list[Floats]:
    """Return the ranks of known values, and the values themselves if those are something else, as amounts often are."""
    ranks = ranked(values)
    scaled = (values - values.mean()) / (values.std() or 1.0)
    is_alike = values.std() == 0 or np.corrcoef(ranks[:, 0], scaled)[0, 1] > SIMILAR
    return [ranks] if is_alike else [ranks, scaled[:, None]]


def indicators(codes: Indices) -> Floats:
    """Return an indicator of each of the most frequent classes, of shape (rows, classes)."""
    counts = np.bincount(codes)
    shown = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    return np.asarray(codes[:, None] == shown[None, :], np.float64)


def power_of_numbers(values: Floats, target: Floats) -> Power:
    """Return the power of a number by a regression tree of it alone; a missing value is a leaf of its own.

    In a small table the leaves are wide, so a line through the ranks is tried as well.
    """
    folds = _folds(len(values))
    order = np.argsort(values, kind="stable")
    values, target, folds = values[order], target[order], folds[order]
    by_tree, by_line = np.empty_like(target), np.empty_like(target)
    ranks = pl.Series(values).fill_nan(None).rank("average").to_numpy()
    is_known = ~np.isnan(ranks)
    for fold in range(N_FOLDS):
        rest, held_out = folds != fold, folds == fold
        by_tree[held_out] = _tree_predictions(values[rest], target[rest], values[held_out])
        by_line[held_out] = by_tree[held_out]
        by_line[held_out & is_known] = _line(ranks, target, rest & is_known, held_out & is_known)
    return stronger(_power(target, by_tree), _power(target, by_line))


def stronger(left: Power, right: Power) -> Power:
    """Return the power whose interval ends higher below."""
    return left if left.low >= right.low else right


def _line(ranks: Floats, target: Floats, rest: Mask, held_out: Mask) -> Floats:
    """Return the predictions of a least-squares line through the other rows."""
    x, y = ranks[rest], target[rest]
    if len(x) < 2 or x.min() == x.max():
        return np.broadcast_to(target.mean(axis=0), (int(held_out.sum()), target.shape[1]))
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred)
    predictions: Floats = y.mean(axis=0) + (ranks[held_out] - x.mean())[:, None] * slope
    return predictions


def power_of_categories(codes: Indices, target: Floats) -> Power:
    """Return the power of a category by the mean of the target in its other rows, shrunk to the mean of all."""
    folds = _folds(len(codes))
    n_codes = int(codes.max(initial=0)) + 1
    cells = folds * n_codes + codes
    counts = np.bincount(cells, minlength=N_FOLDS * n_codes).reshape(N_FOLDS, n_codes)
    predicted = np.empty_like(target)
    for column in range(target.shape[1]):
        sums = np.bincount(cells, target[:, column], minlength=N_FOLDS * n_codes).reshape(N_FOLDS, n_codes)
        other_rows, other_sums = counts.sum(axis=0) - counts, sums.sum(axis=0) - sums
        prior = other_sums.sum(axis=1, keepdims=True) / np.maximum(other_rows.sum(axis=1, keepdims=True), 1)
        means = (other_sums + PRIOR_ROWS * prior) / (other_rows + PRIOR_ROWS)
        predicted[:, column] = means.ravel()[cells]
    return _power(target, predicted)


def power_of_groups(codes: Indices, target: Floats) -> Power:
    """Return how well the mean of the other rows of a group predicts a row; rows alone in their group do not count."""
    counts = np.bincount(codes)[codes]
    several = counts > 1
    predicted = np.empty_like(target)
    for column in range(target.shape[1]):
        sums = np.bincount(codes, target[:, column])[codes]
        predicted[:, column] = (sums - target[:, column]) / np.maximum(counts - 1, 1)
    return _power(target[several], predicted[several])


def _folds(n_rows: int) -> Indices:
    """Return the fold of each row: at random, and the same for every column."""
    return np.random.default_rng(0).permutation(n_rows) % N_FOLDS


def _power(target: Floats, predicted: Floats) -> Power:
    errors = np.square(target - predicted).sum(axis=1)
    deviations = np.square(target - target.mean(axis=0)).sum(axis=1)
    total = float(deviations.sum())
    if total <= 0.0:
        return Power()
    ratio = float(errors.sum()) / total
    # The standard error of a ratio of two means (the delta method).
    error = float(np.sqrt(np.square(errors - ratio * deviations).sum())) / total
    return Power(max(1.0 - ratio, 0.0), error)


def _tree_predictions(values: Floats, target: Floats, new_values: Floats) -> Floats:
    """Return the predictions for new values, sorted like the values of the tree, missing ones last."""
    n_known = int(np.searchsorted(values, np.inf, side="right"))
    n_new = int(np.searchsorted(new_values, np.inf, side="right"))
    mean = target.mean(axis=0)
    predicted = np.empty((len(new_values), target.shape[1]))
    missing = target[n_known:]
    predicted[n_new:] = missing.mean(axis=0) if len(missing) >= MIN_LEAF_ROWS else mean
    if n_known < 2 * MIN_LEAF_ROWS:
        predicted[:n_new] = mean
        return predicted
    starts, means = _leaves(values[:n_known], target[:n_known])
    thresholds = (values[starts[1:] - 1] + values[starts[1:]]) / 2
    predicted[:n_new] = means[np.searchsorted(thresholds, new_values[:n_new], side="right")]
    return predicted


def _leaves(values: Floats, target: Floats) -> tuple[Indices, Floats]:
    """Return the first row of each leaf of a tree on sorted values, and the leaf's mean."""
    sums = np.concatenate([np.zeros((1, target.shape[1])), np.cumsum(target, axis=0)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(target).sum(axis=1))])
    differs: Mask = np.concatenate([[False], values[1:] > values[:-1]])
    starts, pending = [0], [(0, len(values))]
    while pending and len(starts) < MAX_LEAVES:
        low, high = pending.pop(0)
        middle = _best_split(sums, squares, differs, low, high)
        if middle is not None:
            starts.append(middle)
            pending += [(low, middle), (middle, high)]
    firsts = np.array(sorted(starts))
    ends = np.append(firsts[1:], len(values))
    return firsts, (sums[ends] - sums[firsts]) / (ends - firsts)[:, None]


def _best_split(sums: Floats, squares: Floats, differs: Mask, low: int, high: int) -> int | None:
    """Return the row at which a leaf is best split, None if no split explains more than one at random would."""
    rows = np.arange(low + MIN_LEAF_ROWS, high - MIN_LEAF_ROWS + 1)
    rows = rows[differs[rows]] if len(rows) else rows
    if len(rows) == 0:
        return None
    left, whole = sums[rows] - sums[low], sums[high] - sums[low]
    n_left, n = rows - low, high - low
    between = np.square(left).sum(axis=1) / n_left + np.square(whole - left).sum(axis=1) / (n - n_left)
    best = int(between.argmax())
    unsplit = float(np.square(whole).sum()) / n
    gain, within = float(between[best]) - unsplit, float(squares[high] - squares[low]) - unsplit
    return int(rows[best]) if within > 1e-12 * n and gain > MIN_GAIN * within / n else None
