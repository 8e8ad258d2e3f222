"""How many distinct values and which levels a column has shown, in memory that does not grow with the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats, Mask

SKETCH_SIZE = 4096
FEWEST_SLOTS, MOST_SLOTS = 2**10, 2**17
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int32]

# What polars makes of a gap among numbers.
GAP_HASH = np.uint64(pl.Series([float("nan")]).hash(seed=7)[0])


class Slots:
    """Hashes that are known already, each with a place: a lookup of whole columns that may miss but never errs.

    A hash is looked for in one slot only; of two that share a slot, the one put last is found.
    """

    def __init__(self) -> None:
        self.hashes = np.zeros(FEWEST_SLOTS, np.uint64)
        self.places = np.full(FEWEST_SLOTS, -1, np.int32)

    def _slots(self, hashes: Hashes) -> Hashes:
        return hashes & np.uint64(len(self.hashes) - 1)

    def knows(self, hashes: Hashes) -> Mask:
        """Mark the hashes that are known."""
        found: Mask = self.hashes[self._slots(hashes)] == hashes
        return found

    def find(self, hashes: Hashes) -> Places:
        """Return the place of each hash, -1 where it is not known."""
        slots = self._slots(hashes)
        places = self.places[slots]
        places[self.hashes[slots] != hashes] = -1
        return places

    def put(self, hashes: Hashes, places: Places) -> None:
        """Know these hashes, which are all that are known; the table grows with them, to a bound."""
        size = len(self.hashes)
        while size < 16 * len(hashes) and size < MOST_SLOTS:
            size *= 2
        self.hashes, self.places = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
        slots = self._slots(hashes)
        self.hashes[slots], self.places[slots] = hashes, places


@dataclass
class Distinct:
    """The k smallest hashes of a column's values (Bar-Yossef et al., 2002): exact below k, beyond about 1.6 % off."""

    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    slots: Slots = field(default_factory=Slots)

    def add(self, hashes: Hashes) -> None:
        """Take values into account by their hashes; that of a gap is no value."""
        found = hashes if self.is_exact else hashes[hashes < self.hashes[-1]]
        found = self._smallest(found[~self.slots.knows(found)])
        if len(found) == 0:
            return
        together = np.sort(np.concatenate([self.hashes, found]))
        is_first = np.append(True, together[1:] != together[:-1]) & (together != GAP_HASH)
        known = together[is_first][:SKETCH_SIZE]
        if not np.array_equal(known, self.hashes):
            self.hashes = known
            self.slots.put(np.append(known, GAP_HASH), np.zeros(len(known) + 1, np.int32))

    def _smallest(self, hashes: Hashes) -> Hashes:
        """Return only the smallest hashes when they alone fill the sketch, which saves sorting the others."""
        if len(hashes) < 16 * SKETCH_SIZE:
            return hashes
        low = hashes[hashes < np.uint64(2.0**64 * 4 * SKETCH_SIZE / len(hashes))]
        return low if len(np.unique(low)) > SKETCH_SIZE else hashes

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
    known: Mask
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

    is_gap: Callable[[str | None], bool]
    places: dict[str | None, int] = field(default_factory=dict)
    slots: Slots = field(default_factory=Slots)
    hashes: dict[int, int] = field(default_factory=dict)
    n_levels: int = 0
    totals: Floats = field(default_factory=lambda: np.zeros((3, 1)))

    def add(self, words: pl.Series, hashes: Hashes, goal: Goal | None) -> None:
        """Take a batch of words and their hashes into account, with the target's numbers beside them."""
        places = self.slots.find(hashes)
        news = np.flatnonzero(places < 0)
        if len(news):
            places[news] = self._placed(words.gather(news), hashes[news])
        self._count(places, goal)

    def _count(self, places: npt.NDArray[Any], goal: Goal | None) -> None:
        size = self.n_levels + 1
        self.totals = np.pad(self.totals, ((0, 0), (0, size - self.totals.shape[1])))
        self.totals[0] += np.bincount(places, minlength=size)
        if goal is not None:
            self.totals[1] += np.bincount(places, goal.values, minlength=size)
            self.totals[2] += np.bincount(places, None if goal.is_whole else goal.known, minlength=size)

    def add_truths(self, values: Floats, goal: Goal | None) -> None:
        """Take truth values, given as 0, 1 and NaN, into account as the levels false and true."""
        places = np.array([self.place("false"), self.place("true"), self.place(None)])
        found = places[np.nan_to_num(values, nan=2.0).astype(np.intp)]
        self._count(found, goal)

    def _placed(self, words: pl.Series, hashes: Hashes) -> Places:
        """Return where words are counted, and know them from now on."""
        different = np.unique(hashes)
        which = np.searchsorted(different, hashes)
        first = np.empty(len(different), dtype=np.intp)
        first[which[::-1]] = np.arange(len(hashes))[::-1]
        names = words.gather(first).cast(pl.String).to_list()
        places = np.array([self.place(name) for name in names], dtype=np.int32)
        before = len(self.hashes)
        self.hashes |= zip(different.tolist(), places.tolist(), strict=True)
        if len(self.hashes) > before:
            known = np.fromiter(self.hashes.keys(), np.uint64, len(self.hashes))
            self.slots.put(known, np.fromiter(self.hashes.values(), np.int32, len(known)))
        return places[which]

    def place(self, word: str | None) -> int:
        """Return where a word is counted; all spellings of a gap are at 0."""
        place = self.places.get(word)
        if place is None:
            place = 0
            if not self.is_gap(word):
                self.n_levels += 1
                place = self.n_levels
            self.places[word] = place
        return place

    def counts(self) -> dict[str, int]:
        """Return level -> count, sorted by level."""
        counts = self.totals[0]
        levels = {word: place for word, place in self.places.items() if place and word is not None}
        return {word: int(counts[place]) for word, place in sorted(levels.items())}

    def top(self, most: int) -> list[tuple[str, int, float | None]]:
        """Return (level, count, target's mean) of the commonest levels."""
        found = sorted(self.counts().items(), key=lambda item: (-item[1], item[0]))[:most]
        return [(word, count, self._mean(self.places[word])) for word, count in found]

    def _mean(self, place: int) -> float | None:
        _, total, known = self.totals[:, place]
        return float(total / known) if known else None
