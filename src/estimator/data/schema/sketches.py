"""Distinct values and category counts of a column, in memory that does not grow with the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats, Mask

SKETCH_SIZE = 4096
MIN_SLOTS, MAX_SLOTS = 2**10, 2**17
HASH_SEED = 7
Hashes = npt.NDArray[np.uint64]
CategoryCodes = npt.NDArray[np.int32]

# The hash that polars gives to a missing number.
MISSING_HASH = np.uint64(pl.Series([float("nan")]).hash(seed=HASH_SEED)[0])


class HashIndex:
    """Known hashes, each with a code: a lookup of whole columns that may miss a known hash but is never wrong.

    A hash has one slot only; of two hashes that share a slot, the one added last is kept.
    """

    def __init__(self) -> None:
        self.hashes = np.zeros(MIN_SLOTS, np.uint64)
        self.codes = np.full(MIN_SLOTS, -1, np.int32)

    def _slots(self, hashes: Hashes) -> Hashes:
        return hashes & np.uint64(len(self.hashes) - 1)

    def contains(self, hashes: Hashes) -> Mask:
        """Mark the hashes that are in the index."""
        return np.equal(self.hashes[self._slots(hashes)], hashes)

    def find(self, hashes: Hashes) -> CategoryCodes:
        """Return the code of each hash, -1 where it is not in the index."""
        slots = self._slots(hashes)
        codes = self.codes[slots]
        codes[self.hashes[slots] != hashes] = -1
        return codes

    def rebuild(self, hashes: Hashes, codes: CategoryCodes) -> None:
        """Replace the content by these hashes; the number of slots grows with them, up to a bound."""
        size = len(self.hashes)
        while size < 16 * len(hashes) and size < MAX_SLOTS:
            size *= 2
        self.hashes, self.codes = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
        slots = self._slots(hashes)
        self.hashes[slots], self.codes[slots] = hashes, codes


@dataclass
class DistinctCount:
    """The k smallest hashes of a column's values (Bar-Yossef et al., 2002).

    The count is exact below k = 4096 and has a standard error of about 1.6% beyond.
    """

    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    index: HashIndex = field(default_factory=HashIndex)

    def add(self, hashes: Hashes) -> None:
        """Count values by their hashes; missing values do not count."""
        candidates = hashes if self.is_exact else hashes[hashes < self.hashes[-1]]
        candidates = self._smallest(candidates[~self.index.contains(candidates)])
        if len(candidates) == 0:
            return
        merged = np.sort(np.concatenate([self.hashes, candidates]))
        is_first = np.append(True, merged[1:] != merged[:-1]) & (merged != MISSING_HASH)
        smallest = merged[is_first][:SKETCH_SIZE]
        if not np.array_equal(smallest, self.hashes):
            self.hashes = smallest
            self.index.rebuild(np.append(smallest, MISSING_HASH), np.zeros(len(smallest) + 1, np.int32))

    def _smallest(self, hashes: Hashes) -> Hashes:
        """Return only the smallest hashes when they alone fill the sketch, which saves sorting the others."""
        if len(hashes) < 16 * SKETCH_SIZE:
            return hashes
        low = hashes[hashes < np.uint64(2.0**64 * 4 * SKETCH_SIZE / len(hashes))]
        return low if len(np.unique(low)) > SKETCH_SIZE else hashes

    @property
    def is_exact(self) -> bool:
        """Whether the hashes of all distinct values were kept."""
        return len(self.hashes) < SKETCH_SIZE

    @property
    def count(self) -> int:
        """The number of distinct values, or its estimate."""
        if self.is_exact:
            return len(self.hashes)
        return round((SKETCH_SIZE - 1) / (float(self.hashes[-1]) / 2.0**64))


@dataclass(frozen=True, slots=True)
class TargetValues:
    """The target's numbers in a batch, 0 where missing; `is_known` marks those that are not missing."""

    values: Floats
    is_known: Mask
    all_known: bool

    @classmethod
    def of(cls, values: Floats) -> TargetValues:
        """Return the target's numbers, given with NaN where missing."""
        is_known = ~np.isnan(values)
        all_known = bool(is_known.all())
        return cls(values if all_known else np.where(is_known, values, 0.0), is_known, all_known)


