"""Champion against challenger, label by label: is the challenger better? Valid however often one looks."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.text import format_e_value, format_number
from estimator.drift import absolute_losses
from estimator.monitoring.diagnosis import log_e_value
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.prediction_log.log import START, Cursor
from estimator.store.artefact import Artefact

# Fractions of the capital that the fixed bettors bet on the challenger, row after row.
FIXED_FRACTIONS = np.array([0.05, 0.1, 0.2, 0.4])
MAX_FRACTION = 0.6
# Before this many rows the usual size of a difference is unknown, and nothing is bet.
MIN_ROWS = 8
# A difference counts as at most this many times the median one.
CLIP_FACTOR = 5.0
BATCH_ROWS = 500


@dataclass
class PairedBettingTest:
    """E-process for "the second loss is smaller on average" (test by betting, Waudby-Smith and Ramdas, 2024).

    `e_value` is the capital of bettors who started with 1 and bet on the second. If it is not better, the capital ever
    reaches 1/alpha with a probability of at most alpha, however often one looks. Differences are clipped at a multiple
    of the median size of those before, so no single row decides; `gain` is their plain mean.

    >>> rng = np.random.default_rng(0)
    >>> test = PairedBettingTest()
    >>> e_values = test.update(rng.normal(0.5, 1.0, 200))
    >>> bool(test.e_value > 100), round(test.gain, 2)
    (True, 0.52)
    """

    n_rows: int = 0
    total_difference: float = 0.0
    _capital: Floats = field(default_factory=lambda: np.ones(len(FIXED_FRACTIONS) + 1))
    _sorted_sizes: list[float] = field(default_factory=list)
    _sums: tuple[float, float] = (0.0, 0.0)

    @property
    def e_value(self) -> float:
        """The mean capital of the bettors."""
        return float(self._capital.mean())

    @property
    def gain(self) -> float:
        """By how much the second loss is smaller, on average."""
        return self.total_difference / self.n_rows if self.n_rows else 0.0

    def update(self, differences: Floats) -> Floats:
        """Add differences, first loss minus second, of shape (rows,); return the e-value after each."""
        e_values = np.empty(len(differences))
        for index, difference in enumerate(differences.tolist()):
            self._bet(difference)
            e_values[index] = self.e_value
        return e_values

    def _bet(self, difference: float) -> None:
        self.n_rows += 1
        self.total_difference += difference
        if len(self._sorted_sizes) >= MIN_ROWS:
            median = self._sorted_sizes[len(self._sorted_sizes) // 2]
            clipped = (
                min(max(difference / (CLIP_FACTOR * median), -1.0), 1.0) if median > 0 else float(np.sign(difference))
            )
            total, total_squares = self._sums
            # Nearly the fraction that would have earned most so far: the mean over the mean square.
            adaptive = min(max(total / max(total_squares, 1.0), 0.0), MAX_FRACTION)
            self._capital *= 1.0 + np.append(FIXED_FRACTIONS, adaptive) * clipped
            self._sums = total + clipped, total_squares + clipped * clipped
        if difference:
            insort(self._sorted_sizes, abs(difference))


@dataclass(frozen=True, slots=True)
class ComparisonState:
    """A comparison so far: the challenger is better once `e_value` reaches `threshold` and the mean loss agrees."""

    challenger: str
    champion: str
    n_rows: int
    e_value: float
    threshold: float
    gain: float
    champion_loss: float
    challenger_loss: float

    @property
    def is_better(self) -> bool:
        """Whether the challenger is proven better."""
        return self.e_value >= self.threshold and self.gain > 0

    @property
    def message(self) -> str:
        """The state in a sentence."""
        verdict = "better than" if self.is_better else "not proven better than"
        return (
            f"{self.challenger} is {verdict} {self.champion}: loss {format_number(self.challenger_loss)} against "
            f"{format_number(self.champion_loss)} on {self.n_rows:,} labels, e-value {format_e_value(self.e_value)} "
            f"({format_number(self.threshold)} needed)"
        )

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data, with e-values as logarithms to base 10."""
        data = asdict(self)
        e_value, threshold = data.pop("e_value"), data.pop("threshold")
        logarithms = {"log_e_value": log_e_value(e_value), "log_threshold": log_e_value(threshold)}
        return {**data, **logarithms, "is_better": self.is_better, "message": self.message}


@dataclass
class ShadowComparison:
    """Two versions on the rows logged since a time, as their labels arrive.

    `alpha` bounds the probability that a challenger that is not better is ever called better.
    """

    log: PredictionLog
    champion: Artefact
    challenger: Artefact
    since: float
    alpha: float
    test: PairedBettingTest = field(default_factory=PairedBettingTest)
    _total_losses: tuple[float, float] = (0.0, 0.0)
    _labels_read: Cursor = START
    _readers: tuple[RecordReader, ...] = ()

    def __post_init__(self) -> None:
        # A label arrives after its prediction, so no earlier label counts.
        self._labels_read = (self.since, "")
        versions = (self.champion, self.challenger)
        self._readers = tuple(RecordReader(version, drift_reference(version)) for version in versions)

    def step(self, until: float) -> ComparisonState:
        """Read the labels that arrived until a time, in seconds since 1970; return the state."""
        model = self.champion.name
        while records := self.log.labeled_after(model, self._labels_read, until=until, limit=BATCH_ROWS):
            self._labels_read = (records[-1].labeled_at or 0.0, records[-1].id)
            self._update([record for record in records if record.at >= self.since])
        return self.state

    @property
    def state(self) -> ComparisonState:
        """The comparison so far."""
        n_rows = self.test.n_rows
        champion_loss, challenger_loss = (total / n_rows if n_rows else float("nan") for total in self._total_losses)
        return ComparisonState(
            challenger=self.challenger.version,
            champion=self.champion.version,
            n_rows=n_rows,
            e_value=self.test.e_value,
            threshold=1.0 / self.alpha,
            gain=self.test.gain,
            champion_loss=champion_loss,
            challenger_loss=challenger_loss,
        )

    def _update(self, records: Sequence[PredictionRecord]) -> None:
        if not records:
            return
        champion, challenger = (self._losses(reader, records) for reader in self._readers)
        both = np.isfinite(champion) & np.isfinite(challenger)
        if both.any():
            self.test.update(champion[both] - challenger[both])
            totals = self._total_losses
            self._total_losses = totals[0] + float(champion[both].sum()), totals[1] + float(challenger[both].sum())

    def _losses(self, reader: RecordReader, records: Sequence[PredictionRecord]) -> Floats:
        """Return a version's loss on each row: of its logged or shadow prediction, else of one made now."""
        labels = reader.labels(records)
        losses = np.full(len(records), np.nan)
        logged = {}
        for index, record in enumerate(records):
            response = _response_of(reader.artefact.version, record, self.log)
            if response is not None:
                logged[index] = replace(record, response=response)
        if logged:
            losses[list(logged)] = reader.losses(list(logged.values()), labels[list(logged)])
        missing = np.flatnonzero(np.isnan(losses) & ~np.isnan(labels))
        predictions = reader.predict([records[index] for index in missing.tolist()]) if len(missing) else None
        if predictions is not None:
            losses[missing] = absolute_losses(reader.task, predictions, labels[missing])
        return losses


def _response_of(version: str, record: PredictionRecord, log: PredictionLog) -> Mapping[str, Any] | None:
    """Return a version's logged response to a row, None when it has made none."""
    return record.response if record.version == version else log.shadows(record.id).get(version)
