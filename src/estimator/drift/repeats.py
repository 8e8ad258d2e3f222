"""Repeated rows: retries, probes and returning customers send a row again, which is no further evidence of drift."""

from __future__ import annotations

import numpy as np

from estimator.core.arrays import Ints
from estimator.drift.reference import BinCodes, DriftReference

# A smaller fraction of the rows, beyond the repeats that training would have, is not reported.
MIN_FRACTION = 0.05


def repeated_rows(codes: BinCodes) -> Ints:
    """Return the indices of rows whose bins all equal those of an earlier row.

    >>> repeated_rows(np.array([[1, 2], [3, 4], [1, 2]], np.uint8)).tolist()
    [2]
    """
    if not codes.shape[1]:
        return np.empty(0, np.int64)
    _, first = np.unique(codes, axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(codes)), first)


def usual_size(reference: DriftReference, *, n_distinct: int, n_rows: int) -> int:
    """Return how many of some rows are worth comparing: the distinct ones, and as many repeats as so many rows have.

    Repeats are at most the expected number of equal pairs; in a table of few categories, that is every row.
    """
    n_sampled = len(reference.sample)
    if n_sampled < 2 or not reference.columns:
        return n_rows
    _, counts = np.unique(reference.sample, axis=0, return_counts=True)
    pair_fraction = float((counts * (counts - 1.0)).sum()) / (n_sampled * (n_sampled - 1.0))
    size, larger = 0, n_distinct
    # The smallest size that is its distinct rows and its repeats; rows as in training never stop before all of them.
    while size < larger < n_rows:
        size, larger = larger, n_distinct + round(pair_fraction * larger * (larger - 1.0) / 2.0)
    return min(larger, n_rows)


def without_repeats(codes: BinCodes, *, size: int, seed: int) -> Ints:
    """Return the indices of that many rows, in order: every distinct one, and repeats at random."""
    repeats = repeated_rows(codes)
    n_dropped = min(len(codes) - size, len(repeats))
    dropped = np.random.default_rng([seed, 74]).permutation(repeats)[:n_dropped]
    return np.setdiff1d(np.arange(len(codes)), dropped)
