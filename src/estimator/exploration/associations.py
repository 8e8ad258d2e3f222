"""How columns hang together: ranks, levels, powers, inflation of variance and principal axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from estimator.core.arrays import Floats

MOST_LEVELS = 200
SHOWN_ROWS = 2000


def spearman(table: Floats) -> Floats:
    """Return the rank correlation of every pair of columns (Spearman, 1904); a gap takes the middle rank."""
    if table.shape[1] == 0:
        return np.empty((0, 0))
    ranks = np.column_stack([_ranks(column) for column in table.T])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.corrcoef(ranks, rowvar=False) if len(table) > 1 else np.full((table.shape[1],) * 2, np.nan)
    return np.atleast_2d(found)


def _ranks(column: Floats) -> Floats:
    ranks = pl.Series(column).fill_nan(None).rank("average").to_numpy().astype(np.float64)
    known = ~np.isnan(ranks)
    return np.where(known, ranks, ranks[known].mean() if known.any() else 0.0)


def inflation(pearson: Floats, features: Sequence[int]) -> list[float]:
    """Return the variance inflation factor of each feature: 1 for none, infinite for a column others make up.

    They are the diagonal of the inverse correlation matrix (Marquardt, 1970); columns without variance count as
    uncorrelated.
    """
    if not features:
        return []
    matrix = np.nan_to_num(pearson[np.ix_(features, features)])
    np.fill_diagonal(matrix, 1.0)
    values, vectors = np.linalg.eigh(matrix)
    # Directions without variance make whatever lies along them infinitely inflated. Negative variance is none: it comes
    # of correlations over different rows, where columns have many gaps.
    with np.errstate(divide="ignore"):
        inverse = np.where(np.abs(values) < 1e-6, np.inf, 1.0 / np.maximum(values, 0.01))
        inverse = np.where(values >= 1e-6, 1.0 / values, inverse)
    shares = np.square(vectors)
    with np.errstate(invalid="ignore"):
        parts = np.where(shares > 1e-8, shares * inverse, 0.0)
    return [float(max(total, 1.0)) for total in parts.sum(axis=1)]


def principal_axes(pearson: Floats, table: Floats, features: Sequence[int]) -> tuple[list[float], Floats]:
    """Return each principal axis's share of the variance, and some rows' places on the first two axes."""
    if len(features) < 2:
        return [], np.empty((0, 2))
    matrix = np.nan_to_num(pearson[np.ix_(features, features)])
    np.fill_diagonal(matrix, 1.0)
    values, vectors = np.linalg.eigh(matrix)
    shares = np.maximum(values[::-1], 0.0)
    return (shares / shares.sum()).tolist(), _scaled(table, features) @ vectors[:, ::-1][:, :2]


def neighbours(table: Floats, features: Sequence[int], *, seed: int) -> Floats:
    """Return places of shape (rows, 2) at which rows that are alike lie together (van der Maaten and Hinton, 2008).

    At most 2,000 rows are placed, which takes seconds.
    """
    from sklearn.manifold import TSNE

    scaled = _scaled(table, features)
    if len(features) < 2 or len(scaled) < 10:
        return np.empty((0, 2))
    found: Floats = TSNE(perplexity=min(30.0, (len(scaled) - 1) / 3), random_state=seed).fit_transform(scaled)
    return found.astype(np.float64)


def _scaled(table: Floats, features: Sequence[int]) -> Floats:
    """Return the first rows with mean 0 and deviation 1 in every column, gaps at the mean."""
    columns = table[:SHOWN_ROWS, features]
    known = ~np.isnan(columns)
    counted = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, columns, 0.0).sum(axis=0) / counted
    spread = np.sqrt(np.where(known, np.square(columns - mean), 0.0).sum(axis=0) / counted)
    return np.where(known, (columns - mean) / np.where(spread > 0, spread, 1.0), 0.0)


def power_correlations(values: Floats, target: Floats) -> tuple[float, float, float]:
    """Return the correlation with the target of a column, its square and its cube."""
    known = ~np.isnan(values) & ~np.isnan(target)
    if known.sum() < 3 or np.ptp(values[known]) == 0 or np.ptp(target[known]) == 0:
        return (float("nan"),) * 3
    centred = (values[known] - values[known].mean()) / (values[known].std() or 1.0)
    first, second, third = (float(np.corrcoef(centred**power, target[known])[0, 1]) for power in (1, 2, 3))
    return first, second, third


def correlation_ratio(levels: pl.Series, numbers: Floats) -> float:
    """Return eta: the share of a number's deviation that its level explains, 0 to 1 (Fisher, 1925)."""
    frame = pl.DataFrame({"level": levels, "number": pl.Series(numbers).fill_nan(None)}).drop_nulls()
    if frame.height < 3:
        return float("nan")
    groups = frame.group_by("level").agg(pl.len().alias("n"), pl.col("number").mean().alias("mean"))
    overall, total = frame["number"].mean(), frame["number"].var(ddof=0)
    if not isinstance(overall, float) or not isinstance(total, float) or total <= 0:
        return float("nan")
    between = ((groups["mean"] - overall) ** 2 * groups["n"]).sum() / frame.height
    # As many groups as rows explain everything by chance alone.
    chance = (groups.height - 1) / max(frame.height - 1, 1)
    share = float(between) / total
    return float(np.sqrt(max((share - chance) / max(1.0 - chance, 1e-12), 0.0)))


def cramers_v(left: pl.Series, right: pl.Series) -> float:
    """Return Cramer's V of two columns of levels, 0 to 1, corrected for chance (Bergsma, 2013)."""
    frame = pl.DataFrame({"left": left, "right": right}).drop_nulls()
    if frame.height < 3 or max(frame["left"].n_unique(), frame["right"].n_unique()) > MOST_LEVELS:
        return float("nan")
    counts = frame.group_by("left", "right").len().pivot(on="right", index="left", values="len").fill_null(0)
    observed = counts.drop("left").to_numpy().astype(np.float64)
    n, (rows, columns) = observed.sum(), observed.shape
    expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0, keepdims=True) / n
    phi = float((np.square(observed - expected) / expected).sum()) / n
    corrected = max(0.0, phi - (columns - 1) * (rows - 1) / (n - 1))
    smaller = min(columns - (columns - 1) ** 2 / (n - 1), rows - (rows - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(corrected / smaller)) if smaller > 0 else float("nan")
