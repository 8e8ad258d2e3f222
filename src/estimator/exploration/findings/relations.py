"""Exact and nearly exact relations of columns to a target: order, classes, means of the target, sums and products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from estimator.core.arrays import Floats, Indices, Mask

# Rows that may break an exact relation: a typing error or two.
EXCEPTIONS = 0.002
MIN_ROWS = 20
MAX_TERMS_SEARCHED = 40
MAX_LEVELS, DISORDER = 200, 5e-4
NEAR, EXACT = 0.01, 1e-6


@dataclass(frozen=True, slots=True)
class Formula:
    """A sum or product of columns with weights or exponents of +1 and -1 that is nearly the target.

    `residual` is the fraction of the target's variance that it leaves; of logarithms for a product.
    """

    columns: tuple[str, ...]
    signs: tuple[int, ...]
    is_product: bool
    residual: float

    @property
    def is_exact(self) -> bool:
        """Whether nothing but rounding is left."""
        return self.residual <= EXACT

    def __str__(self) -> str:
        """Return it as a formula.

        >>> str(Formula(("price", "discount"), (1, -1), False, 0.0))
        'price - discount'
        """
        plus, minus = (" * ", " / ") if self.is_product else (" + ", " - ")
        terms = sorted(zip(self.signs, self.columns, strict=True), key=lambda term: -term[0])
        first_sign, first = terms[0]
        start = first if first_sign > 0 else f"{'1 / ' if self.is_product else '-'}{first}"
        return start + "".join(f"{plus if sign > 0 else minus}{name}" for sign, name in terms[1:])


def same_order(values: Floats, target: Floats) -> bool:
    """Whether hardly any two rows that differ in both are in another order there; rising or falling.

    It is so for copies, rescaled, rounded and grouped values, ranks, and numbers that were given in the target's order.
    """
    if not (_varies(values) and _varies(target)):
        return False
    counts = _crossed(_levels(values), _levels(target))
    # Rows below and to the left, and rows below and to the right, of each cell.
    below = np.zeros_like(counts)
    below[1:] = counts.cumsum(axis=0)[:-1]
    left, right = np.zeros_like(counts), np.zeros_like(counts)
    left[:, 1:] = below.cumsum(axis=1)[:, :-1]
    right[:, :-1] = below[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    rising, falling = float((counts * left).sum()), float((counts * right).sum())
    compared = rising + falling
    return compared >= 0.01 * len(values) ** 2 / 2 and min(rising, falling) <= DISORDER * compared


def _levels(values: Floats) -> Indices:
    """Return the rank of each value among the distinct ones, or among 200 bins."""
    distinct, codes = np.unique(values, return_inverse=True)
    if len(distinct) <= MAX_LEVELS:
        return codes
    edges = distinct[np.linspace(0, len(distinct) - 1, MAX_LEVELS + 1).astype(np.intp)[1:-1]]
    return np.searchsorted(edges, values, side="right")


def _crossed(left: Indices, right: Indices) -> Floats:
    width = int(right.max()) + 1
    counts = np.bincount(left * width + right, minlength=(int(left.max()) + 1) * width)
    return counts.reshape(-1, width).astype(np.float64)


def _varies(values: Floats) -> bool:
    """Whether enough rows differ from the most frequent value for an order to mean something."""
    counts = np.unique(values, return_counts=True)[1]
    return len(values) - int(counts.max()) >= max(MIN_ROWS, 0.005 * len(values))


def determines(source: Indices, result: Indices) -> bool:
    """Whether rows of the same source code have the same result, except for a few rows; sources must repeat."""
    if len(source) == 0:
        return False
    cells, counts = np.unique(np.stack([source, result], axis=1), axis=0, return_counts=True)
    largest = np.zeros(int(source.max()) + 1, np.int64)
    np.maximum.at(largest, cells[:, 0], counts)
    n_sources, mode = np.count_nonzero(largest), int(np.bincount(result).max())
    few_sources = n_sources * 10 <= len(source)
    varies = len(result) - mode >= max(MIN_ROWS, 0.005 * len(result))
    # Of a rare class, a few rows may already be most.
    return bool(few_sources and varies and len(source) - largest.sum() <= EXCEPTIONS * (len(result) - mode))


def ranges_of(codes: Indices, target: Floats) -> bool:
    """Whether each category is one range of a numeric target."""
    n_codes = len(np.unique(codes))
    if n_codes * 10 > len(codes) or n_codes < 2 or not _varies(codes.astype(np.float64)) or not _varies(target):
        return False
    ordered = codes[np.lexsort((codes, target))]
    n_runs = 1 + int(np.count_nonzero(np.diff(ordered)))
    levels = np.unique(target, return_inverse=True)[1]
    # Among rows of one target the categories are sorted, so that runs say nothing of a target of few values.
    has_few_levels = (int(levels.max()) + 1) * 10 <= len(levels)
    return n_runs <= n_codes + EXCEPTIONS * len(codes) and (not has_few_levels or determines(levels, codes))


def is_mean_of_target(values: Floats, target: Floats) -> bool:
    """Whether rows of one value have that value as the mean of their targets, more exactly than chance allows.

    The mean of the target in a group is within a tenth of its standard error of any given line in 8% of groups.
    """
    distinct, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.bincount(codes, target) / counts
    within = np.bincount(codes, np.square(target - means[codes])) / np.maximum(counts - 1, 1)
    usable = (counts >= 3) & (within > 1e-9 * float(target.var()))
    if usable.sum() < 8 or counts[usable].sum() < 0.5 * len(values):
        return False
    x, y, weight = distinct[usable], means[usable], counts[usable]
    centred = x - np.average(x, weights=weight)
    slope = float((weight * centred * y).sum() / (weight * np.square(centred)).sum())
    residuals = y - np.average(y, weights=weight) - slope * centred
    fraction = float((np.abs(residuals) < 0.1 * np.sqrt(within[usable] / weight)).mean())
    expected = 0.08
    if not 0.5 < slope < 2.0 or fraction <= expected:
        return False
    # Chernoff's bound on so many groups being so close at random.
    rest = (1 - fraction) * np.log((1 - fraction) / (1 - expected)) if fraction < 1 else 0.0
    return bool(len(x) * (fraction * np.log(fraction / expected) + rest) > 18.0)


def find_formula(table: Floats, target: Floats, names: Sequence[str]) -> Formula | None:
    """Return the sum, difference, product or ratio of two or three columns that is nearly the target, or None."""
    sums = _signed_formula(table, target, names, is_product=False)
    if sums is not None and sums.is_exact:
        return sums
    positive: Mask = np.all(table > 0, axis=0)
    products = None
    if positive.sum() >= 2 and (target > 0).all():
        kept = [name for name, is_positive in zip(names, positive, strict=True) if is_positive]
        products = _signed_formula(np.log(table[:, positive]), np.log(target), kept, is_product=True)
    return min((item for item in (sums, products) if item), key=lambda item: item.residual, default=None)


def _signed_formula(table: Floats, target: Floats, names: Sequence[str], *, is_product: bool) -> Formula | None:
    """Try all pairs and triples of columns with signs by their covariances; the best must be much better than fewer."""
    columns = np.column_stack([table, target])
    columns = columns - columns.mean(axis=0)
    total = float(np.square(columns[:, -1]).mean())
    if total <= 0 or not np.isfinite(columns).all():
        return None
    covariance = columns.T @ columns / len(columns) / total
    with_target = np.abs(covariance[:-1, -1]) / np.sqrt(np.maximum(np.diag(covariance)[:-1], 1e-300))
    searched = np.argsort(-with_target, kind="stable")[:MAX_TERMS_SEARCHED]
    # A term that is negligible next to the target is no term.
    searched = searched[np.diag(covariance)[searched] > 1e-4]
    best, fewer = None, 1.0
    for n_terms in (1, 2, 3):
        found = _best_terms(covariance, searched, n_terms)
        if found is None:
            break
        residual, terms, signs = found
        if n_terms > 1 and residual <= NEAR and residual <= fewer / 4:
            # Differences of squares leave about 1e-15 of the variance; sums of columns are compared directly.
            combined = columns[:, terms] @ np.array(signs, np.float64)
            residual = float(np.square(columns[:, -1] - combined).mean()) / total
            ordered = sorted(zip(terms, signs, strict=True))
            columns_in_order = tuple(names[term] for term, _ in ordered)
            best = Formula(columns_in_order, tuple(sign for _, sign in ordered), is_product, residual)
        if residual <= EXACT:
            break
        fewer = min(fewer, residual)
    return best


def _best_terms(covariance: Floats, searched: Indices, n_terms: int) -> tuple[float, list[int], tuple[int, ...]] | None:
    """Return the smallest variance of target - sum(sign * term), the terms and their signs."""
    indices = np.array(np.meshgrid(*[np.arange(len(searched))] * n_terms, indexing="ij")).reshape(n_terms, -1)
    rising: Mask = np.all(np.diff(indices, axis=0) > 0, axis=0)
    terms = searched[indices[:, rising]]
    if terms.shape[1] == 0:
        return None
    best: tuple[float, list[int], tuple[int, ...]] | None = None
    for signs in product((1, -1), repeat=n_terms):
        variance = np.ones(terms.shape[1])
        for i in range(n_terms):
            variance += covariance[terms[i], terms[i]] - 2 * signs[i] * covariance[terms[i], -1]
            for j in range(i):
                variance += 2 * signs[i] * signs[j] * covariance[terms[i], terms[j]]
        position = int(variance.argmin())
        if best is None or variance[position] < best[0]:
            best = float(variance[position]), terms[:, position].tolist(), signs
    return best


def exact_terms(table: Floats, target: Floats, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns whose weighted sum is exactly the target, by least squares; empty if there is none."""
    if len(names) < 2 or len(target) < 10 * (len(names) + 1) or target.std() == 0:
        return ()
    features, residuals = table - table.mean(axis=0), target - target.mean()
    spread = features.std(axis=0)
    scaled = features / np.where(spread > 0, spread, 1.0)
    weights = np.linalg.lstsq(scaled, residuals, rcond=None)[0]
    if (residuals - scaled @ weights).std() > 1e-6 * target.std():
        return ()
    return tuple(name for name, weight in zip(names, weights, strict=True) if abs(weight) > 1e-3 * target.std())
