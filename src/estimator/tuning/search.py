"""The search: trial after trial until there are enough, each kept as soon as it ends."""

from __future__ import annotations

import math
import os
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
from estimator.errors import ConfigError, TrainingError
from estimator.evaluation.scores import select_metrics
from estimator.models import FitData, Progress, silent
from estimator.training.prepare import PreparedData, prepare
from estimator.tuning.limits import limits_of
from estimator.tuning.space import Space
from estimator.tuning.study import FINISHED, again, owner, take_up
from estimator.tuning.trial import Bench, Judged, bars, judge


@dataclass(frozen=True)
class Rows:
    """A table as it was read, parted by a config as settings need it; `workers` share the processors."""

    frame: pl.DataFrame
    config: Config
    reviewed: Schema | None = None
    workers: int = 1

    @cached_property
    def own(self) -> PreparedData:
        """The rows for the config as it is."""
        return prepare(self.frame, self.config, self.reviewed)

    def prepared(self, config: Config) -> PreparedData:
        """Return the rows for other settings; few of them change what is made of a row."""
        ours, theirs = self.config.training, config.training
        if (ours.class_weight, ours.validation_size) == (theirs.class_weight, theirs.validation_size):
            return self.own
        return prepare(self.frame, config, self.reviewed)

    def searched(self, config: Config) -> FitData:
        """Return the rows that a trial may see: none of those held out."""
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        return replace(self.prepared(config).fit_data(config), held_out=None, threads=threads)


@dataclass(frozen=True)
class Search:
    """Everything a trial needs: the space, the rows, and what it is judged by."""

    space: Space
    rows: Rows
    bench: Bench

    @classmethod
    def of(cls, space: Space, rows: Rows) -> Search:
        """Return the search that a config asks for.

        Raises
        ------
        ConfigError: a metric does not suit the task, or there are no folds to judge by.
        """
        config, chosen = space.config, space.config.tuning
        if rows.own.folds.size == 0:
            raise ConfigError("validation.folds: trials are judged on folds", hint="set validation.folds: 5")
        task, limits = rows.own.task, limits_of(chosen.limits)
        named = [*([chosen.metric] if chosen.metric else []), *config.evaluation.metrics]
        known = select_metrics([*named, *(limit.name for limit in limits if limit.name not in MEASURES)], task)
        first = next(iter(known))
        kept = {first, *(limit.name for limit in limits)}
        # Losses of epochs are of one kind only when kind and loss are settled.
        can_compare = len(space.kinds) == 1 and "model.loss" not in space.config.tuning.space
        bench = Bench({name: metric for name, metric in known.items() if name in kept}, limits, can_compare)
        return cls(space, rows, bench)

    @property
    def n_trials(self) -> int:
        """How many trials there are to be in all."""
        return self.space.config.tuning.n_trials


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search has come. `best` is the best score so far, `trials` those that are finished."""

    done: int
    total: int
    pruned: int
    beyond: int
    lost: int
    running: int
    best: float | None
    best_trial: int | None

    def to_data(self) -> dict[str, int]:
        """Return the counts as JSON-ready data."""
        return {name: getattr(self, name) for name in ("done", "total", "pruned", "beyond", "lost", "running")}


Show = Callable[[SearchProgress], None]


def search(
    study: optuna.Study,
    plan: Search,
    *,
    show: Show = lambda progress: None,
    progress: Progress = silent,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Add trials to a study until it has enough, of all runs and workers together, or nobody wants more.

    With one worker, the same seed tries the same settings, whether or not the search was interrupted.
    """
    show(told(study, plan.n_trials))
    while is_wanted():
        take_up(study)
        begun = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))
        if len(begun) >= plan.n_trials:
            return
        study.sampler = sampler(plan.space.config.training.seed, len(begun))
        study.optimize(lambda trial: _tried(trial, study, plan, progress), n_trials=1, catch=(_SurplusError,))
        show(told(study, plan.n_trials))


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial: a tree-structured Parzen estimator of all settings together (Watanabe, 2023)."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=(seed * 1_000_003 + number) % 2**32, group=True)


