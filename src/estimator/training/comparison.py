"""Is the second of two models really better? If the rows cannot decide: how many would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.core.arrays import Floats, nan_to_none
from estimator.core.task import Predictions
from estimator.core.text import counted
from estimator.core.units import mean_and_deviation
from estimator.errors import ArtefactError, ConfigError
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import Score, bootstrap_weights, recorded_metrics, select_metrics
from estimator.evaluation.threshold import choose_threshold, decided
from estimator.evaluation.validation import corrected_mean, fold_scores, out_of_fold_predictions
from estimator.models import FitData, Model, Progress
from estimator.models.ensemble import Ensemble
from estimator.store.artefact import Artefact
from estimator.store.batch_prediction import labeled_rows
from estimator.training.prepare import PreparedData

Verdict = Literal["better", "worse", "not better", "undecided"]
# The probability that the estimated number of rows detects a gain of this size.
POWER = 0.8
MAX_ROWS_NEEDED = 10_000_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two models compare on the same rows by one metric.

    `gain` is how much better the second is, in units of the metric; positive is better for every metric. The verdict is
    "better" when the confidence interval of the gain lies above 0, "worse" when it lies below 0, and "not better" when
    it does not exceed `margin`, the smallest gain of interest. Otherwise it is "undecided", and `rows_needed` estimates
    how many rows would decide, None when that is not feasible.
    """

    metric: str
    first: float
    second: float
    gain: Score
    margin: float
    rows: int
    verdict: Verdict
    rows_needed: int | None = None

    @property
    def sentence(self) -> str:
        """The verdict as a sentence."""
        if self.verdict != "undecided":
            return f"{self.verdict}: {self.change}"
        rows = f"about {self.rows_needed:,} rows" if self.rows_needed else "no feasible number of rows"
        return f"undecided: {self.change}; {rows} would decide"

    @property
    def change(self) -> str:
        """By how much the metric improves or worsens, with the interval and the number of rows."""
        verb, size = "improves", self.gain
        if self.gain.value < 0:
            verb, size = "worsens", Score(-size.value, -size.high, -size.low)
        return f"{self.metric} {verb} by {size} on {counted(self.rows, 'row')}"

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        numbers = {name: nan_to_none(getattr(self, name)) for name in ("first", "second", "margin")}
        return {**asdict(self), **numbers, "gain": self.gain.to_data()}


def compare(
    name: str,
    metric: Metric,
    actual: Floats,
    first: Predictions,
    second: Predictions,
    *,
    sample_weights: Floats | None = None,
    bootstrap_samples: int,
    confidence: float,
    seed: int,
    margin: float = 0.0,
    block_rows: int = 1,
) -> Comparison:
    """Compare predictions for rows that neither model was trained on, by a paired bootstrap.

    `margin` is a fraction of the first score. A row counts as much as its weight, in `sample_weights` of shape (rows,).
    Rows in their natural order are drawn in blocks of `block_rows`.
    Both models are scored on the same samples: the difference on the same rows varies far less than the scores do
    (Efron and Tibshirani, 1993, chapter 16).
    """
    whole = np.ones((1, len(actual))) if sample_weights is None else sample_weights[None, :]
    sign = 1.0 if metric.higher_is_better else -1.0
    scores = [float(metric.scores(actual, predictions, whole)[0]) for predictions in (first, second)]
    drawn_weights = bootstrap_weights(len(actual), bootstrap_samples, seed, block_rows=block_rows)
    samples = [
        sign * (metric.scores(actual, second, weights) - metric.scores(actual, first, weights))
        for weights in (drawn * whole for drawn in drawn_weights)
    ]
    gains = np.concatenate(samples)
    gains = gains[np.isfinite(gains)]
    gain, error = Score(sign * (scores[1] - scores[0]) + 0.0, math.nan, math.nan), math.nan
    if len(gains):
        tail = (1.0 - confidence) / 2.0
        low, high = (float(end) for end in np.quantile(gains, [tail, 1.0 - tail]))
        gain, error = Score(gain.value, low, high), float(mean_and_deviation(gains)[1])
    return _decided(name, scores, gain, error, len(actual), margin, confidence)


def compare_folds(
    name: str,
    metric: Metric,
    table: FitData,
    first: Predictions,
    second: Predictions,
    *,
    confidence: float,
    margin: float = 0.0,
) -> Comparison:
    """Compare two settings by out-of-fold predictions on the same folds, corrected for the rows that folds share."""
    sign = 1.0 if metric.higher_is_better else -1.0
    scores = [fold_scores(table, predictions, {name: metric})[name] for predictions in (first, second)]
    n_out = len(table.rows) / table.n_folds
    gains = sign * (scores[1] - scores[0])
    gain = corrected_mean(gains, n_train=len(table.rows) - n_out, n_test=n_out, confidence=confidence)
    error = (gain.high - gain.low) / 2.0 / _normal_quantile((1.0 + confidence) / 2.0)
    means = [float(of_folds.mean()) for of_folds in scores]
    return _decided(name, means, gain, error, len(table.rows), margin, confidence)