@dataclass
class CategoryCounts:
    """How often each category occurs, and the sum of the target there.

    Codes count up from 1 in the order of appearance; code 0 counts the missing values, however they are spelled.
    `totals` has shape (3, categories + 1): rows, sum of the target, rows whose target is known.
    """

    is_missing: Callable[[str | None], bool]
    codes: dict[str | None, int] = field(default_factory=dict)
    index: HashIndex = field(default_factory=HashIndex)
    code_by_hash: dict[int, int] = field(default_factory=dict)
    n_categories: int = 0
    totals: Floats = field(default_factory=lambda: np.zeros((3, 1)))

    def add(self, texts: pl.Series, hashes: Hashes, target: TargetValues | None) -> CategoryCodes:
        """Count a batch of texts, given with their hashes and the target's numbers; return their codes."""
        codes = self.index.find(hashes)
        missed = np.flatnonzero(codes < 0)
        if len(missed):
            codes[missed] = self._codes_of(texts.gather(missed), hashes[missed])
        self._count(codes, target)
        return codes

    def add_booleans(self, values: Floats, target: TargetValues | None) -> None:
        """Count booleans, given as 0, 1 and NaN, as the categories false and true."""
        codes = np.array([self.code("false"), self.code("true"), self.code(None)])
        self._count(codes[np.nan_to_num(values, nan=2.0).astype(np.intp)], target)

    def _count(self, codes: npt.NDArray[Any], target: TargetValues | None) -> None:
        size = self.n_categories + 1
        self.totals = np.pad(self.totals, ((0, 0), (0, size - self.totals.shape[1])))
        self.totals[0] += np.bincount(codes, minlength=size)
        if target is not None:
            self.totals[1] += np.bincount(codes, target.values, minlength=size)
            self.totals[2] += np.bincount(codes, None if target.all_known else target.is_known, minlength=size)

    def _codes_of(self, texts: pl.Series, hashes: Hashes) -> CategoryCodes:
        """Return the codes of texts and add their hashes to the index."""
        distinct = np.unique(hashes)
        positions = np.searchsorted(distinct, hashes)
        first_rows = np.empty(len(distinct), dtype=np.intp)
        first_rows[positions[::-1]] = np.arange(len(hashes))[::-1]
        names = texts.gather(first_rows).cast(pl.String).to_list()
        codes = np.array([self.code(name) for name in names], dtype=np.int32)
        n_before = len(self.code_by_hash)
        self.code_by_hash |= zip(distinct.tolist(), codes.tolist(), strict=True)
        if len(self.code_by_hash) > n_before:
            hashes = np.fromiter(self.code_by_hash.keys(), np.uint64, len(self.code_by_hash))
            self.index.rebuild(hashes, np.fromiter(self.code_by_hash.values(), np.int32, len(hashes)))
        return codes[positions]

    def code(self, text: str | None) -> int:
        """Return the code of a text, a new one where it is a new category."""
        code = self.codes.get(text)
        if code is None:
            code = 0
            if not self.is_missing(text):
                self.n_categories += 1
                code = self.n_categories
            self.codes[text] = code
        return code

    def counts(self) -> dict[str, int]:
        """Return category -> count, sorted by category."""
        counts = self.totals[0]
        categories = {text: code for text, code in self.codes.items() if code and text is not None}
        return {text: int(counts[code]) for text, code in sorted(categories.items())}

    def top(self, most: int) -> list[tuple[str, int, float | None]]:
        """Return (category, count, mean of the target) of the most frequent categories."""
        most_frequent = sorted(self.counts().items(), key=lambda item: (-item[1], item[0]))[:most]
        return [(text, count, self._target_mean(self.codes[text])) for text, count in most_frequent]

    def _target_mean(self, code: int) -> float | None:
        _, total, n_known = self.totals[:, code]
        return float(total / n_known) if n_known else None
