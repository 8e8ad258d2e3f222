"""The search loop: run trials until there are enough; each is stored as soon as it ends."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Any

import optuna
import polars as pl
from optuna.trial import FrozenTrial, TrialState

from estimator.config import Config
from estimator.config.validation import MEASURES
from estimator.data.schema import Schema
from estimator.engine import LOCAL, Engine
from estimator.errors import ConfigError, EngineError, TrainingError
from estimator.evaluation.scores import select_metrics
from estimator.models import FitData, Progress, silent
from estimator.training.prepare import PreparedData, prepare
from estimator.tuning.limits import parse_limits
from estimator.tuning.space import Space
from estimator.tuning.study import FINISHED, owner, requeue, requeue_lost
from estimator.tuning.trial import Objective, TrialResult, pruning_thresholds, run_trial

STARTED = (*FINISHED, TrialState.RUNNING)


@dataclass(frozen=True)
class TuningRows:
    """A table as it was read, and prepared as settings need it; `workers` processes share the processors.

    Fits of folds run on the `engine`.
    """

    frame: pl.DataFrame
    config: Config
    reviewed: Schema | None = None
    workers: int = 1
    engine: Engine = LOCAL

    @cached_property
    def current(self) -> PreparedData:
        """The rows prepared for the current config."""
        return prepare(self.frame, self.config, self.reviewed)

    def prepared(self, config: Config) -> PreparedData:
        """Return the rows prepared for other settings; few settings change anything."""
        if _what_prepares(config) == _what_prepares(self.config):
            return self.current
        return prepare(self.frame, config, self.reviewed)

    def table(self, config: Config) -> FitData:
        """Return the rows that a trial may use, without the held-out rows."""
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        rows = self.prepared(config).fit_data(config)
        return replace(rows, held_out=None, threads=threads, engine=self.engine)


def _what_prepares(config: Config) -> tuple[object, ...]:
    return config.training.class_weight, config.training.validation_size, config.features.formulas


@dataclass(frozen=True)
class Search:
    """What every trial needs: the space, the rows and the objective."""

    space: Space
    rows: TuningRows
    objective: Objective

    @classmethod
    def of(cls, space: Space, rows: TuningRows) -> Search:
        """Return the search that a config asks for.

        Raises
        ------
        ConfigError: a metric does not apply to the task, or there are no folds.
        """
        config, tuning = space.config, space.config.tuning
        if rows.current.folds.size == 0:
            raise ConfigError("validation.folds: a search needs at least 2 folds", hint="set validation.folds: 5")
        task, limits = rows.current.task, parse_limits(tuning.limits)
        named = [*([tuning.metric] if tuning.metric else []), *config.evaluation.metrics]
        names = [*named, *(limit.name for limit in limits if limit.name not in MEASURES)]
        metrics = select_metrics(names, task, config.evaluation.costs)
        needed = {next(iter(metrics)), *(limit.name for limit in limits)}
        # Losses of epochs are comparable only when the kind of model and its loss are fixed.
        can_compare = len(space.kinds) == 1 and "model.loss" not in space.config.tuning.space
        scored = {name: metric for name, metric in metrics.items() if name in needed}
        return cls(space, rows, Objective(scored, limits, can_compare))

    @property
    def n_trials(self) -> int:
        """The number of trials in all."""
        return self.space.config.tuning.n_trials


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How many trials ended, and how; `best` is the best score so far."""

    done: int
    total: int
    pruned: int
    over_limit: int
    retried: int
    running: int
    best: float | None
    best_trial: int | None

    def to_data(self) -> dict[str, int]:
        """Return the counts as JSON-ready data."""
        return {name: getattr(self, name) for name in ("done", "total", "pruned", "over_limit", "retried", "running")}


Show = Callable[[SearchProgress], None]


def run_search(
    study: optuna.Study, search: Search, *, show: Show = lambda progress: None, progress: Progress = silent
) -> None:
    """Add trials to a study until it has enough, counting all runs and workers.

    With one worker, the same seed tries the same settings, whether or not the search was interrupted.
    """
    show(search_progress(study, search.n_trials))
    study.sampler = SeededSampler(search.space.config.training.seed)
    while True:
        requeue_lost(study)
        started = study.get_trials(deepcopy=False, states=STARTED)
        if len(started) >= search.n_trials:
            return
        study.optimize(
            lambda trial: _objective_value(trial, study, search, progress), n_trials=1, catch=(_SurplusError,)
        )
        show(search_progress(study, search.n_trials))


