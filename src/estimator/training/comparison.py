"""Two answers to the same rows, or folds -> is the second really better? If nobody can tell: how many rows would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.core.text import format_number
from estimator.errors import ArtefactError, ConfigError
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import Score, chosen_metrics, resampled
from estimator.evaluation.validation import corrected, fold_scores, out_of_fold
from estimator.models import Model, Progress, Table
from estimator.models.ensemble import Ensemble
from estimator.store.artefact import Artefact
from estimator.store.batch_prediction import labelled_rows
from estimator.training.train import Prepared

Verdict = Literal["better", "not better", "cannot tell"]
# Of 100 repetitions with so many rows, 80 would find a difference of this size.
POWER = 0.8
MOST_ROWS = 10_000_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two answers to the same rows compare by one metric.

    `gain` is how much better the second is, in the metric's units, whichever direction is better. The verdict is
    "better" when the whole interval of the gain lies above 0, "not better" when none of it lies above `margin`, the
    smallest gain of interest; else nobody can tell, and `rows_needed` says how many rows would do, None for too many.
    """

    metric: str
    first: float
    second: float
    gain: Score
    margin: float
    rows: int
    verdict: Verdict
    rows_needed: int | None = None

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(self), "gain": self.gain.to_data()}


def compare(
    name: str, metric: Metric, truth: Floats, first: Predictions, second: Predictions, *,
    bootstrap_samples: int, level: float, seed: int, margin: float = 0.0,
) -> Comparison:  # fmt: skip
    """Compare answers to rows that neither learned from, by a bootstrap that draws the same rows for both.

    `margin` is a share of the first one's score. Differences of the same rows vary far less than scores do (Efron and
    Tibshirani, 1993, chapter 16).
    """
    ones, sign = np.ones((1, len(truth))), 1.0 if metric.higher_is_better else -1.0
    scores = [float(metric.scores(truth, answers, ones)[0]) for answers in (first, second)]
    drawn = [
        sign * (metric.scores(truth, second, weights) - metric.scores(truth, first, weights))
        for weights in resampled(len(truth), bootstrap_samples, seed)
    ]
    gains = np.concatenate(drawn)
    gains = gains[np.isfinite(gains)]
    value = sign * (scores[1] - scores[0])
    if len(gains) == 0:
        return _judged(name, scores, Score(value, math.nan, math.nan), math.nan, len(truth), margin, level)
    tail = (1.0 - level) / 2.0
    low, high = (float(end) for end in np.quantile(gains, [tail, 1.0 - tail]))
    return _judged(name, scores, Score(value, low, high), float(gains.std()), len(truth), margin, level)


def compare_folds(
    name: str, metric: Metric, table: Table, first: Floats, second: Floats, *, level: float, margin: float = 0.0
) -> Comparison:
    """Compare out-of-fold answers of two settings on the same folds, with the variance of folds that share rows."""
    sign = 1.0 if metric.higher_is_better else -1.0
    found = [fold_scores(table, answers, {name: metric})[name] for answers in (first, second)]
    n_out = len(table.rows) / table.n_folds
    gain = corrected(sign * (found[1] - found[0]), n_learned=len(table.rows) - n_out, n_out=n_out, level=level)
    error = (gain.high - gain.low) / 2.0 / _normal((1.0 + level) / 2.0)
    return _judged(name, [float(scores.mean()) for scores in found], gain, error, len(table.rows), margin, level)


def _judged(
    name: str, scores: list[float], gain: Score, error: float, rows: int, margin: float, level: float
) -> Comparison:
    least = margin * abs(scores[0])
    if gain.low > 0:
        verdict: Verdict = "better"
    elif gain.high <= least:
        verdict = "not better"
    else:
        verdict = "cannot tell"
    needed = _rows_needed(gain.value, error, rows, level) if verdict == "cannot tell" else None
    return Comparison(name, scores[0], scores[1], gain, least, rows, verdict, needed)


def _rows_needed(gain: float, error: float, rows: int, level: float) -> int | None:
    """Return how many rows would tell a gain of this size from none, as the error shrinks with their root."""
    if not (math.isfinite(error) and gain != 0.0):
        return None
    wanted = rows * ((_normal((1.0 + level) / 2.0) + _normal(POWER)) * error / abs(gain)) ** 2
    return None if wanted > MOST_ROWS else max(math.ceil(wanted), rows + 1)


