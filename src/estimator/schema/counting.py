"""How many distinct values and which levels a column has shown, in memory that does not grow with the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

SKETCH_SIZE = 4096
# A power of two.
SLOTS = 8192
SLOT = np.uint64(SLOTS - 1)
Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


@dataclass
class Distinct:
    """The k smallest hashes of a column's values (Bar-Yossef et al., 2002): exact below k, beyond about 1.6 % off."""

    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    slots: Hashes = field(default_factory=lambda: np.zeros(SLOTS, np.uint64))

    def add(self, hashes: Hashes) -> None:
        """Take values into account by their hashes."""
        found = self._smallest(self._news(hashes))
        if len(found):
            together = np.sort(np.concatenate([self.hashes, found]))
            first = np.append(True, together[1:] != together[:-1])
            self.hashes = together[first][:SKETCH_SIZE]
            self.slots[self.hashes & SLOT] = self.hashes

    def _news(self, hashes: Hashes) -> Hashes:
        """Return the hashes that may change the sketch; most of those that are in it already are left out."""
        found = hashes if self.is_exact else hashes[hashes < self.hashes[-1]]
        return found[self.slots[found & SLOT] != found] if len(self.hashes) else found

    def _smallest(self, hashes: Hashes) -> Hashes:
        """Return only the smallest hashes when they alone fill the sketch, which saves sorting the others."""
        if len(hashes) < 16 * SKETCH_SIZE:
            return hashes
        low = hashes[hashes < np.uint64(2.0**64 * 4 * SKETCH_SIZE / len(hashes))]
        return low if len(np.unique(low)) >= SKETCH_SIZE else hashes

    @property
    def is_exact(self) -> bool:
        """Whether all distinct values were kept."""
        return len(self.hashes) < SKETCH_SIZE

    @property
    def count(self) -> int:
        """The number of distinct values, or its estimate."""
        if self.is_exact:
            return len(self.hashes)
        return round((SKETCH_SIZE - 1) / (float(self.hashes[-1]) / 2.0**64))


@dataclass(frozen=True, slots=True)
class Goal:
    """The target's numbers in a batch, 0 where they are not known."""

    values: Floats
    known: npt.NDArray[np.bool_]
    is_whole: bool

    @classmethod
    def of(cls, values: Floats) -> Goal:
        """Return the target's numbers, given with NaN where they are not known."""
        known = ~np.isnan(values)
        is_whole = bool(known.all())
        return cls(values if is_whole else np.where(known, values, 0.0), known, is_whole)


@dataclass
class Levels:
    """How often each level occurs and the target's sum there. What spells a gap is counted together, as no level."""

    is_gap: Callable[[str], bool]
    places: dict[str, int] = field(default_factory=dict)
    totals: Floats = field(default_factory=lambda: np.zeros((3, 1)))
    n_levels: int = 0

    def add(self, levels: pl.Series, goal: Goal | None) -> None:
        """Take a batch of words into account, with the target's numbers beside them."""
        words, codes, known = _coded(levels)
        if not words:
            return
        totals = np.zeros((3, len(words)))
        totals[0] = np.bincount(codes, minlength=len(words))
        if goal is not None:
            totals[1] = np.bincount(codes, goal.values[known], minlength=len(words))
            totals[2] = totals[0] if goal.is_whole else np.bincount(codes, goal.known[known], minlength=len(words))
        self.add_totals(words, totals)

    def add_totals(self, words: list[str], totals: Floats) -> None:
        """Take counts, sums and numbers of known targets, of shape (3, words), into account; no word comes twice."""
        places = [self._place(word) for word in words]
        missing = self.n_levels + 1 - self.totals.shape[1]
        self.totals = np.pad(self.totals, ((0, 0), (0, max(missing, 0))))
        np.add.at(self.totals, (slice(None), places), totals)

    def _place(self, word: str) -> int:
        """Return where a word is counted; all spellings of a gap are at 0."""
        place = self.places.get(word)
        if place is None:
            place = 0
            if not self.is_gap(word):
                self.n_levels += 1
                place = self.n_levels
            self.places[word] = place
        return place

    @property
    def gaps(self) -> int:
        """How many words spelled a gap."""
        return int(self.totals[0, 0])

    def counts(self) -> dict[str, int]:
        """Return level -> count, sorted by level."""
        counts = self.totals[0]
        return {word: int(counts[place]) for word, place in sorted(self.places.items()) if place}

    def top(self, most: int) -> list[tuple[str, int, float | None]]:
        """Return (level, count, target's mean) of the commonest levels."""
        found = sorted(self.counts().items(), key=lambda item: (-item[1], item[0]))[:most]
        return [(word, count, self._mean(self.places[word])) for word, count in found]

    def _mean(self, place: int) -> float | None:
        _, total, known = self.totals[:, place]
        return float(total / known) if known else None


def _coded(levels: pl.Series) -> tuple[list[str], npt.NDArray[np.intp], Any]:
    """Return the different words, which of them each row has, gaps left out, and which rows those are."""
    coded = levels if levels.dtype in (pl.Categorical, pl.Enum) else levels.cast(pl.Categorical)
    known: Any = slice(None)
    if coded.null_count():
        known = np.flatnonzero(coded.is_not_null().to_numpy())
        coded = coded.gather(known)
    codes = coded.to_physical().to_numpy()
    if len(codes) == 0:
        return [], codes, known
    present = np.flatnonzero(np.bincount(codes))
    place = np.zeros(int(present[-1]) + 1, dtype=np.intp)
    place[present] = np.arange(len(present))
    found = place[codes]
    row = np.zeros(len(present), dtype=np.intp)
    row[found] = np.arange(len(found))
    return coded.gather(row).cast(pl.String).to_list(), found, known
