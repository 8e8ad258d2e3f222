"""Champion against challenger, label by label: is the challenger better? Valid however often one looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from estimator.core.arrays import Floats, nan_to_none
from estimator.core.task import Task
from estimator.core.text import counted, format_e_value, format_number
from estimator.drift import DriftReference
from estimator.drift.held_out import BOUND_FACTOR
from estimator.evaluation.scores import Score
from estimator.monitoring.betting import BettingTest
from estimator.monitoring.diagnosis import log_e_value
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.prediction_log.log import START, Cursor
from estimator.store.artefact import Artefact

# Live rows may differ from those of the retraining, so a candidate is not promoted on these alone.
MIN_LABELS = 10
BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class BoundedLoss:
    """The loss that versions are compared by: bounded, so that its mean can be tested at any time.

    For classes it is the Brier score, half the squared distance of the probabilities from the label, in [0, 1], which
    is proper (Gneiting and Raftery, 2007). For numbers it is the absolute error, counted as at most `bound`, which the
    champion's reference sets before any row is compared.
    """

    task: Task
    bound: float

    @classmethod
    def of(cls, task: Task, reference: DriftReference) -> BoundedLoss:
        """Return the loss by which a champion with this reference is challenged."""
        if not task.is_regression:
            return cls(task, 1.0)
        return cls(task, BOUND_FACTOR * reference.mean_loss or reference.predictions.scale or 1.0)

    @property
    def name(self) -> str:
        """The loss in a message."""
        return f"absolute error up to {format_number(self.bound)}" if self.task.is_regression else "Brier score"

    def values(self, raw: Floats, actual: Floats) -> Floats:
        """Return the loss of each raw prediction, numbers (rows,) or probabilities (rows, classes).

        >>> task = Task("binary", ("no", "yes"))
        >>> BoundedLoss(task, 1.0).values(np.array([[0.25, 0.75]]), np.array([1.0])).tolist()
        [0.0625]
        """
        if self.task.is_regression:
            return np.minimum(np.abs(actual - raw), self.bound)
        actual_class = np.arange(raw.shape[1]) == actual[:, None]
        return np.asarray(np.square(raw - actual_class).sum(axis=1) / 2.0)


@dataclass(frozen=True, slots=True)
class ComparisonState:
    """A comparison so far: the challenger is better once `e_value` reaches `threshold` and the mean losses agree.

    It needs at least 10 labels. `gain` is by how much the challenger's bounded loss, named by `loss`, is smaller, with
    limits that hold at any time once the evidence suffices; `n_held_out` rows of the retraining count in it. The losses
    of the two are those of labels that have arrived since: absolute errors, or log losses. `e_value_worse` is the
    evidence that the challenger is worse.
    """

    challenger: str
    champion: str
    n_rows: int
    n_held_out: int
    e_value: float
    threshold: float
    loss: str
    gain: Score
    champion_loss: float
    challenger_loss: float
    e_value_worse: float

    @property
    def is_better(self) -> bool:
        """Whether the challenger is proven better, and neither plain mean says otherwise."""
        agrees = self.gain.value > 0 and self.challenger_loss < self.champion_loss
        return self.n_rows >= MIN_LABELS and self.e_value >= self.threshold and agrees

    @property
    def is_not_worse(self) -> bool:
        """Whether a retraining chose the challenger over the champion, and nothing since has proven it worse."""
        return self.n_held_out > 0 and self.e_value_worse < self.threshold

    def meets(self, criterion: Literal["better", "not_worse"]) -> bool:
        """Whether a config's criterion for a promotion is met."""
        return self.is_better or (criterion == "not_worse" and self.is_not_worse)

    @property
    def message(self) -> str:
        """The state in a sentence."""
        verdict = "better than" if self.is_better else "not proven better than"
        held_out = f" and {self.n_held_out:,} held-out rows" if self.n_held_out else ""
        losses = (
            f"mean loss {format_number(self.challenger_loss)} against {format_number(self.champion_loss)}; "
            if self.n_rows
            else ""
        )
        few = f", and {MIN_LABELS} labels," if self.n_rows < MIN_LABELS else ""
        needed = f"{format_number(self.threshold)}{few}"
        return (
            f"{self.challenger} is {verdict} {self.champion}: {self.loss} smaller by {self.gain} on "
            f"{counted(self.n_rows, 'label')}{held_out}; {losses}e-value {format_e_value(self.e_value)} "
            f"({needed} needed)"
        )

    @property
    def promotion_message(self) -> str:
        """Why the challenger may be promoted: it is proven better, or at least not proven worse, which it says."""
        unproven = "; it is not proven worse either, which promotion.criterion asks for: alpha promises nothing here"
        return self.message if self.is_better else f"{self.message}{unproven}"

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data, with e-values as logarithms to base 10."""
        data = asdict(self)
        e_values = {name: data.pop(name) for name in ("e_value", "threshold", "e_value_worse")}
        data |= {name: nan_to_none(data[name]) for name in ("champion_loss", "challenger_loss")}
        logarithms = {f"log_{name}": log_e_value(value) for name, value in e_values.items()}
        return {**data, **logarithms, "is_better": self.is_better, "message": self.message}


@dataclass
class ShadowComparison:
    """Two versions on the rows logged since a time, as their labels arrive.

    `alpha` bounds the probability that a challenger whose mean bounded loss is not smaller is ever called better.
    `held_out` are the champion's losses minus the challenger's on rows that neither was trained on, if the challenger
    was chosen by them among `n_candidates`. A label that is corrected replaces the one before.
    """

    log: PredictionLog
    champion: Artefact
    challenger: Artefact
    since: float
    alpha: float
    held_out: Sequence[float] = ()
    n_candidates: int = 1
    test: BettingTest = field(init=False)
    loss: BoundedLoss = field(init=False)
    _losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    _labels_read: Cursor = START
    _readers: tuple[RecordReader, ...] = ()

    def __post_init__(self) -> None:
        # A label arrives after its prediction, so no earlier label counts.
        self._labels_read = (self.since, "")
        versions = (self.champion, self.challenger)
        self._readers = tuple(RecordReader(version, drift_reference(version)) for version in versions)
        self.loss = BoundedLoss.of(self._readers[0].task, self._readers[0].reference)
        self.test = BettingTest(self.loss.bound, np.array(self.held_out, dtype=np.float64), self.n_candidates)

    def step(self, until: float) -> ComparisonState:
        """Read the labels that arrived until a time, in seconds since 1970; return the state."""
        model = self.champion.name
        while records := self.log.labeled_after(model, self._labels_read, until=until, limit=BATCH_ROWS):
            self._labels_read = (records[-1].labeled_at or 0.0, records[-1].id)
            if recent := [record for record in records if record.at >= self.since]:
                self._update(recent)
        return self.state

    @property
    def state(self) -> ComparisonState:
        """The comparison so far."""
        losses = np.array(list(self._losses.values())).reshape(-1, 2)
        champion_loss, challenger_loss = losses.mean(axis=0).tolist() if len(losses) else (np.nan, np.nan)
        e_value, threshold, mean = self.test.e_value, 1.0 / self.alpha, self.test.mean
        # Limits take forty times as long as the evidence, and are of interest once it suffices.
        gain = self.test.gain(self.alpha) if e_value >= threshold else Score(mean, np.nan, np.nan)
        return ComparisonState(
            challenger=self.challenger.version,
            champion=self.champion.version,
            n_rows=self.test.n_rows,
            n_held_out=len(self.held_out),
            e_value=e_value,
            threshold=threshold,
            loss=self.loss.name,
            gain=gain,
            champion_loss=champion_loss,
            challenger_loss=challenger_loss,
            e_value_worse=self.test.e_value_below,
        )

    def _update(self, records: Sequence[PredictionRecord]) -> None:
        """Add labels; one that corrects an earlier one takes its place."""
        labels = self._readers[0].labels(records)
        raw = [self._predictions(reader, records, labels) for reader in self._readers]
        is_scored = np.isfinite(labels) & np.isfinite(
            [values.reshape(len(records), -1).sum(axis=1) for values in raw]
        ).all(axis=0)
        ids = [record.id for record, scored in zip(records, is_scored.tolist(), strict=True) if scored]
        if not ids:
            return
        champion, challenger = (
            (self.loss.values(values[is_scored], labels[is_scored]), self._plain(values[is_scored], labels[is_scored]))
            for values in raw
        )
        places = {name: place for place, name in enumerate(self._losses)}
        differences = champion[0] - challenger[0]
        for name, difference in zip(ids, differences.tolist(), strict=True):
            if name in places:
                self.test.differences[places[name]] = difference
        self.test.update(differences[[name not in places for name in ids]])
        self._losses |= dict(zip(ids, zip(champion[1].tolist(), challenger[1].tolist(), strict=True), strict=True))

    def _plain(self, raw: Floats, labels: Floats) -> Floats:
        """Return the losses that people read: absolute errors, or log losses."""
        return np.abs(self.loss.task.losses(raw, labels))

    def _predictions(self, reader: RecordReader, records: Sequence[PredictionRecord], labels: Floats) -> Floats:
        """Return a version's raw prediction for each row: its logged or shadow one, else one made now."""
        version = reader.artefact.version
        responses = [_response_of(version, record, self.log) for record in records]
        raw = reader.raw_predictions(responses)
        missing = np.flatnonzero(np.isnan(raw.reshape(len(records), -1)).any(axis=1) & ~np.isnan(labels))
        predictions = reader.predict([records[index] for index in missing.tolist()]) if len(missing) else None
        if predictions is not None:
            raw[missing] = predictions.raw
        return raw


def _response_of(version: str, record: PredictionRecord, log: PredictionLog) -> Mapping[str, Any] | None:
    """Return a version's logged response to a row, None when it has made none."""
    return record.response if record.version == version else log.shadows(record.id).get(version)