class SeededSampler(optuna.samplers.BaseSampler):
    """A multivariate tree-structured Parzen estimator (Watanabe, 2023), seeded anew for each trial.

    The seed depends on how many trials started before: trials that two processes start at once differ, and an
    interrupted search goes on as it would have gone on.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._of_trial = seed, optuna.samplers.TPESampler()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Seed the sampler for a trial that has just started."""
        earlier = [other for other in study.get_trials(deepcopy=False, states=STARTED) if other.number < trial.number]
        seed = (self._seed * 1_000_003 + len(earlier)) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._of_trial = optuna.samplers.TPESampler(seed=seed, group=True)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """Return the settings that are sampled together."""
        return self._of_trial.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, optuna.distributions.BaseDistribution]
    ) -> dict[str, Any]:
        """Return values for the settings that are sampled together."""
        return self._of_trial.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> Any:
        """Return a value for a setting on its own."""
        return self._of_trial.sample_independent(study, trial, param_name, param_distribution)


def search_progress(study: optuna.Study, total: int) -> SearchProgress:
    """Return the progress of a study."""
    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state in FINISHED]
    best = best_of(trials)
    return SearchProgress(
        done=len(finished),
        total=total,
        pruned=sum(trial.state == TrialState.PRUNED and not breaks_limit(trial) for trial in finished),
        over_limit=sum(breaks_limit(trial) for trial in finished),
        retried=sum(trial.state == TrialState.FAIL and not trial.user_attrs.get("surplus") for trial in trials),
        running=sum(trial.state == TrialState.RUNNING for trial in trials),
        best=None if best is None else score_of(best),
        best_trial=None if best is None else best.number,
    )


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the best trial that finished within all limits, the earliest of equals."""
    good = [trial for trial in trials if trial.state == TrialState.COMPLETE and not breaks_limit(trial)]
    good = [trial for trial in good if trial.value is not None and math.isfinite(trial.value)]
    return min(good, key=lambda trial: (trial.value, trial.number), default=None)


def breaks_limit(trial: FrozenTrial) -> bool:
    """Whether a trial breaks a limit."""
    return any(value > 0 for value in trial.constraints.values())


def score_of(trial: FrozenTrial) -> float:
    """Return the score of the deciding metric; NaN where it is undefined."""
    score = next(iter(trial.user_attrs["result"]["scores"].values()))
    return math.nan if score is None else float(score)


class _SurplusError(Exception):
    """Two workers started the last trial at the same time, and this is the later one."""


def _is_surplus(trial: optuna.Trial, study: optuna.Study, total: int) -> bool:
    started = study.get_trials(deepcopy=False, states=STARTED)
    return sum(other.number < trial.number for other in started) >= total


def _objective_value(trial: optuna.Trial, study: optuna.Study, search: Search, progress: Progress) -> float:
    """Run one trial and return its loss; raise TrialPruned when it is pruned."""
    trial.set_user_attr("owner", owner())
    if _is_surplus(trial, study, search.n_trials):
        trial.set_user_attr("surplus", True)
        raise _SurplusError
    edits = {} if trial.user_attrs.get("is_outside_space") else search.space.suggested(trial)
    trial.set_user_attr("edits", edits)
    began = perf_counter()
    try:
        result = _result(trial, study, search, edits, progress)
        for step, loss in result.steps.items():
            trial.report(loss, step)
        for name, excess in result.excess.items():
            trial.set_constraint(name, excess)
        trial.set_user_attr("result", {**result.to_data(), "seconds": round(perf_counter() - began, 4)})
    except (KeyboardInterrupt, EngineError):
        requeue(study, study.get_trials(deepcopy=False)[trial.number])
        raise
    if not result.scores:
        raise optuna.TrialPruned(result.reason)
    return search.objective.loss(result.scores[search.objective.deciding[0]])


def _result(
    trial: optuna.Trial, study: optuna.Study, search: Search, edits: Mapping[str, Any], progress: Progress
) -> TrialResult:
    config = search.space.varied(edits)
    others = study.get_trials(deepcopy=False, states=FINISHED)
    for other in others:
        if other.user_attrs["edits"] == edits:
            # The same settings on the same rows give the same result.
            stored = other.user_attrs["result"]
            scores = {name: math.nan if value is None else value for name, value in stored["scores"].items()}
            steps = other.intermediate_values
            return TrialResult(steps, scores, stored["measures"], other.constraints, stored["reason"])
    before = [other.intermediate_values for other in others if not breaks_limit(other)]
    try:
        return run_trial(
            search.rows.table(config),
            config,
            search.objective,
            sample=search.space.config.tuning.sample,
            thresholds=pruning_thresholds(before),
            progress=progress,
        )
    except EngineError:
        raise
    except TrainingError as error:
        # Settings that cannot be trained are a result too.
        return TrialResult({}, reason=error.message)
