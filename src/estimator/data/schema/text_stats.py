"""What the words of a column have shown: their levels and, once there are too many to count, how long they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.data.schema.sketches import Distinct, Goal, Hashes, Levels
from estimator.data.schema.text_parsing import strip_blanks


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of some words: their number, characters altogether, and the shortest and longest in characters.

    `mean_blanks`, which tells sentences from names, is of the words that were counted before there were too many.
    """

    words: int = 0
    characters: int = 0
    shortest: int = 0
    longest: int = 0
    mean_blanks: float = 0.0

    def plus(self, lengths: npt.NDArray[np.integer], counts: npt.NDArray[np.integer]) -> Lengths:
        """Return these and some more words together, given their lengths and how often each is there."""
        if len(lengths) == 0:
            return self
        return Lengths(
            self.words + int(counts.sum()),
            self.characters + int((lengths * counts).sum()),
            min(self.shortest, int(lengths.min())) if self.words else int(lengths.min()),
            max(self.longest, int(lengths.max())),
            self.mean_blanks,
        )

    @property
    def mean(self) -> float:
        """Characters per word."""
        return self.characters / max(self.words, 1)


@dataclass
class Words:
    """The words of a column batch by batch; `gaps` spell a gap, `spelled` are those that occurred."""

    gaps: tuple[str, ...]
    max_levels: int
    spelled: set[str] = field(default_factory=set)
    levels: Levels = field(init=False)
    given_up: bool = False
    uncounted: Lengths = field(default_factory=Lengths)
    distinct: Distinct = field(default_factory=Distinct)

    def __post_init__(self) -> None:
        self.levels = Levels(self._is_gap)

    def _is_gap(self, word: str | None) -> bool:
        if word is None:
            return True
        bare = word.strip()
        if bare != "" and bare not in self.gaps:
            return False
        self.spelled.add(bare)
        return True

    def add(self, words: pl.Series, hashes: Hashes, goal: Goal | None) -> None:
        """Take a batch of words, their hashes and the target's numbers beside them into account."""
        if self.given_up:
            self._add_uncounted(words.cast(pl.String), hashes)
            return
        self.levels.add(words, hashes, goal)
        if self.levels.n_levels > self.max_levels:
            self.uncounted, self.given_up = self.lengths, True
            counted = pl.Series(list(self.levels.counts()), dtype=words.dtype)
            self.distinct.add(counted.hash(seed=7).to_numpy())

    def _add_uncounted(self, words: pl.Series, hashes: Hashes) -> None:
        lengths = words.str.len_chars().fill_null(0).to_numpy().astype(np.int64)
        short = np.flatnonzero(lengths <= self.longest_gap)
        bare = strip_blanks(words.gather(short))
        is_gap = bare.is_in(["", *self.gaps]).fill_null(True)
        self.spelled |= set(bare.filter(is_gap).drop_nulls().unique())
        solid = np.ones(len(words), dtype=np.bool_)
        solid[short] = ~is_gap.to_numpy()
        self.distinct.add(hashes[solid])
        self.uncounted = self.uncounted.plus(lengths[solid], np.ones(int(solid.sum()), dtype=np.int64))

    @property
    def longest_gap(self) -> int:
        """How long a word can be and still spell a gap, with a few blanks around it."""
        return max(map(len, self.gaps), default=0) + 4

    @property
    def lengths(self) -> Lengths:
        """The lengths of all words."""
        if self.given_up:
            return self.uncounted
        counts = self.levels.counts()
        if not counts:
            return Lengths()
        lengths = np.array([len(word) for word in counts], dtype=np.int64)
        weights = np.array(list(counts.values()), dtype=np.int64)
        blanks = np.array([sum(map(str.isspace, word)) for word in counts], dtype=np.int64)
        return replace(Lengths().plus(lengths, weights), mean_blanks=float(blanks @ weights / weights.sum()))

    @property
    def known(self) -> int:
        """The number of words that are no gaps."""
        return self.uncounted.words if self.given_up else int(self.levels.totals[0, 1:].sum())

    @property
    def n_distinct(self) -> int:
        """The number of different words, or its estimate."""
        return self.distinct.count if self.given_up else self.levels.n_levels

    @property
    def example(self) -> str | None:
        """One of the words."""
        return min((word for word, place in self.levels.places.items() if place and word), default=None)
