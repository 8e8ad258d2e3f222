"""Measures of association: rank correlation, correlation ratio, Cramer's V, VIF, principal components and t-SNE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from estimator.core.arrays import MAX_DOUBLE, Floats

MAX_CATEGORIES = 200
MAX_SAMPLE_ROWS = 2000


def magnitudes(table: Floats) -> Floats:
    """Return a power of 2 per column that brings its values near 1, if their squares were no doubles; otherwise 1."""
    largest = np.abs(np.nan_to_num(table, posinf=MAX_DOUBLE, neginf=-MAX_DOUBLE)).max(axis=0, initial=0.0)
    is_ordinary = (largest == 0) | ((largest > 1e-100) & (largest < 1e100))
    exponents = np.where(is_ordinary, 0, np.frexp(largest)[1])
    # Powers of 2 beyond these are no doubles, or have no reciprocal.
    powers: Floats = np.ldexp(1.0, np.clip(exponents, -1000, 1000))
    return powers


def spearman(table: Floats) -> Floats:
    """Return the rank correlation of every pair of columns (Spearman, 1904); a missing value takes the mean rank."""
    if table.shape[1] == 0:
        return np.empty((0, 0))
    ranks = np.column_stack([_ranks(column) for column in table.T])
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = np.corrcoef(ranks, rowvar=False) if len(table) > 1 else np.full((table.shape[1],) * 2, np.nan)
    return np.atleast_2d(correlations)


def _ranks(column: Floats) -> Floats:
    ranks = pl.Series(column).fill_nan(None).rank("average").to_numpy().astype(np.float64)
    present = ~np.isnan(ranks)
    return np.where(present, ranks, ranks[present].mean() if present.any() else 0.0)


def variance_inflation(pearson: Floats, features: Sequence[int]) -> list[float]:
    """Return the variance inflation factor (VIF) of each feature: 1 if uncorrelated, infinite if a sum of others.

    VIFs are the diagonal of the inverse correlation matrix (Marquardt, 1970); columns without variance count as
    uncorrelated.
    """
    if not features:
        return []
    matrix = np.nan_to_num(pearson[np.ix_(features, features)])
    np.fill_diagonal(matrix, 1.0)
    values, vectors = np.linalg.eigh(matrix)
    # A direction without variance inflates all columns along it infinitely. Negative variances are artifacts of
    # correlations over different rows, where many values are missing.
    with np.errstate(divide="ignore"):
        inverse = np.where(np.abs(values) < 1e-6, np.inf, 1.0 / np.maximum(values, 0.01))
        inverse = np.where(values >= 1e-6, 1.0 / values, inverse)
    weights = np.square(vectors)
    with np.errstate(invalid="ignore"):
        terms = np.where(weights > 1e-8, weights * inverse, 0.0)
    return [float(max(total, 1.0)) for total in terms.sum(axis=1)]


def principal_components(pearson: Floats, table: Floats, features: Sequence[int]) -> tuple[list[float], Floats]:
    """Return each component's fraction of the variance, and the first rows' scores (n, 2) on the first two."""
    if len(features) < 2:
        return [], np.empty((0, 2))
    matrix = np.nan_to_num(pearson[np.ix_(features, features)])
    np.fill_diagonal(matrix, 1.0)
    values, vectors = np.linalg.eigh(matrix)
    variances = np.maximum(values[::-1], 0.0)
    return (variances / variances.sum()).tolist(), _scaled(table, features) @ vectors[:, ::-1][:, :2]


def tsne(table: Floats, features: Sequence[int], *, seed: int) -> Floats:
    """Return positions of shape (rows, 2) at which similar rows are close (van der Maaten and Hinton, 2008).

    Takes seconds: at most 2,000 rows are used.
    """
    from sklearn.manifold import TSNE

    scaled = _scaled(table, features)
    if len(features) < 2 or len(scaled) < 10:
        return np.empty((0, 2))
    positions: Floats = TSNE(perplexity=min(30.0, (len(scaled) - 1) / 3), random_state=seed).fit_transform(scaled)
    return positions.astype(np.float64)


def _scaled(table: Floats, features: Sequence[int]) -> Floats:
    """Return the first rows with mean 0 and standard deviation 1 in every column; missing values at the mean."""
    columns = table[:MAX_SAMPLE_ROWS, features]
    present = ~np.isnan(columns)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, columns, 0.0).sum(axis=0) / counts
    spread = np.sqrt(np.where(present, np.square(columns - mean), 0.0).sum(axis=0) / counts)
    return np.where(present, (columns - mean) / np.where(spread > 0, spread, 1.0), 0.0)


def power_correlations(values: Floats, target: Floats) -> tuple[float, float, float]:
    """Return the correlation with the target of a column, its square and its cube."""
    present = ~np.isnan(values) & ~np.isnan(target)
    if present.sum() < 3 or np.ptp(values[present]) == 0 or np.ptp(target[present]) == 0:
        return (float("nan"),) * 3
    centred = (values[present] - values[present].mean()) / (values[present].std() or 1.0)
    # The square of two values at the same distance from their mean is constant.
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second, third = (float(np.corrcoef(centred**power, target[present])[0, 1]) for power in (1, 2, 3))
    return first, second, third


def correlation_ratio(categories: pl.Series, numbers: Floats) -> float:
    """Return eta: the fraction of a number's deviation that a category explains, 0 to 1 (Fisher, 1925)."""
    frame = pl.DataFrame({"category": categories, "number": pl.Series(numbers).fill_nan(None)}).drop_nulls()
    if frame.height < 3:
        return float("nan")
    # In any other order, the last digits would differ from run to run.
    groups = frame.group_by("category", maintain_order=True).agg(
        pl.len().alias("n"), pl.col("number").mean().alias("mean")
    )
    overall, total = frame["number"].mean(), frame["number"].var(ddof=0)
    if not isinstance(overall, float) or not isinstance(total, float) or total <= 0:
        return float("nan")
    between = ((groups["mean"] - overall) ** 2 * groups["n"]).sum() / frame.height
    # As many groups as rows would explain everything at random.
    expected = (groups.height - 1) / max(frame.height - 1, 1)
    explained = float(between) / total
    return float(np.sqrt(max((explained - expected) / max(1.0 - expected, 1e-12), 0.0)))


def cramers_v(left: pl.Series, right: pl.Series) -> float:
    """Return Cramer's V of two categorical columns, 0 to 1, corrected for bias (Bergsma, 2013)."""
    frame = pl.DataFrame({"left": left, "right": right}).drop_nulls()
    if frame.height < 3 or max(frame["left"].n_unique(), frame["right"].n_unique()) > MAX_CATEGORIES:
        return float("nan")
    counts = (
        frame.group_by("left", "right", maintain_order=True)
        .len()
        .pivot(on="right", index="left", values="len")
        .fill_null(0)
    )
    observed = counts.drop("left").to_numpy().astype(np.float64)
    n, (rows, columns) = observed.sum(), observed.shape
    expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0, keepdims=True) / n
    phi = float((np.square(observed - expected) / expected).sum()) / n
    corrected = max(0.0, phi - (columns - 1) * (rows - 1) / (n - 1))
    smaller = min(columns - (columns - 1) ** 2 / (n - 1), rows - (rows - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(corrected / smaller)) if smaller > 0 else float("nan")
