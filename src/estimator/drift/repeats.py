"""Repeated rows: retries, probes and returning customers send a row again, which is no further evidence of drift."""

from __future__ import annotations

import base64
from collections import Counter, deque
from hashlib import blake2b

import numpy as np

from estimator.core.arrays import Ints, Mask
from estimator.drift.reference import BinCodes, DriftReference

# A stream remembers so many rows; where training would repeat more often than this among them, no repeat is recognized.
REMEMBERED_ROWS, MAX_USUAL_REPEATS = 1000, 0.05
HASH_BYTES = 8
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
    if len(reference.sample) < 2 or not reference.columns:
        return n_rows
    pair_fraction = equal_pairs(reference)
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


def equal_pairs(reference: DriftReference) -> float:
    """Return the fraction of pairs of training rows that are equal in all bins; 1 where it is not known."""
    n_sampled = len(reference.sample)
    if n_sampled < 2 or not reference.columns:
        return 1.0
    _, counts = np.unique(reference.sample, axis=0, return_counts=True)
    return float((counts * (counts - 1.0)).sum()) / (n_sampled * (n_sampled - 1.0))


class RecentRows:
    """The last rows of a stream, by a hash of their bins, so that a row that is sent again is recognized. Mutable."""

    def __init__(self, reference: DriftReference) -> None:
        self.recognizes = equal_pairs(reference) * REMEMBERED_ROWS <= MAX_USUAL_REPEATS
        self._hashes: deque[bytes] = deque()
        self._counts: Counter[bytes] = Counter()

    def repeats(self, codes: BinCodes) -> Mask:
        """Add rows of shape (rows, columns); return which of them equal one of the 1,000 rows before."""
        if not self.recognizes:
            return np.zeros(len(codes), dtype=np.bool_)
        return np.array([self._add(blake2b(row.tobytes(), digest_size=HASH_BYTES).digest()) for row in codes], np.bool_)

    def _add(self, hashed: bytes) -> bool:
        is_repeat = hashed in self._counts
        self._hashes.append(hashed)
        self._counts[hashed] += 1
        if len(self._hashes) > REMEMBERED_ROWS:
            oldest = self._hashes.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        return is_repeat

    def to_data(self) -> str:
        """Return the hashes as base64."""
        return base64.b64encode(b"".join(self._hashes)).decode()

    def restore(self, data: str) -> None:
        """Continue with the rows that `to_data` returned."""
        packed = base64.b64decode(data)
        self._hashes = deque(packed[start : start + HASH_BYTES] for start in range(0, len(packed), HASH_BYTES))
        self._counts = Counter(self._hashes)
