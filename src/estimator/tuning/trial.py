"""One trial: settings -> their score over the folds, unless the trial is pruned before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from estimator.config import Config
from estimator.core.arrays import Floats, nan_to_none
from estimator.core.task import Predictions, Task
from estimator.engine import LOCAL
from estimator.evaluation.metrics import Metric
from estimator.evaluation.threshold import choose_threshold, decided
from estimator.evaluation.validation import fold_masks, fold_scores, mean_over_repeats, out_of_fold_predictions
from estimator.models import Dataset, FitData, MatrixModel, Model, Progress, TrainingStep, model_of, silent
from estimator.tuning.limits import Limit, measure

# The steps at which a trial is compared with others: the sample, fractions of the first fold's epochs, each fold.
SAMPLE_STEP = 0
EPOCH_FRACTIONS = (0.25, 0.5)
FIRST_FOLD_STEP = 10
# No trial is pruned before so many have finished.
MIN_FINISHED_TRIALS = 5


class PrunedError(Exception):
    """A trial is not worth finishing; the message says why, `steps` and `measures` what it had reached."""

    def __init__(
        self, reason: str, *, steps: Mapping[int, float] | None = None, measures: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(reason)
        self.steps, self.measures = steps or {}, measures or {}


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The metrics over the folds, or the reason why the trial was pruned.

    `steps` are the losses at the steps where trials are compared, `measures` the size and latency that limits need, and
    `excess` is how far each limit is exceeded, at most 0 when it is met.
    """

    steps: Mapping[int, float]
    scores: Mapping[str, float] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    excess: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data, with null for an undefined score."""
        scores = {name: nan_to_none(value) for name, value in self.scores.items()}
        return {"scores": scores, "measures": dict(self.measures), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Objective:
    """What a search optimizes: the first of its metrics, within limits.

    `can_compare_losses` says whether the losses of epochs are comparable between trials.
    """

    metrics: Mapping[str, Metric]
    limits: list[Limit]
    can_compare_losses: bool

    @property
    def deciding(self) -> tuple[str, Metric]:
        """The metric to optimize."""
        return next(iter(self.metrics.items()))

    def loss(self, score: float) -> float:
        """Return a score of the deciding metric as a loss to minimize; an undefined one is infinite."""
        loss = -score if self.deciding[1].higher_is_better else score
        return loss if math.isfinite(loss) else math.inf


@dataclass
class TrialProgress:
    """The steps a trial has reached; mutable, as its folds share it where they run in this process.

    Steps are reported one at a time: those of the first fold's epochs before it ends, those of folds as they end.
    `thresholds` are the losses above which a trial is pruned, by step.
    """

    thresholds: Mapping[int, float]
    steps: dict[int, float] = field(default_factory=dict)
    ended: bool = False

    def report(self, step: int, loss: float, where: str) -> None:
        """Record a loss.

        Raises
        ------
        PrunedError: it is worse than that of half of the trials, or the trial has ended.
        """
        if self.ended:
            raise PrunedError("the trial has ended")
        self.steps[step] = loss
        if not loss <= self.thresholds.get(step, math.inf):
            self.ended = True
            raise PrunedError(f"worse than half of the trials {where}", steps=dict(self.steps))


def pruning_thresholds(finished: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the median loss at every step (after the median rule of Golovin et al., 2017, "Google Vizier").

    A trial that did not reach a step counts as worse there than all that did; otherwise every step would prune half of
    those that are left.
    """
    if len(finished) < MIN_FINISHED_TRIALS:
        return {}
    steps = {step for trial in finished for step in trial}
    return {
        step: float(np.sort([trial.get(step, math.inf) for trial in finished])[len(finished) // 2]) for step in steps
    }


def run_trial(
    table: FitData,
    config: Config,
    objective: Objective,
    *,
    sample: float | None,
    thresholds: Mapping[int, float],
    progress: Progress,
) -> TrialResult:
    """Score the settings of a config on the folds of a table, which has no held-out rows.

    The result does not depend on how many folds run concurrently: folds are compared in order.
    """
    model = model_of(config)
    trial, measures = TrialProgress(thresholds), dict[str, float]()
    try:
        if sample is not None:
            rows = sample_rows(table, sample, config.training.seed)
            raw = _raw_predictions(rows, model, config, progress)
            sample_loss = _loss(rows, _decided(table.task, raw, rows.rows, config), objective)
            trial.report(SAMPLE_STEP, sample_loss, "on the sample")
        if not isinstance(model, MatrixModel):
            raw = _raw_predictions(table, model, config, progress, objective, measures)
        else:
            raw = _run_folds(table, model, config, objective, trial, measures, progress)
    except PrunedError as pruned:
        trial.steps |= pruned.steps
        measures |= pruned.measures
        limits = [limit for limit in objective.limits if limit.name in measures]
        excess = {limit.name: limit.excess(measures[limit.name]) for limit in limits}
        return TrialResult(dict(trial.steps), {}, measures, excess, str(pruned))
    finally:
        trial.ended = True
    of_folds = fold_scores(table, _decided(table.task, raw, table.rows, config), objective.metrics)
    scores = {name: _mean(values) for name, values in of_folds.items()}
    values = {**scores, **measures}
    excess = {limit.name: limit.excess(values[limit.name]) for limit in objective.limits}
    broken = [limit.sentence(values[limit.name]) for limit in objective.limits if excess[limit.name] > 0]
    return TrialResult(dict(trial.steps), scores, measures, excess, "; ".join(broken) or None)


def sample_rows(table: FitData, sample: float, seed: int) -> FitData:
    """Return a random sample of a table's rows, a fraction below 1 or else a number; rows keep their folds."""
    n_rows = len(table.rows)
    n_drawn = min(n_rows, max(round(sample * n_rows if sample < 1 else sample), 2 * table.n_folds))
    drawn = np.zeros(n_rows, dtype=np.bool_)
    drawn[np.random.default_rng([seed, 70]).permutation(n_rows)[:n_drawn]] = True
    return replace(
        table, rows=table.rows.take(drawn), validation_mask=table.validation_mask[drawn], folds=table.folds[:, drawn]
    )


def _raw_predictions(
    table: FitData,
    model: Model,
    config: Config,
    progress: Progress,
    objective: Objective | None = None,
    measures: dict[str, float] | None = None,
) -> Floats:
    """Return out-of-fold predictions; a model that is not fitted on one matrix makes its own."""
    training = config.training
    fitted = None if isinstance(model, MatrixModel) else model.fit(table, training, progress=progress)
    if fitted is not None and objective is not None and measures is not None:
        _check_limits(measure(fitted, table, objective.limits), objective, measures)
    raw = out_of_fold_predictions(table, model, training, fitted=fitted, progress=progress)
    assert raw is not None  # there are folds
    return raw


def _run_folds(
    table: FitData,
    model: Model,
    config: Config,
    objective: Objective,
    trial: TrialProgress,
    measures: dict[str, float],
    progress: Progress,
) -> Floats:
    """Return out-of-fold predictions; prune when the first epochs or folds are worse than half of the trials."""
    engine, splits = table.engine, fold_masks(table)
    # What is reported elsewhere cannot be shown here.
    shown = progress if engine.is_here else silent
    folds = _Folds(replace(table, engine=LOCAL), model, config, objective, trial, splits, shown)

    def compare(index: int, fold: _FoldResult) -> None:
        trial.steps |= fold.steps
        measures.update(fold.measures)
        folds.compare(index, fold.raw)

    # One fold shows whether the graph breaks a limit; it is measured on this machine.
    n_first = 1 if any(limit.name in ("latency_ms", "size_mb") for limit in objective.limits) else 0
    results = [_run_fold(folds, index) for index in range(n_first)]
    for index, result in enumerate(results):
        compare(index, result)
    results += engine.map(_run_fold, folds, range(n_first, len(splits)), n_jobs=table.threads, on_end=compare)
    return mean_over_repeats(table, splits, [result.raw for result in results])


@dataclass(frozen=True, slots=True)
class _FoldResult:
    """The predictions for a fold by a model of the others; the steps and measures of the trial's first fold."""

    raw: Floats
    steps: Mapping[int, float]
    measures: Mapping[str, float]


@dataclass
class _Folds:
    """The folds of a trial; `losses` are those of the finished folds, by index."""

    table: FitData
    model: Model
    config: Config
    objective: Objective
    trial: TrialProgress
    splits: Sequence[Any]
    progress: Progress
    losses: dict[int, float] = field(default_factory=dict)
    n_compared: int = 0

    def compare(self, index: int, raw: Floats) -> None:
        """Compare finished folds in their order, up to the first that is not finished."""
        out = self.table.rows.take(self.splits[index][1])
        metric = self.objective.deciding[1]
        predictions = _decided(self.table.task, raw, out, self.config)
        score = metric.scores(out.target, predictions, out.weights[None, :])[0]
        self.losses[index] = self.objective.loss(float(score))
        while self.n_compared in self.losses and self.n_compared < len(self.splits) - 1:
            self.n_compared += 1
            losses = [self.losses[number] for number in range(self.n_compared)]
            where = f"after {self.n_compared} of {len(self.splits)} folds"
            self.trial.report(FIRST_FOLD_STEP + self.n_compared, float(np.mean(losses)), where)


def _run_fold(folds: _Folds, index: int) -> _FoldResult:
    """Fit the other folds and predict this one; it may run on another machine, with a copy of `folds`.

    Raises
    ------
    PrunedError: the first fold shows that the trial is not worth finishing, or it has ended.
    """
    table, trial = folds.table, folds.trial
    inside, out = folds.splits[index]
    held_out = table.rows.take(out)
    # The loss on the held-out fold may prune the trial, but does not influence the fit.
    fold = replace(table.take(inside), held_out=held_out)
    callback = _FoldProgress(trial, index == 0 and folds.objective.can_compare_losses, folds.progress)
    measures: dict[str, float] = {}
    try:
        fitted = folds.model.fit(fold, folds.config.training, progress=callback)
        callback.close()
        if index == 0:
            _check_limits(measure(fitted, table, folds.objective.limits), folds.objective, measures)
        raw = fitted.predict(held_out.batch)
    except PrunedError as pruned:
        trial.ended = True
        pruned.steps = {**trial.steps, **pruned.steps}
        raise
    except BaseException:
        trial.ended = True
        raise
    return _FoldResult(raw, dict(trial.steps) if index == 0 else {}, measures)


@dataclass
class _FoldProgress:
    """The progress callback of a fit: ends it when its trial has ended, and compares the losses of the first fold."""

    trial: TrialProgress
    compares: bool
    progress: Progress
    best: float = math.inf
    n_passed: int = 0

    def __call__(self, step: TrainingStep) -> None:
        if self.trial.ended:
            raise PrunedError("the trial has ended")
        self.progress(step)
        loss = step.values.get("val_loss")
        if not self.compares or loss is None:
            return
        self.best = min(self.best, loss)
        while self.n_passed < len(EPOCH_FRACTIONS) and step.number >= EPOCH_FRACTIONS[self.n_passed] * step.total:
            self.n_passed += 1
            self.trial.report(self.n_passed, self.best, f"after {step.number} of {step.total} epochs or trees")

    def close(self) -> None:
        """Fill in the steps that a fit did not reach because it stopped early."""
        if self.compares and math.isfinite(self.best):
            self.trial.steps |= dict.fromkeys(range(self.n_passed + 1, len(EPOCH_FRACTIONS) + 1), self.best)


def _check_limits(new: Mapping[str, float], objective: Objective, measures: dict[str, float]) -> None:
    """Record the measures of a graph; prune the trial when it breaks a limit."""
    measures |= new
    broken = [limit for limit in objective.limits if limit.name in new and limit.excess(new[limit.name]) > 0]
    if broken:
        raise PrunedError("; ".join(limit.sentence(new[limit.name]) for limit in broken), measures=new)


def _decided(task: Task, raw: Floats, rows: Dataset, config: Config) -> Predictions:
    """Return the predictions of rows, with the classes of the threshold that the config asks for."""
    return decided(task, choose_threshold(config.evaluation, task, raw, rows)).predictions(raw)


def _loss(table: FitData, predictions: Predictions, objective: Objective) -> float:
    name, metric = objective.deciding
    return objective.loss(_mean(fold_scores(table, predictions, {name: metric})[name]))


def _mean(scores: Floats) -> float:
    finite = scores[np.isfinite(scores)]
    return float(finite.mean()) if len(finite) else math.nan
