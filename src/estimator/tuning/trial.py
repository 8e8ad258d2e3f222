"""One trial: settings -> their score over the folds, unless they are hopeless before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any

import numpy as np

from estimator.config import Config
from estimator.core.arrays import Floats
from estimator.evaluation.metrics import Metric
from estimator.evaluation.validation import fold_masks, fold_scores, mean_over_repeats, out_of_fold_predictions
from estimator.models import FitData, MatrixModel, Model, Progress, TrainingStep, parallel_map
from estimator.tuning.limits import Limit, measured

# Where a trial is compared with the others, in order: the sample, shares of the first fold's epochs, each fold.
SAMPLE = 0
CHECKS = (0.25, 0.5)
FIRST_FOLD = 10
# So many trials must have been finished before any is given up.
ENOUGH = 5


class HopelessError(Exception):
    """A trial is not worth finishing; the message says why."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a trial came to: the metrics over the folds, or why it was given up.

    `steps` are its losses where trials are compared, `measures` what limits asked of its graph, and `excess` how far
    it is beyond each limit, at most 0 when it is kept.
    """

    steps: Mapping[int, float]
    scores: Mapping[str, float] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    excess: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data, with null for a score that is not defined."""
        scores = {name: value if math.isfinite(value) else None for name, value in self.scores.items()}
        return {"scores": scores, "measures": dict(self.measures), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Bench:
    """What all trials of a search are judged by: metrics, of which the first decides, and limits.

    `can_compare_losses` says whether losses of epochs mean the same in all trials.
    """

    metrics: Mapping[str, Metric]
    limits: list[Limit]
    can_compare_losses: bool

    @property
    def deciding(self) -> tuple[str, Metric]:
        """The metric that is searched for."""
        return next(iter(self.metrics.items()))

    def loss(self, score: float) -> float:
        """Return a score of the deciding metric as a loss; one that is not defined is the worst."""
        loss = -score if self.deciding[1].higher_is_better else score
        return loss if math.isfinite(loss) else math.inf


@dataclass
class Course:
    """How far a trial has come; several folds run at once and share it.

    `bars` are the losses beyond which a trial is given up, by step.
    """

    bars: Mapping[int, float]
    steps: dict[int, float] = field(default_factory=dict)
    ended: bool = False
    lock: Any = field(default_factory=RLock)

    def report(self, step: int, loss: float, what: str) -> None:
        """Note a loss; give up when it is worse than that of most."""
        with self.lock:
            if self.ended:
                raise HopelessError("the trial has ended")
            self.steps[step] = loss
            if not loss <= self.bars.get(step, math.inf):
                self.ended = True
                raise HopelessError(f"worse than half of the trials {what}")


def bars(finished: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the loss at every step that the better half of the trials keeps within.

    Trials are halved once and not at every step: one that did not come to a step counts as worse there than all that
    did (after the median rule of Golovin et al., 2017, "Google Vizier").
    """
    if len(finished) < ENOUGH:
        return {}
    steps = {step for trial in finished for step in trial}
    return {
        step: float(np.sort([trial.get(step, math.inf) for trial in finished])[len(finished) // 2]) for step in steps
    }


def judge(
    table: FitData, config: Config, bench: Bench, *, sample: float | None, bars: Mapping[int, float], progress: Progress
) -> Judged:
    """Judge a config's settings on the folds of a table, which holds no rows beside those to learn from.

    The same settings on the same rows are judged alike, however many folds run at once: folds are compared in order.
    """
    model: Model = config.model  # type: ignore[assignment] # a kind of the shelf
    course, measures = Course(bars), dict[str, float]()
    try:
        if sample is not None:
            part = sampled(table, sample, config.training.seed)
            course.report(SAMPLE, _loss(part, _answers(part, model, config, progress), bench), "on the sample")
        if not isinstance(model, MatrixModel):
            answers = _answers(table, model, config, progress, bench, measures)
        else:
            answers = _raced(table, model, config, bench, course, measures, progress)
    except HopelessError as hopeless:
        excess = {limit.name: limit.excess(measures[limit.name]) for limit in bench.limits if limit.name in measures}
        return Judged(dict(course.steps), {}, measures, excess, str(hopeless))
    finally:
        course.ended = True
    scores = {name: _mean(found) for name, found in fold_scores(table, answers, bench.metrics).items()}
    values = {**scores, **measures}
    excess = {limit.name: limit.excess(values[limit.name]) for limit in bench.limits}
    beyond = [limit.sentence(values[limit.name]) for limit in bench.limits if excess[limit.name] > 0]
    return Judged(dict(course.steps), scores, measures, excess, "; ".join(beyond) or None)


def sampled(table: FitData, sample: float, seed: int) -> FitData:
    """Return a share, or from 1 on a number, of a table's rows, drawn at random; they keep their folds."""
    rows = len(table.rows)
    wanted = min(rows, max(round(sample * rows if sample < 1 else sample), 2 * table.n_folds))
    drawn = np.zeros(rows, dtype=np.bool_)
    drawn[np.random.default_rng([seed, 70]).permutation(rows)[:wanted]] = True
    return replace(
        table, rows=table.rows.take(drawn), validation_mask=table.validation_mask[drawn], folds=table.folds[:, drawn]
    )


def _answers(
    table: FitData, model: Model, config: Config, progress: Progress, bench: Bench | None = None,
    measures: dict[str, float] | None = None,
) -> Floats:  # fmt: skip
    """Return out-of-fold answers, of a family that gives them itself by its own way."""
    training = config.training
    learned = None if isinstance(model, MatrixModel) else model.fit(table, training, progress=progress)
    if learned is not None and bench is not None and measures is not None:
        _keep_limits(measured(learned, table, bench.limits), bench, measures)
    found = out_of_fold_predictions(table, model, training, fitted=learned, progress=progress)
    assert found is not None
    return found


def _raced(
    table: FitData,
    model: Model,
    config: Config,
    bench: Bench,
    course: Course,
    measures: dict[str, float],
    progress: Progress,
) -> Floats:
    """Return out-of-fold answers; give up when the first epochs or folds are worse than those of most trials."""
    parts = fold_masks(table)
    race = _Race(table, model, config, bench, course, parts)

    def run(place: int) -> Floats:
        return race.run(place, measures, progress)

    # A graph that breaks a limit is known after one fold.
    alone = 1 if any(limit.name in ("latency_ms", "size_mb") for limit in bench.limits) else 0
    answers = [run(place) for place in range(alone)]
    answers += parallel_map(run, range(alone, len(parts)), n_jobs=table.threads)
    return mean_over_repeats(table, parts, answers)


@dataclass
class _Race:
    """The folds of a trial; `losses` are those of the folds that are done."""

    table: FitData
    model: Model
    config: Config
    bench: Bench
    course: Course
    parts: Sequence[Any]
    losses: dict[int, float] = field(default_factory=dict)
    n_told: int = 0

    def run(self, place: int, measures: dict[str, float], progress: Progress) -> Floats:
        """Return the answers for one fold by a model that has not seen it."""
        inside, out = self.parts[place]
        held_out = self.table.rows.take(out)
        # Its curve is looked at and decides nothing within the fit.
        fold = replace(self.table.take(inside), held_out=held_out)
        follower = _Follower(self.course, place == 0 and self.bench.can_compare_losses, progress)
        try:
            learned = self.model.fit(fold, self.config.training, progress=follower)
            follower.close()
            if place == 0:
                _keep_limits(measured(learned, self.table, self.bench.limits), self.bench, measures)
            answers = learned.predict(held_out.batch)
            self._tell(place, answers)
        except BaseException:
            self.course.ended = True
            raise
        return answers

    def _tell(self, place: int, answers: Floats) -> None:
        """Compare the folds that are done up to the first that is not, in their order."""
        out = self.table.rows.take(self.parts[place][1])
        metric = self.bench.deciding[1]
        score = metric.scores(out.target, self.table.task.predictions(answers), out.weights[None, :])[0]
        with self.course.lock:
            self.losses[place] = self.bench.loss(float(score))
            while self.n_told in self.losses and self.n_told < len(self.parts) - 1:
                self.n_told += 1
                told = [self.losses[number] for number in range(self.n_told)]
                what = f"after {self.n_told} of {len(self.parts)} folds"
                self.course.report(FIRST_FOLD + self.n_told, float(np.mean(told)), what)


@dataclass
class _Follower:
    """Watches a fit: ends it when its trial has ended, and compares the losses of the first fold."""

    course: Course
    compares: bool
    progress: Progress
    best: float = math.inf
    n_passed: int = 0

    def __call__(self, step: TrainingStep) -> None:
        if self.course.ended:
            raise HopelessError("the trial has ended")
        self.progress(step)
        loss = step.values.get("val_loss")
        if not self.compares or loss is None:
            return
        self.best = min(self.best, loss)
        while self.n_passed < len(CHECKS) and step.number >= CHECKS[self.n_passed] * step.total:
            self.n_passed += 1
            self.course.report(self.n_passed, self.best, f"after {step.number} of {step.total} epochs or rounds")

    def close(self) -> None:
        """A fit that stopped early has come as far as it would."""
        if self.compares and math.isfinite(self.best):
            with self.course.lock:
                self.course.steps |= dict.fromkeys(range(self.n_passed + 1, len(CHECKS) + 1), self.best)


def _keep_limits(found: Mapping[str, float], bench: Bench, measures: dict[str, float]) -> None:
    """Note what was measured of a graph; give up when it breaks a limit."""
    measures |= found
    beyond = [limit for limit in bench.limits if limit.name in found and limit.excess(found[limit.name]) > 0]
    if beyond:
        raise HopelessError("; ".join(limit.sentence(found[limit.name]) for limit in beyond))


def _loss(table: FitData, answers: Floats, bench: Bench) -> float:
    name, metric = bench.deciding
    return bench.loss(_mean(fold_scores(table, answers, {name: metric})[name]))


def _mean(scores: Floats) -> float:
    solid = scores[np.isfinite(scores)]
    return float(solid.mean()) if len(solid) else math.nan
