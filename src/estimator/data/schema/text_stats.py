"""Statistics of a column of texts: its categories and, once there are too many to count, the lengths of its texts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Indices, Ints
from estimator.data.schema.sketches import HASH_SEED, CategoryCounts, DistinctCount, Hashes, TargetValues
from estimator.data.schema.text_parsing import strip_blanks


@dataclass(frozen=True, slots=True)
class TextLengths:
    """The number of texts, their characters in total, and the shortest and longest text in characters.

    `mean_blanks`, blanks per text, is high for sentences and low for names; it is of the texts counted before there
    were too many categories.
    """

    n_texts: int = 0
    n_characters: int = 0
    shortest: int = 0
    longest: int = 0
    mean_blanks: float = 0.0

    def plus(self, lengths: npt.NDArray[np.integer], counts: npt.NDArray[np.integer]) -> TextLengths:
        """Return these with more texts added, given their lengths and how often each occurs."""
        if len(lengths) == 0:
            return self
        return TextLengths(
            self.n_texts + int(counts.sum()),
            self.n_characters + int((lengths * counts).sum()),
            min(self.shortest, int(lengths.min())) if self.n_texts else int(lengths.min()),
            max(self.longest, int(lengths.max())),
            self.mean_blanks,
        )

    @property
    def mean(self) -> float:
        """Characters per text."""
        return self.n_characters / max(self.n_texts, 1)


@dataclass
class TextStats:
    """Counts texts batch by batch: by category, or by length only once there are more than `max_categories`.

    `na_values` are the accepted spellings of a missing value.
    """

    na_values: tuple[str, ...]
    max_categories: int
    categories: CategoryCounts = field(init=False)
    overflowed: bool = False
    uncounted: TextLengths = field(default_factory=TextLengths)
    distinct: DistinctCount = field(default_factory=DistinctCount)

    def __post_init__(self) -> None:
        self.categories = CategoryCounts(self._is_missing)

    def _is_missing(self, text: str | None) -> bool:
        if text is None:
            return True
        bare = text.strip()
        return bare == "" or bare in self.na_values

    def add(self, texts: pl.Series, hashes: Hashes, target: TargetValues | None) -> Indices:
        """Count a batch of texts, given with their hashes and the target's numbers; return where they are missing."""
        if self.overflowed:
            return self._add_uncounted(texts.cast(pl.String), hashes)
        codes = self.categories.add(texts, hashes, target)
        if self.categories.n_categories > self.max_categories:
            self.uncounted, self.overflowed = self.lengths, True
            categories = pl.Series(list(self.categories.counts()), dtype=texts.dtype)
            self.distinct.add(categories.hash(seed=HASH_SEED).to_numpy())
        return np.flatnonzero(codes == 0)

    def _add_uncounted(self, texts: pl.Series, hashes: Hashes) -> Indices:
        lengths: Ints = texts.str.len_chars().fill_null(0).to_numpy().astype(np.int64)
        # Only short texts can spell a missing value, so only they are stripped.
        short = np.flatnonzero(lengths <= self._longest_na_value)
        bare = strip_blanks(texts.gather(short))
        is_missing = bare.is_in(["", *self.na_values]).fill_null(True)
        present = np.ones(len(texts), dtype=np.bool_)
        present[short] = ~is_missing.to_numpy()
        self.distinct.add(hashes[present])
        self.uncounted = self.uncounted.plus(lengths[present], np.ones(int(present.sum()), dtype=np.int64))
        return np.flatnonzero(~present)

    @property
    def _longest_na_value(self) -> int:
        # A few blanks may surround it.
        return max(map(len, self.na_values), default=0) + 4

    @property
    def lengths(self) -> TextLengths:
        """The lengths of all texts."""
        if self.overflowed:
            return self.uncounted
        counts = self.categories.counts()
        if not counts:
            return TextLengths()
        lengths = np.array([len(text) for text in counts], dtype=np.int64)
        weights = np.array(list(counts.values()), dtype=np.int64)
        blanks = np.array([sum(map(str.isspace, text)) for text in counts], dtype=np.int64)
        mean_blanks = float(blanks @ weights / weights.sum())
        return replace(TextLengths().plus(lengths, weights), mean_blanks=mean_blanks)

    @property
    def n_values(self) -> int:
        """The number of texts that are not missing."""
        return self.uncounted.n_texts if self.overflowed else int(self.categories.totals[0, 1:].sum())

    @property
    def n_distinct(self) -> int:
        """The number of distinct texts, or its estimate."""
        return self.distinct.count if self.overflowed else self.categories.n_categories

    @property
    def example(self) -> str | None:
        """The first text in alphabetical order."""
        return min((text for text, code in self.categories.codes.items() if code and text), default=None)