def _decided(
    name: str, scores: list[float], gain: Score, error: float, rows: int, margin: float, confidence: float
) -> Comparison:
    least_gain = margin * abs(scores[0])
    verdict: Verdict = "undecided"
    if gain.low > 0:
        verdict = "better"
    elif gain.high < 0:
        verdict = "worse"
    elif gain.high <= least_gain:
        verdict = "not better"
    needed = _rows_needed(gain.value, error, rows, confidence) if verdict == "undecided" else None
    return Comparison(name, scores[0], scores[1], gain, least_gain, rows, verdict, needed)


def _rows_needed(gain: float, error: float, rows: int, confidence: float) -> int | None:
    """Return how many rows would detect a gain of this size; the standard error shrinks with their root."""
    if not (math.isfinite(error) and gain != 0.0):
        return None
    quantiles = _normal_quantile((1.0 + confidence) / 2.0) + _normal_quantile(POWER)
    needed = rows * (quantiles * error / abs(gain)) ** 2
    return None if needed > MAX_ROWS_NEEDED else max(math.ceil(needed), rows + 1)


def _normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def compare_versions(
    first: Artefact, second: Artefact, frame: pl.DataFrame, *, in_order: bool = False
) -> list[Comparison]:
    """Compare two versions on labeled rows, by every metric of the first version; its first metric decides.

    Rows `in_order` of time may be like their neighbors: the interval is that of blocks of the cube root of their number
    (Hall, Horowitz and Jing, 1995).

    Raises
    ------
    ArtefactError: the versions predict different targets.
    """
    tasks = [artefact.predictor.task for artefact in (first, second)]
    if tasks[0] != tasks[1] or first.manifest["target"] != second.manifest["target"]:
        targets = [f"{artefact.version} predicts {artefact.manifest['target']}" for artefact in (first, second)]
        raise ArtefactError(f"only versions with the same target can be compared: {' and '.join(targets)}")
    rows, other_rows = (labeled_rows(artefact, frame) for artefact in (first, second))
    actual = rows.labels
    if not np.array_equal(actual, other_rows.labels):
        raise ArtefactError(
            f"{first.version} and {second.version} read the labels in {first.manifest['target']!r} differently",
            hint="compare the target in their schemas: na_values, strip, thousands and replace",
        )
    predictions = first.predictor.predict_batch(rows.batch), second.predictor.predict_batch(other_rows.batch)
    evaluation = first.config["evaluation"]
    return [
        compare(
            name,
            metric,
            actual,
            *predictions,
            sample_weights=rows.sample_weights,
            bootstrap_samples=evaluation["bootstrap_samples"],
            confidence=evaluation["confidence"],
            seed=0,
            block_rows=math.ceil(len(actual) ** (1 / 3)) if in_order else 1,
        )
        for name, metric in recorded_metrics(evaluation, tasks[0]).items()
    ]


def reject_training_rows(versions: Sequence[Artefact], fingerprint: Mapping[str, str]) -> None:
    """Reject a table that a version was trained on, where its scores mean nothing.

    Raises
    ------
    ArtefactError: a version was trained on it.
    """
    for artefact in versions:
        if dict(fingerprint) == dict(artefact.manifest["data"]["files"]):
            raise ArtefactError(
                f"{artefact.version} was trained on these rows, so its scores on them mean nothing",
                hint="leave out --input to compare on the held-out rows, or pass new rows",
            )


@dataclass(frozen=True, slots=True)
class PreparedConfig:
    """A config with its prepared rows and its model."""

    prepared: PreparedData
    config: Config
    model: Model


def compare_configs(first: PreparedConfig, second: PreparedConfig, *, progress: Progress) -> list[Comparison]:
    """Compare two configs on the same folds of the same rows; the held-out rows stay untouched.

    Raises
    ------
    ConfigError: the configs give different rows or folds, or no folds.
    """
    tables = [item.prepared.fit_data(item.config) for item in (first, second)]
    same_rows = tables[0].task == tables[1].task and np.array_equal(tables[0].rows.target, tables[1].rows.target)
    if not (same_rows and np.array_equal(tables[0].folds, tables[1].folds)):
        raise ConfigError(
            "the two configs split different rows, or the same rows into different folds",
            hint="use the same data, training.seed, training.split, training.test_size and validation in both",
        )
    if tables[0].n_folds < 2:
        raise ConfigError("validation.folds: comparing configs needs at least 2 folds", hint="set validation.folds: 5")
    outputs = []
    for table, item in zip(tables, (first, second), strict=True):
        training = item.config.training
        fitted = item.model.fit(table, training, progress=progress) if isinstance(item.model, Ensemble) else None
        raw = out_of_fold_predictions(table, item.model, training, fitted=fitted, progress=progress)
        assert raw is not None  # there are folds
        threshold = choose_threshold(item.config.evaluation, table.task, raw, table.rows)
        outputs.append(decided(table.task, threshold).predictions(raw))
    evaluation = first.config.evaluation
    return [
        compare_folds(name, metric, tables[0], *outputs, confidence=evaluation.confidence)
        for name, metric in select_metrics(evaluation.metrics, tables[0].task, evaluation.costs).items()
    ]