def queue_own(study: optuna.Study, space: Space) -> None:
    """Let the first trial be the config's own settings, even where they lie outside the space."""
    if not study.get_trials(deepcopy=False):
        inside = space.own()
        study.enqueue_trial(inside or {}, user_attrs={"is_outside": inside is None})


def told(study: optuna.Study, total: int) -> SearchProgress:
    """Return how far a study has come."""
    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state in FINISHED]
    best = best_of(trials)
    return SearchProgress(
        done=len(finished), total=total,
        pruned=sum(trial.state == TrialState.PRUNED and not is_beyond(trial) for trial in finished),
        beyond=sum(is_beyond(trial) for trial in finished),
        lost=sum(trial.state == TrialState.FAIL and not trial.user_attrs.get("surplus") for trial in trials),
        running=sum(trial.state == TrialState.RUNNING for trial in trials),
        best=None if best is None else score_of(best), best_trial=None if best is None else best.number,
    )  # fmt: skip


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the best trial that came to an end within all limits, the earliest of equals."""
    good = [trial for trial in trials if trial.state == TrialState.COMPLETE and not is_beyond(trial)]
    good = [trial for trial in good if trial.value is not None and math.isfinite(trial.value)]
    return min(good, key=lambda trial: (trial.value, trial.number), default=None)


def is_beyond(trial: FrozenTrial) -> bool:
    """Whether a trial breaks a limit."""
    return any(value > 0 for value in trial.constraints.values())


def score_of(trial: FrozenTrial) -> float:
    """Return the score of the deciding metric; NaN when it is not defined."""
    found = next(iter(trial.user_attrs["told"]["scores"].values()))
    return math.nan if found is None else float(found)


class _SurplusError(Exception):
    """Two workers began the last trial at once, and this is the later one."""


def _is_surplus(trial: optuna.Trial, study: optuna.Study, total: int) -> bool:
    begun = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))
    return sum(other.number < trial.number for other in begun) >= total


def _tried(trial: optuna.Trial, study: optuna.Study, plan: Search, progress: Progress) -> float:
    """Judge one trial; raise TrialPruned when it is given up."""
    trial.set_user_attr("owner", owner())
    if _is_surplus(trial, study, plan.n_trials):
        trial.set_user_attr("surplus", True)
        raise _SurplusError
    edits = {} if trial.user_attrs.get("is_outside") else plan.space.suggested(trial)
    trial.set_user_attr("edits", edits)
    began = perf_counter()
    try:
        judged = _judged(trial, study, plan, edits, progress)
    except KeyboardInterrupt:
        again(study, study.get_trials(deepcopy=False)[trial.number])
        raise
    for step, loss in judged.steps.items():
        trial.report(loss, step)
    for name, excess in judged.excess.items():
        trial.set_constraint(name, excess)
    trial.set_user_attr("told", {**judged.to_data(), "seconds": round(perf_counter() - began, 4)})
    if not judged.scores:
        raise optuna.TrialPruned(judged.reason)
    return plan.bench.loss(judged.scores[plan.bench.deciding[0]])


def _judged(
    trial: optuna.Trial, study: optuna.Study, plan: Search, edits: Mapping[str, Any], progress: Progress
) -> Judged:
    config = plan.space.varied(edits)
    others = study.get_trials(deepcopy=False, states=FINISHED)
    for other in others:
        if other.user_attrs["edits"] == edits:
            # The same settings on the same rows come to the same.
            told = other.user_attrs["told"]
            scores = {name: math.nan if value is None else value for name, value in told["scores"].items()}
            return Judged(other.intermediate_values, scores, told["measures"], other.constraints, told["reason"])
    before = [other.intermediate_values for other in others if not is_beyond(other)]
    try:
        return judge(
            plan.rows.searched(config), config, plan.bench, sample=plan.space.config.tuning.sample, bars=bars(before),
            progress=progress,
        )  # fmt: skip
    except TrainingError as error:
        # Settings under which nothing can be learned are an answer too.
        return Judged({}, reason=error.message)
