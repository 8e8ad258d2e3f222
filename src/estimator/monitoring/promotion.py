"""Candidate against live, row by row as truths come: evidence that one is better, which may always be looked at."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.core.text import format_e_value, format_number
from estimator.drift import losses_of
from estimator.monitoring.rows import Reader, reference_of
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.prediction_log.log import START, Cursor
from estimator.store.artefact import Artefact

# Shares of what is at hand that are bet on the candidate, row after row, in several ways at once.
STAKES = np.array([0.05, 0.1, 0.2, 0.4])
MOST_STAKE = 0.6
# Before so many rows nobody knows how large a difference is, and nothing is bet.
FIRST_ROWS = 8
# Differences beyond so many times the usual one count as that much.
REACH = 5.0
AT_ONCE = 500
Outcome = Literal["better", "not yet"]


@dataclass
class Paired:
    """Evidence that the second of two losses is smaller on average (a test by betting, Waudby-Smith and Ramdas, 2024).

    While differences are as often for the one as for the other, `evidence` exceeds 1/a with a probability of at most a,
    however often one looks. Differences are bounded by a multiple of the usual size of those before them, so that no
    single row decides; `gain` is their plain mean.
    """

    rows: int = 0
    total: float = 0.0
    _wealth: Floats = field(default_factory=lambda: np.ones(len(STAKES) + 1))
    _sizes: list[float] = field(default_factory=list)
    _sums: tuple[float, float] = (0.0, 0.0)

    @property
    def evidence(self) -> float:
        """How much a bettor would have made of 1."""
        return float(self._wealth.mean())

    @property
    def gain(self) -> float:
        """By how much the second loss was smaller, on average."""
        return self.total / self.rows if self.rows else 0.0

    def take(self, differences: Floats) -> Floats:
        """Take differences, first loss less second, of shape (rows,); return the evidence after each."""
        found = np.empty(len(differences))
        for place, difference in enumerate(differences.tolist()):
            self._bet(difference)
            found[place] = self.evidence
        return found

    def _bet(self, difference: float) -> None:
        self.rows += 1
        self.total += difference
        if len(self._sizes) >= FIRST_ROWS:
            usual = self._sizes[len(self._sizes) // 2]
            bound = min(max(difference / (REACH * usual), -1.0), 1.0) if usual > 0 else float(np.sign(difference))
            first, second = self._sums
            # What would have earned most so far, near enough: the mean over the mean square.
            own = min(max(first / max(second, 1.0), 0.0), MOST_STAKE)
            self._wealth *= 1.0 + np.append(STAKES, own) * bound
            self._sums = first + bound, second + bound * bound
        if difference:
            insort(self._sizes, abs(difference))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a challenger stands beside what is live: it is better once `evidence` has passed `needed`."""

    challenger: str
    champion: str
    rows: int
    evidence: float
    needed: float
    gain: float
    champion_loss: float
    challenger_loss: float

    @property
    def outcome(self) -> Outcome:
        """Whether it is proven better, on the plain mean as well."""
        return "better" if self.evidence >= self.needed and self.gain > 0 else "not yet"

    @property
    def message(self) -> str:
        """How it stands, in a sentence."""
        losses = f"{format_number(self.challenger_loss)} against {format_number(self.champion_loss)}"
        beside = f"{self.challenger} beside {self.champion} on {self.rows:,} truths: loss {losses}"
        told = f"{format_e_value(self.evidence)}; {format_number(self.needed)} is needed"
        return f"{beside}; {'better' if self.outcome == 'better' else 'not yet proven better'}: evidence {told}"

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(self), "outcome": self.outcome, "message": self.message}


@dataclass
class Contest:
    """Two versions on the rows of the log that were answered since a time, as their truths come.

    `level` is the chance that a challenger that is no better is ever called better.
    """

    database: PredictionLog
    champion: Artefact
    challenger: Artefact
    since: float
    level: float
    paired: Paired = field(default_factory=Paired)
    _losses: tuple[float, float] = (0.0, 0.0)
    _place: Cursor = START
    _readers: tuple[Reader, ...] = ()

    def __post_init__(self) -> None:
        # Truth comes after the answer, so none that counts has come before.
        self._place = (self.since, "")
        self._readers = tuple(Reader(each, reference_of(each)) for each in (self.champion, self.challenger))

    def step(self, until: float) -> Standing:
        """Take the truths that came until a time, in seconds since 1970."""
        model = self.champion.name
        while rows := self.database.labeled_after(model, self._place, until=until, limit=AT_ONCE):
            self._place = (rows[-1].labeled_at or 0.0, rows[-1].id)
            self._take([row for row in rows if row.at >= self.since])
        return self.standing

    @property
    def standing(self) -> Standing:
        """How they stand by now."""
        rows = self.paired.rows
        means = [loss / rows if rows else float("nan") for loss in self._losses]
        return Standing(
            self.challenger.version, self.champion.version, rows, self.paired.evidence, 1.0 / self.level,
            self.paired.gain, *means,
        )  # fmt: skip

    def _take(self, rows: Sequence[PredictionRecord]) -> None:
        if not rows:
            return
        first, second = (self._of(reader, rows) for reader in self._readers)
        known = np.isfinite(first) & np.isfinite(second)
        if known.any():
            self.paired.take(first[known] - second[known])
            self._losses = self._losses[0] + float(first[known].sum()), self._losses[1] + float(second[known].sum())

    def _of(self, reader: Reader, rows: Sequence[PredictionRecord]) -> Floats:
        """Return a version's loss on each row: by what it answered then, as live or as shadow, or answers now."""
        truths = reader.truths(rows)
        found = np.full(len(rows), np.nan)
        told = [_told_by(reader.artefact.version, row, self.database) for row in rows]
        known = [place for place, answer in enumerate(told) if answer is not None]
        if known:
            then = [_with(rows[place], told[place]) for place in known]
            found[known] = reader.losses(then, truths[known])
        missing = np.flatnonzero(np.isnan(found) & ~np.isnan(truths))
        now: Predictions | None = reader.answered([rows[place] for place in missing.tolist()]) if len(missing) else None
        if now is not None:
            found[missing] = losses_of(reader.task, now, truths[missing])
        return found


def _told_by(version: str, row: PredictionRecord, database: PredictionLog) -> Any:
    """Return what a version answered to a row when it came, None when it was not asked."""
    return row.response if row.version == version else database.shadows(row.id).get(version)


def _with(row: PredictionRecord, answer: Any) -> PredictionRecord:
    return PredictionRecord(row.id, row.at, row.model, row.version, row.inputs, answer, row.label, row.labeled_at)