def _normal(share: float) -> float:
    return NormalDist().inv_cdf(share)


def in_words(found: Comparison) -> str:
    """Return the verdict as a sentence."""
    gain = f"{format_number(found.gain.value)} ({format_number(found.gain.low)} to {format_number(found.gain.high)})"
    if found.verdict == "better":
        return f"better: {found.metric} gains {gain} on {found.rows:,} rows"
    if found.verdict == "not better":
        return f"not better: {found.metric} gains {gain} on {found.rows:,} rows"
    rows = f"about {found.rows_needed:,} rows would tell" if found.rows_needed else "no feasible number of rows would"
    return f"cannot tell with {found.rows:,} rows: {found.metric} gains {gain}; {rows}"


def compare_versions(first: Artefact, second: Artefact, frame: pl.DataFrame) -> list[Comparison]:
    """Compare two versions on rows whose truth is known, by every metric of the first; its first metric decides.

    Raises
    ------
    ArtefactError: they do not predict the same.
    """
    tasks = [artefact.predictor.task for artefact in (first, second)]
    if tasks[0] != tasks[1] or first.manifest["target"] != second.manifest["target"]:
        told = [f"{artefact.version} predicts {artefact.manifest['target']}" for artefact in (first, second)]
        raise ArtefactError(f"two versions that do not predict the same cannot be compared: {' and '.join(told)}")
    (batch, truth), (other, _) = (labelled_rows(artefact, frame) for artefact in (first, second))
    answers = first.predictor.predict_batch(batch), second.predictor.predict_batch(other)
    choices = first.config["evaluation"]
    return [
        compare(
            name,
            metric,
            truth,
            *answers,
            bootstrap_samples=choices["bootstrap_samples"],
            level=choices["level"],
            seed=0,
        )
        for name, metric in chosen_metrics(choices["metrics"], tasks[0]).items()
    ]


def refuse_known_rows(versions: Sequence[Artefact], fingerprint: Mapping[str, str]) -> None:
    """Refuse a table that a version has learned from: its answers there say nothing.

    Raises
    ------
    ArtefactError: it is one.
    """
    for artefact in versions:
        if dict(fingerprint) == dict(artefact.manifest["data"]["files"]):
            raise ArtefactError(
                f"{artefact.version} has learned from these rows, so its answers there say nothing",
                hint="leave out --input to compare on the rows that were held out, or give new rows",
            )


@dataclass(frozen=True, slots=True)
class Setting:
    """A config with its rows, ready to be validated."""

    prepared: Prepared
    config: Config
    model: Model


def compare_settings(first: Setting, second: Setting, *, progress: Progress) -> list[Comparison]:
    """Compare two configs on the same folds of the same rows; the held-out rows are not touched.

    Raises
    ------
    ConfigError: their rows or folds are not the same.
    """
    tables = [setting.prepared.table(setting.config) for setting in (first, second)]
    same = tables[0].task == tables[1].task and np.array_equal(tables[0].rows.target, tables[1].rows.target)
    if not (same and np.array_equal(tables[0].folds, tables[1].folds)):
        raise ConfigError(
            "the two configs do not deal the same rows into the same folds",
            hint="let data, training.seed, training.split, training.test_size and validation be the same in both",
        )
    if tables[0].n_folds < 2:
        raise ConfigError("validation.folds: settings are compared on folds", hint="set validation.folds: 5")
    answers = []
    for table, setting in zip(tables, (first, second), strict=True):
        plan = setting.config.training
        learned = setting.model.learn(table, plan, progress=progress) if isinstance(setting.model, Ensemble) else None
        answers.append(out_of_fold(table, setting.model, plan, learned=learned, progress=progress))
    choices = first.config.evaluation
    return [
        compare_folds(name, metric, tables[0], *answers, level=choices.confidence)  # type: ignore[arg-type] # there are folds
        for name, metric in chosen_metrics(choices.metrics, tables[0].task).items()
    ]
